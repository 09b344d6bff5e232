"""A server on the SDK that is installed beside it: over stdio, or over Streamable HTTP with or without sessions."""

import os

from timeback_events.mcp import report, reported

SDK, NAME, MODE = os.environ["SDK"], os.environ["NAME"], os.environ["MODE"]
port = int(os.environ.get("PORT", "0"))
url = f"http://127.0.0.1:{port}/mcp"
beat = {"heartbeat_interval_ms": int(os.environ["BEAT"])} if "BEAT" in os.environ else {}
lifespan = report(**beat) if MODE == "stdio" else report(url=url)

if SDK == "fastmcp":
    from fastmcp import FastMCP

    server = FastMCP(NAME, version="2.1.0", lifespan=lifespan)
elif SDK == "v2":
    from mcp.server.mcpserver import MCPServer

    server = MCPServer(NAME, version="2.1.0", lifespan=lifespan)
else:
    from mcp.server.fastmcp import FastMCP

    stateless = {"stateless_http": True} if MODE in ("stateless", "asgi", "workers") else {}
    own = {} if MODE in ("asgi", "workers") else {"lifespan": lifespan}
    server = FastMCP(NAME, host="127.0.0.1", port=port, **own, **stateless)


@server.tool()
def grade() -> str:
    """Grades"""
    return "pass"


if MODE in ("asgi", "workers"):
    app = reported(server.streamable_http_app(), server, url=url)

if __name__ != "__main__":
    pass  # One of several workers, which take the app.
elif MODE == "stdio":
    server.run(**({"show_banner": False} if SDK == "fastmcp" else {}))
elif MODE in ("asgi", "workers"):
    import uvicorn

    here = os.path.dirname(__file__)
    many = {"app": "server:app", "workers": 2, "app_dir": here} if MODE == "workers" else {"app": app}
    uvicorn.run(**many, host="127.0.0.1", port=port, log_level="warning")
elif SDK == "fastmcp":
    server.run(transport="http", host="127.0.0.1", port=port, show_banner=False)
elif SDK == "v2":
    server.run("streamable-http", host="127.0.0.1", port=port)
else:
    server.run("streamable-http")

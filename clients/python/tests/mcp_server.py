"""A real MCP server on the official SDK, as a client starts it."""

from mcp.server.mcpserver import MCPServer

from timeback_events.mcp import report

server = MCPServer("LMS of Ghent", version="2.1.0", lifespan=report(tags={"school": "ghent"}, heartbeat_interval_ms=200))


@server.tool()
def grade(score: int) -> str:
    if score > 100:
        server.add_tool(lambda: "heard", name="appeal", description="Appeal")
    return "pass" if score > 50 else "fail"


@server.resource("roster://all")
def roster() -> str:
    return "30"


@server.resource("student://{id}")
def student(id: str) -> str:
    return id


@server.prompt()
def feedback() -> str:
    return "Well done"


server.run()

"""The official Python client, of 1.x and 2.x, as a stranger to the hub: client.py http|stdio URL BINARY"""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from importlib.metadata import version

import mcp
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client import streamable_http

transport, url, binary = sys.argv[1:]


@asynccontextmanager
async def line():
    if transport == "stdio":
        parameters = StdioServerParameters(command=binary, args=["mcp", "--url", url])
        async with stdio_client(parameters) as streams:
            yield streams[0], streams[1]
    else:
        name = "streamable_http_client" if hasattr(streamable_http, "streamable_http_client") else "streamablehttp_client"
        async with getattr(streamable_http, name)(f"{url}/mcp") as streams:
            yield streams[0], streams[1]


def of(answer, old, new):
    return getattr(answer, new) if hasattr(answer, new) else getattr(answer, old)


async def main():
    async with line() as (read, write), mcp.ClientSession(read, write) as session:
        told = await session.initialize()
        assert of(told, "serverInfo", "server_info").name == "timeback-events"

        async def call(name, **arguments):
            answer = await session.call_tool(name, arguments)
            assert not of(answer, "isError", "is_error"), answer
            return of(answer, "structuredContent", "structured_content")

        tools = await session.list_tools()
        assert len(tools.tools) == 12
        status = await call("fleet_status")
        waiting = asyncio.create_task(
            call("wait_for_events", cursor=status["lastEventId"], type="peer.spoke", timeoutMs=20000)
        )
        published = await call("publish_event", type="peer.spoke", data={"version": version("mcp")})
        events = (await waiting)["events"]
        assert events[0]["id"] == published["id"]
        resources = await session.list_resources()
        assert any(str(resource.uri) == "timeback://status" for resource in resources.resources)
        prompt = await session.get_prompt("what_is_wrong")
        assert "The fleet is" in prompt.messages[0].content.text
        refused = await session.call_tool("get_server", {"serverId": "nobody"})
        assert of(refused, "isError", "is_error")
    print(f"mcp {version('mcp')} {transport}: passed")


asyncio.run(asyncio.wait_for(main(), 60))

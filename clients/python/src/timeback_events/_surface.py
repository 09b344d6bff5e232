"""What an MCP server has, asked in the way that its SDK offers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from mcp.server.lowlevel import Server

try:
    from mcp import Client, MCPError

    def connect(server: Any) -> AbstractAsyncContextManager[Any]:
        return Client(server, cache=None)

except ImportError:  # mcp 1
    from mcp import McpError as MCPError  # type: ignore[attr-defined, no-redef]
    from mcp.shared.memory import create_connected_server_and_client_session as connect  # type: ignore[attr-defined, no-redef]


@asynccontextmanager
async def asked(server: Any) -> AsyncIterator[Any]:
    """Whatever answers the `list_…` calls for a server."""
    if isinstance(server, Server):
        async with connect(server) as client:
            yield client
        return
    if not hasattr(server, "list_tools") and not hasattr(server, "get_tools"):
        raise TypeError(f"a {type(server).__name__} has no list_tools()")
    yield server


async def describe(source: Any) -> dict[str, list[str]]:
    """What the server has, by name; resources by their URI."""
    tools = await everything(source, "tools")
    resources = await everything(source, "resources")
    templates = await everything(source, "resource_templates", "resourceTemplates")
    prompts = await everything(source, "prompts")
    return {
        "tools": [tool.name for tool in tools],
        "resources": [
            *(str(resource.uri) for resource in resources),
            *(str(either(template, "uri_template", "uriTemplate")) for template in templates),
        ],
        "prompts": [prompt.name for prompt in prompts],
    }


async def everything(source: Any, *items: str) -> list[Any]:
    """All pages of a list; none if the server doesn't have that kind of thing."""
    kind = items[0]
    # fastmcp 2 has no `list_…`, and gives them all by name.
    list_page: Callable[..., Awaitable[Any]] | None = getattr(source, f"list_{kind}", None)
    if list_page is None:
        return list((await getattr(source, f"get_{kind}")()).values())
    found: list[Any] = []
    cursor: str | None = None
    while True:
        try:
            page = await (list_page(cursor=cursor) if cursor else list_page())
        except MCPError:
            return found
        if isinstance(page, (list, tuple)):
            return list(page)
        found += either(page, *items)
        cursor = either(page, "next_cursor", "nextCursor")
        if not cursor:
            return found


def either(thing: Any, *names: str) -> Any:
    """Version 2 of the SDK spells Python's way what version 1 spells as the protocol does."""
    return next(getattr(thing, name) for name in names if hasattr(thing, name))

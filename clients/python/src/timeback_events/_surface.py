"""What an MCP server has, asked in the way that its SDK offers."""

from __future__ import annotations

import hashlib
import json
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


LONGEST_NAME, LONGEST_DESCRIPTION = 120, 160
"""What of a name and of a description is told, in characters; a change beyond it shows in the hash."""
LONGEST_TOLD = 128 * 1024
"""What is told of all of them together, in characters: below what a hub takes."""


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


async def describe(source: Any) -> dict[str, list[Any]]:
    """What the server has; resources go by their URI."""
    tools = await everything(source, "tools")
    resources = await everything(source, "resources")
    templates = await everything(source, "resource_templates", "resourceTemplates")
    prompts = await everything(source, "prompts")
    return fitting(
        {
            "tools": [offered(tool, tool.name) for tool in tools],
            "resources": [
                *(offered(resource, resource.uri) for resource in resources),
                *(offered(template, either(template, "uri_template", "uriTemplate")) for template in templates),
            ],
            "prompts": [offered(prompt, prompt.name) for prompt in prompts],
        }
    )


def offered(item: Any, name: object) -> dict[str, str] | str:
    """What the hub is told of one entry: its name, its description, and a hash of all that a client sees of it, by
    which a change of any of that is drift. Its name alone where it can't be seen as a client does."""
    surface = as_sent(item)
    if surface is None:
        return str(name)[:LONGEST_NAME]
    surface.pop("_meta", None)
    text = json.dumps(surface, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    told = {"name": str(name)[:LONGEST_NAME], "hash": hashlib.sha256(text.encode()).hexdigest()[:16]}
    if description := getattr(item, "description", None):
        told["description"] = str(description)[:LONGEST_DESCRIPTION]
    return told


def as_sent(item: Any) -> dict[str, Any] | None:
    """An entry as the protocol has it. `fastmcp` keeps its own, with the functions behind them."""
    for kind in ("tool", "resource", "template", "prompt"):
        convert = getattr(item, f"to_mcp_{kind}", None)
        if convert is not None:
            item = convert()
            break
    dump = getattr(item, "model_dump", None)
    return dump(mode="json", by_alias=True, exclude_none=True) if dump else None


def fitting(capabilities: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """As much as a hub takes: at first the descriptions go, then the hashes."""

    def without_description(entry: Any) -> Any:
        return entry if isinstance(entry, str) else {"name": entry["name"], "hash": entry["hash"]}

    def name(entry: Any) -> Any:
        return entry if isinstance(entry, str) else entry["name"]

    told = capabilities
    for form in (without_description, name):
        if len(json.dumps(told)) <= LONGEST_TOLD:
            break
        told = {kind: [form(entry) for entry in entries] for kind, entries in capabilities.items()}
    return told


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

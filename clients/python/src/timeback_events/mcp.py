"""An MCP server that reports itself: `MCPServer("LMS", lifespan=report())`, on the official Python SDK.

What the server has is asked from the server itself, through its public `list_…` methods or, where it
is a low-level one, as a client of it in the same process. The hub is never in the way: where it can't
be reached the server works as without it, and is registered once it can.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any

import anyio
from mcp.server.lowlevel import Server

from ._aio import AsyncHub, AsyncRegisteredServer
from ._defaults import complain

try:
    from mcp import Client, MCPError

    def connect(server: Any) -> AbstractAsyncContextManager[Any]:
        return Client(server, cache=None)

except ImportError:  # mcp 1
    from mcp import McpError as MCPError  # type: ignore[attr-defined, no-redef]
    from mcp.shared.memory import create_connected_server_and_client_session as connect  # type: ignore[attr-defined, no-redef]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

FAREWELL = 1.0
"""How long the end of a server waits for the hub, in seconds. One that just vanishes is noticed by its silence."""

_asking: ContextVar[bool] = ContextVar("timeback_events_asking", default=False)
"""Whether it is us who connect to a server, to ask what it has."""


def report(
    lifespan: Lifespan | None = None,
    *,
    hub: AsyncHub | None = None,
    on_error: Callable[[BaseException], object] = complain,
    **description: Any,
) -> Lifespan:
    """A lifespan for an `MCPServer`, `FastMCP` or low-level `Server`, around `lifespan` if there is one:
    registers the server with its name, version, tools, resources and prompts, says what changes of
    them, and deregisters at the end. `description` is what `Hub.register` takes, in place of what the
    server says of itself; with a `url` the transport is taken to be `http`, otherwise `stdio`."""
    return _Report(lifespan or _nothing, hub, on_error, description).lifespan


class _Report:
    def __init__(
        self,
        lifespan: Lifespan,
        hub: AsyncHub | None,
        on_error: Callable[[BaseException], object],
        description: dict[str, Any],
    ) -> None:
        self._lifespan = lifespan
        self._hub = hub
        self._on_error = on_error
        self._description = description
        self._context: Any = None
        self._task: asyncio.Task[None] | None = None
        self._sessions = 0

    @asynccontextmanager
    async def lifespan(self, server: Any) -> AsyncIterator[Any]:
        if _asking.get():
            # What the server's own lifespan made is there already; it is not made a second time for us.
            yield self._context
            return
        async with self._lifespan(server) as context:
            # Some transports live once per session: the server is there as long as any of them is.
            if self._sessions == 0:
                self._context = context
                self._start(server)
            self._sessions += 1
            try:
                yield context
            finally:
                self._sessions -= 1
                if self._sessions == 0:
                    await self._stop()

    def _start(self, server: Any) -> None:
        self._task = asyncio.create_task(self._run(server))
        # A signal ends the process as it would have without us, a moment later.
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            with suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._terminated)

    def _terminated(self) -> None:
        def end(_: object) -> None:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)

        asyncio.ensure_future(self._stop()).add_done_callback(end)

    async def _stop(self) -> None:
        if self._task:
            self._task.cancel()
            with anyio.move_on_after(FAREWELL, shield=True):
                await asyncio.wait([self._task])

    async def _run(self, server: Any) -> None:
        _asking.set(True)
        hub = self._hub or AsyncHub()
        try:
            async with connect(server) if isinstance(server, Server) else nullcontext(server) as source:
                await self._follow(hub, server, source)
        except Exception as error:
            self._on_error(error)
        finally:
            if hub is not self._hub:
                await hub.close()

    async def _follow(self, hub: AsyncHub, server: Any, source: Any) -> None:
        capabilities = await describe(source)
        own = {
            "id": to_id(server.name),
            "name": server.name,
            "version": getattr(server, "version", None) or None,
            "transport": "http" if "url" in self._description else "stdio",
        }
        registered: AsyncRegisteredServer = await hub.register(
            retries=math.inf, **{**own, **self._description}, capabilities=capabilities
        )
        try:
            while not registered.over:
                # Asking costs a function call, so once a heartbeat it is.
                await asyncio.sleep(registered.state["heartbeatIntervalMs"] / 1000)
                if (now := await describe(source)) != capabilities and not registered.over:
                    await registered.update(capabilities=now)
                    capabilities = now
        finally:
            await registered.close()


async def describe(source: Any) -> dict[str, list[str]]:
    """What the server has, by name; resources by their URI."""
    return {
        "tools": [tool.name for tool in await everything(source.list_tools, "tools")],
        "resources": [
            *(str(resource.uri) for resource in await everything(source.list_resources, "resources")),
            *(
                str(either(template, "uri_template", "uriTemplate"))
                for template in await everything(source.list_resource_templates, "resource_templates", "resourceTemplates")
            ),
        ],
        "prompts": [prompt.name for prompt in await everything(source.list_prompts, "prompts")],
    }


async def everything(list_page: Callable[..., Awaitable[Any]], *items: str) -> list[Any]:
    """All pages of a list, from a client; none where the server doesn't have that kind of thing."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        try:
            page = await (list_page(cursor=cursor) if cursor else list_page())
        except MCPError:
            return found
        if isinstance(page, list):
            return page
        found += either(page, *items)
        cursor = either(page, "next_cursor", "nextCursor")
        if not cursor:
            return found


def either(thing: Any, *names: str) -> Any:
    """Version 2 of the SDK spells Python's way what version 1 spells as the protocol does."""
    return next(getattr(thing, name) for name in names if hasattr(thing, name))


def to_id(name: str) -> str | None:
    """A server keeps its id from one start to the next, so it has to come from its name."""
    return re.sub(r"[^A-Za-z0-9_.:-]+", "-", name)[:128] or None


@asynccontextmanager
async def _nothing(server: Any) -> AsyncIterator[dict[str, Any]]:
    """The SDK's own default."""
    yield {}

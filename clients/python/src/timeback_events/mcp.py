"""An MCP server that reports itself: `MCPServer("LMS", lifespan=report())`, on the official Python SDK or `fastmcp`.

What the server has is asked from the server itself, through its public `list_…` methods or, if it
is a low-level one, as a client of it in the same process. The hub is never in the way: if it can't
be reached the server works as without it, and is registered once it can. Nothing is ever written to
standard output, which may be the server's own line to its client.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

from ._aio import AsyncHub
from ._client import Client
from ._presence import Presence, complain, to_id

__all__ = ["report", "reported", "to_id"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

_asking: ContextVar[bool] = ContextVar("timeback_events_asking", default=False)
"""Whether it is us who connect to a server, to ask what it has."""


def report(
    lifespan: Lifespan | None = None,
    *,
    hub: AsyncHub | None = None,
    on_error: Callable[[BaseException], object] = complain,
    on_recovery: Callable[[str], object] | None = None,
    **description: Any,
) -> Lifespan:
    """A lifespan for an `MCPServer`, `FastMCP` or low-level `Server`, around `lifespan` if there is one:
    registers this process as an instance of the server, with its name, version, tools, resources and
    prompts, says what changes of them, and deregisters at the end. `description` is what `Hub.register`
    takes, in place of what the server says of itself; with a `url` the transport is taken to be `http`.

    `mcp` 1 enters a lifespan for each session, or even each request, of a network server. The server is
    then registered with the first of them, and stays so until the event loop or the process ends; see
    `reported` for one that is registered from the start."""
    return _Lifespan(lifespan or _nothing, _Settings(hub, on_error, on_recovery, description)).enter


def reported(
    app: App,
    server: Any,
    *,
    hub: AsyncHub | None = None,
    on_error: Callable[[BaseException], object] = complain,
    on_recovery: Callable[[str], object] | None = None,
    **description: Any,
) -> App:
    """An ASGI app around `app`, through which clients reach `server`: it is registered when the app starts
    and deregistered when it stops, or, if the app is mounted in another one, from the first request on."""
    return _App(app, server, _Settings(hub, on_error, on_recovery, {"transport": "http", **description}))


class _Settings:
    def __init__(
        self,
        hub: AsyncHub | None,
        on_error: Callable[[BaseException], object],
        on_recovery: Callable[[str], object] | None,
        description: dict[str, Any],
    ) -> None:
        self.hub = hub
        self.on_error = on_error
        self.on_recovery = on_recovery or (complain if on_error is complain else None)
        self.description = description

    def presence(self, server: Any, transport: str, session: FrameType | None = None) -> Presence:
        if "url" in self.description:
            transport = "http"
        description = {"transport": transport, **self.description}
        # Over the network there are as many clients as there are sessions.
        client = Client(server, session, _asking) if transport == "stdio" else None
        look = client if client and client.will_know else None
        return Presence(server, _asking, description, self.hub, self.on_error, self.on_recovery, look)


class _Lifespan:
    def __init__(self, lifespan: Lifespan, settings: _Settings) -> None:
        self._lifespan = lifespan
        self._settings = settings
        self._context: Any = None
        self._presence: Presence | None = None
        self._entered = 0

    @asynccontextmanager
    async def enter(self, server: Any) -> AsyncIterator[Any]:
        if _asking.get():
            # What the server's own lifespan made is there already; it is not made a second time for us.
            yield self._context
            return
        transport, session = _entered_by()
        async with self._lifespan(server) as context:
            if self._presence is None or self._presence.is_over:
                self._context = context
                self._presence = self._settings.presence(server, transport, session)
                self._presence.start()
            presence = self._presence
            self._entered += 1
            crash: BaseException | None = None
            try:
                yield context
            except Exception as error:
                crash = error
                raise
            finally:
                self._entered -= 1
                if self._entered == 0 and not (session and transport != "stdio"):
                    reason = None if crash is None else f"{type(crash).__name__}: {crash}"
                    await presence.end(reason, expected=crash is None)


class _App:
    def __init__(self, app: App, server: Any, settings: _Settings) -> None:
        self._app = app
        self._server = server
        self._settings = settings
        self._presence: Presence | None = None

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "lifespan":
            self._begin()
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._begin()
            await send(message)

        async def received() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown" and self._presence:
                await self._presence.end()
            return message

        await self._app(scope, received, sent)

    def _begin(self) -> None:
        if self._presence is None or self._presence.is_over:
            self._presence = self._settings.presence(self._server, "http")
            self._presence.start()

    def __getattr__(self, name: str) -> Any:
        # A Starlette app stays one for whoever configures it further.
        return getattr(self._app, name)


def _entered_by() -> tuple[str, FrameType | None]:
    """Over what the server is reached, and the function that runs the session if this lifespan is that one's only. No lifespan is told;
    whoever enters it is on the stack, in each version of the SDKs."""
    network = sse = False
    session: FrameType | None = None
    frame = sys._getframe(1)
    while frame is not None:
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        network |= module.split(".")[0] in _NETWORK or module.startswith("mcp.server.streamable_http")
        network |= function in ("run_http_async", "run_streamable_http_async")
        sse |= function in ("run_sse_async", "handle_sse")
        if module == "mcp.server.lowlevel.server" and function == "run":
            session = frame
        frame = frame.f_back  # type: ignore[assignment]
    return "sse" if sse else "http" if network else "stdio", session


_NETWORK = frozenset({"starlette", "uvicorn", "hypercorn", "granian", "daphne", "fastapi"})


@asynccontextmanager
async def _nothing(server: Any) -> AsyncIterator[dict[str, Any]]:
    """The SDK's own default."""
    yield {}

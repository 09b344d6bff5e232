"""Whom an MCP server serves over stdio, as its client says at the beginning."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import FrameType
from typing import Any

from ._surface import either

META = "io.modelcontextprotocol/clientInfo"
"""Under which name the stateless era of the protocol says, in every message, what the other says once."""


class Client:
    """Looks who the client is; `{name, version}` once it has said so. Each version of the SDKs knows it elsewhere:
    version 1 in the session that it makes right after it has entered the lifespan, version 2 and `fastmcp` tell
    their middleware. `session` is the frame of the function that enters the lifespan of one session."""

    def __init__(self, server: Any, session: FrameType | None, asking: ContextVar[bool]) -> None:
        self._session = session
        self._asking = asking
        self._info: Any = None
        self.will_know = session is not None or self._listen(server)
        """Whether there is anywhere to look."""
        runs = session.f_locals.get("self") if session else None
        if isinstance(middleware := getattr(runs, "middleware", None), list):
            middleware.append(self._heard)

    def __call__(self) -> dict[str, str] | None:
        if self._info is None and self._session:
            session = self._session.f_locals.get("session")
            params = getattr(session, "client_params", None)
            self._info = params and either(params, "client_info", "clientInfo")
        if self._info is None:
            return None
        # All that the frame holds would live as long as we do.
        self._session = None
        info = self._info
        name, version = (info.get("name"), info.get("version")) if isinstance(info, Mapping) else (info.name, info.version)
        return {"name": str(name), "version": str(version)}

    async def _heard(self, context: Any, call_next: Any) -> Any:
        params = context.params
        if self._info is None and isinstance(params, Mapping) and not self._asking.get():
            self._info = params.get("clientInfo") or (params.get("_meta") or {}).get(META)
        return await call_next(context)

    def _listen(self, server: Any) -> bool:
        add_middleware = getattr(server, "add_middleware", None)
        if add_middleware is None:
            return False
        try:
            from fastmcp.server.middleware import Middleware  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            return False
        client = self

        class Listener(Middleware):  # type: ignore[misc]
            async def on_initialize(self, context: Any, call_next: Any) -> Any:
                message = context.message
                client._info = either(getattr(message, "params", message), "client_info", "clientInfo")
                return await call_next(context)

        add_middleware(Listener())
        return True

"""This process at a hub, as one instance of one MCP server. Registered in the background for as long as it
takes; gone without a ghost, however soon after it came."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any

import anyio

from ._aio import AsyncHub, AsyncRegisteredServer
from ._calls import call, segment
from ._errors import HubError
from ._surface import asked, describe

CALL = 5.0
"""Of one call, in seconds. A hub that hangs is no hub."""
SETTLE, FAREWELL = 0.25, 0.5
"""How long the end of a server waits for a registration under way, and then for the hub to take its leave."""
CLIENT, GLANCE = 1.0, 0.02
"""How long a registration waits for the client to say who it is, and how often it looks."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0


class Presence:
    def __init__(
        self,
        server: Any,
        asking: ContextVar[bool],
        description: dict[str, Any],
        hub: AsyncHub | None,
        on_error: Callable[[BaseException], object],
        on_recovery: Callable[[str], object] | None,
        client: Callable[[], dict[str, str] | None] | None = None,
    ) -> None:
        self._server = server
        self._client = client
        self._asking = asking
        self._hub = hub or AsyncHub(timeout=CALL, retries=0)
        self._owns_hub = hub is None
        self._on_error = on_error
        self._on_recovery = on_recovery
        self._name: str = description.get("name") or server.name
        self._description = {
            "id": to_id(self._name),
            "name": self._name,
            "version": getattr(server, "version", None) or None,
            **description,
            "instances": "many",
            "instance_id": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        self._leaving = asyncio.Event()
        self._farewell: tuple[str | None, bool] = (None, True)
        self._registered: AsyncRegisteredServer | None = None
        self._maybe_there = False
        self._failing = False
        self._task: asyncio.Task[None] | None = None
        self._forget_signal: Callable[[], object] = lambda: None

    @property
    def is_over(self) -> bool:
        return self._leaving.is_set() or (self._task is not None and self._task.done())

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._forget_signal = _on_sigterm(self)

    async def end(self, reason: str | None = None, *, expected: bool = True) -> None:
        """Deregisters, within a moment."""
        if not self._leaving.is_set():
            self._farewell = (reason, expected)
            self._leaving.set()
        if self._task:
            with anyio.move_on_after(SETTLE + FAREWELL + 0.25, shield=True):
                await asyncio.wait([self._task])
            # Rather none than one that holds the server up.
            self._task.cancel()

    async def _run(self) -> None:
        self._asking.set(True)
        try:
            async with self._source() as source:
                await self._follow(source)
        except Exception as error:
            self._on_error(error)
        finally:
            # Also if the loop ends, which cancels what is left in it.
            self._leaving.set()
            with anyio.move_on_after(FAREWELL, shield=True):
                await self._deregister()
            if self._owns_hub:
                await self._hub.close()
            self._forget_signal()

    @asynccontextmanager
    async def _source(self) -> AsyncIterator[Any]:
        try:
            source = asked(self._server)
            opened = await source.__aenter__()
        except Exception as error:
            raise RuntimeError(f"{self._name} can't be asked what it has, so it is not registered: {error}") from error
        try:
            yield opened
        finally:
            with anyio.CancelScope(shield=True):
                await source.__aexit__(None, None, None)

    async def _wait_for_client(self) -> None:
        """Who is served says so in its first message, which the lifespan comes before."""
        for _ in range(int(CLIENT / GLANCE)):
            if self._client is None or self._leaving.is_set():
                return
            if client := self._client():
                self._description.setdefault("client", client)
                return
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), GLANCE)

    async def _follow(self, source: Any) -> None:
        await self._wait_for_client()
        known: Any = None
        failures = 0
        while not self._leaving.is_set() and not (self._registered and self._registered.over):
            capabilities = await describe(source)
            if capabilities != known:
                try:
                    if not await self._tell(capabilities):
                        return
                    known, failures = capabilities, 0
                    self._recover()
                except Exception as error:
                    self._fail(error)
                    failures += 1
            # Asking costs a function call, so once a heartbeat it is.
            if failures or self._registered is None:
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)) * (1 + random.random() / 2)
            else:
                pause = self._registered.state["heartbeatIntervalMs"] / 1000
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause)

    async def _tell(self, capabilities: dict[str, list[Any]]) -> bool:
        """Whether the hub has heard it; not if the end came first."""
        if self._registered:
            await self._registered.update(capabilities=capabilities)
            return True
        self._maybe_there = True
        attempt = asyncio.create_task(self._register(capabilities))
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait([attempt, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not attempt.done():
                # Let a registration that is on its way arrive first.
                await asyncio.wait([attempt], timeout=SETTLE)
            if not attempt.done():
                return False
            self._registered = attempt.result()
            return True
        except HubError as error:
            # Unless it was refused nobody knows whether it arrived.
            self._maybe_there = error.status == 0 or error.status >= 500
            raise
        finally:
            attempt.cancel()
            leaving.cancel()

    async def _register(self, capabilities: dict[str, list[Any]]) -> AsyncRegisteredServer:
        return await self._hub.register(
            retries=0,
            on_error=self._fail,
            on_recovery=self._recover,
            **self._description,
            capabilities=capabilities,
        )

    async def _deregister(self) -> None:
        if self._registered:
            await self._registered._forget()
        # A registration without an answer may have arrived or may still do: the hub remembers that this instance is gone.
        if not self._registered and not self._maybe_there:
            return
        reason, expected = self._farewell
        path = f"/servers/{segment(self._description['id'])}"
        query = {
            "reason": reason,
            "instance_id": self._description["instance_id"],
            "expected": None if expected else "false",
        }
        # A kept connection may have been closed just now; there is no third try.
        for last in (False, True):
            try:
                settings = self._hub._api.settings
                await self._hub._run(call(settings, "DELETE", path, query=query, retries=0, timeout=FAREWELL))
                return
            except HubError as error:
                if error.status == 0 and not last:
                    continue
                if error.status != 404:
                    self._fail(error)
                return

    def _fail(self, error: BaseException) -> None:
        """Said once per outage, and at its end."""
        if self._failing:
            return
        self._failing = True
        if isinstance(error, HubError) and error.status == 0:
            what = f"can't be reached: {error.detail}"
        else:
            what = f"answers: {error}"
        if self._leaving.is_set():
            consequence = f"it was not told that {self._name} ends"
        else:
            consequence = f"{self._name} goes on without it"
        self._on_error(Trouble(f"the hub at {self._hub.address} {what}; {consequence}"))

    def _recover(self) -> None:
        if self._failing and self._on_recovery:
            self._on_recovery(f"the hub at {self._hub.address} is back; {self._name} is registered there")
        self._failing = False


class Trouble(Exception):
    """The hub can't be told what it should be. The server goes on without it."""


def complain(trouble: object) -> None:
    # Standard error, in one line; standard output belongs to the protocol.
    print(f"timeback-events: {trouble}", file=sys.stderr, flush=True)


def to_id(name: str) -> str:
    """A server keeps its id from one start to the next, so it has to come from its name."""
    id = re.sub(r"[^A-Za-z0-9_.:-]+", "-", name)[:128]
    if any(one.isalnum() for one in id):
        return id
    # Nothing of the name is left: its hash (FNV-1a) tells it from another such.
    hash = 0x811C9DC5
    for byte in name.encode():
        hash = (hash ^ byte) * 0x01000193 & 0xFFFFFFFF
    return f"server-{hash:08x}"


def _on_sigterm(presence: Presence) -> Callable[[], object]:
    """A signal ends the process as it would have without us, a moment later. What else listens for it, such as a
    web server that shuts down, still hears it at once: some such end the process before their loop ends.
    Returns what takes this back."""
    before = signal.getsignal(signal.SIGTERM)
    if before in (None, signal.SIG_IGN) or threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []

    def heard(number: int, frame: FrameType | None) -> None:
        if callable(before):
            before(number, frame)
        try:
            loop.call_soon_threadsafe(lambda: tasks.append(loop.create_task(leave(number))))
        except RuntimeError:  # The loop is closed already.
            pass_on(number)

    async def leave(number: int) -> None:
        await presence.end()
        pass_on(number)

    def pass_on(number: int) -> None:
        if before is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def forget() -> None:
        # Whoever listens by now may count on us to pass the signal on.
        if signal.getsignal(signal.SIGTERM) is heard and not tasks:
            signal.signal(signal.SIGTERM, before)

    signal.signal(signal.SIGTERM, heard)
    return forget

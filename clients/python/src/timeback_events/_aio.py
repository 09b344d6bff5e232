"""The asyncio hub. Listeners and heartbeats are tasks of the loop that they were started in."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar

import httpx

from ._api import Api
from ._calls import Answer, Request, Settings, Sleep, Steps, body_of, call
from ._defaults import complain, default_url, without_login
from ._errors import HubError
from ._json import Json
from ._lease import Lease
from ._quiet import quiet
from ._stream import StreamState
from .types import (
    EmittedEvent,
    HistoryFilter,
    HistoryPage,
    HubEvent,
    Identity,
    Pattern,
    ServerChanges,
    ServerDescription,
    ServerFilter,
    ServerPage,
    ServerState,
    Snapshot,
    Status,
    Step,
    StepFilter,
    StepReport,
    StreamOptions,
    Vitals,
    Workflow,
    WorkflowPage,
)

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack

T = TypeVar("T")


class AsyncHub:
    """A hub, to listen to and to report to."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        timeout: float = 10.0,
        retries: int = 6,
        retry: float = 0.25,
        max_retry: float = 30.0,
        exact: bool = False,
        on_error: Callable[[BaseException], object] = complain,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self.url = (url or default_url()).rstrip("/")
        self.address = without_login(self.url)
        """The URL as it may be printed."""
        self.workflow = AsyncWorkflows(self)
        """What several servers do together, step by step."""
        self._api = Api(Settings(self.url, timeout, retries, retry, max_retry, Json(exact)), on_error)
        self._token = token
        self._on_error = on_error
        self._owns_client = client is None
        self._client = client or httpx.AsyncClient(limits=httpx.Limits(max_connections=None))
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> AsyncHub:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the listeners and the heartbeats, and closes the connections. Does not deregister."""
        await self._cancel(*self._tasks)
        if self._owns_client:
            await self._client.aclose()

    # Listening

    def events(self, **options: Unpack[StreamOptions]) -> AsyncEventStream:
        """A resumable stream of the events that match: iterate it."""
        return AsyncEventStream(self, self._api.stream(options))

    def add_event_listener(
        self, listener: Callable[[HubEvent], object], **options: Unpack[StreamOptions]
    ) -> Callable[[], None]:
        """Calls `listener(event)`, and awaits it where it is a coroutine, for each event that matches.
        Returns the function that unsubscribes."""
        task = self._start(self._pump(self.events(**options), listener))

        def unsubscribe() -> None:
            task.cancel()

        return unsubscribe

    async def _pump(self, stream: AsyncEventStream, listener: Callable[[HubEvent], object]) -> None:
        try:
            async with stream:
                async for event in stream:
                    try:
                        result = listener(event)
                        if inspect.isawaitable(result):
                            await result
                    except Exception as error:
                        self._on_error(error)
        except Exception as error:
            self._on_error(error)

    # Reading

    async def get_event_history(self, **filter: Unpack[HistoryFilter]) -> HistoryPage:
        """One page; pass `cursor=page.next_cursor` for the next."""
        return await self._run(self._api.history(filter))

    async def history(self, **filter: Unpack[HistoryFilter]) -> AsyncIterator[HubEvent]:
        """All of history that matches, page by page as the iteration proceeds."""
        while True:
            page = await self.get_event_history(**filter)
            for event in page.events:
                yield event
            if not page.next_cursor:
                return
            filter = {**filter, "cursor": page.next_cursor}

    async def get_event(self, id: str) -> HubEvent:
        return await self._run(self._api.event(id))

    async def get_snapshot(self) -> Snapshot:
        return await self._run(self._api.snapshot())

    async def get_status(self) -> Status:
        return await self._run(self._api.status())

    async def list_servers(self, **filter: Unpack[ServerFilter]) -> ServerPage:
        return await self._run(self._api.servers(filter))

    async def get_server(self, id: str) -> ServerState:
        return await self._run(self._api.server(id))

    async def list_patterns(self) -> list[Pattern]:
        return await self._run(self._api.patterns())

    async def set_pattern(self, name: str, *, enabled: bool, description: str | None = None) -> Pattern:
        return await self._run(self._api.set_pattern(name, enabled, description))

    # Reporting

    async def emit(
        self, events: EmittedEvent | Sequence[EmittedEvent], *, idempotency_key: str | None = None
    ) -> list[str | None]:
        """Appends one event, or several all or nothing. Returns the id of the last event each one caused."""
        return await self._run(self._api.emit(events, idempotency_key))

    async def register(
        self,
        *,
        retries: float | None = None,
        on_error: Callable[[BaseException], object] | None = None,
        on_recovery: Callable[[], object] | None = None,
        **description: Unpack[ServerDescription],
    ) -> AsyncRegisteredServer:
        """Registers a server and keeps it registered, until it is closed: heartbeats at the hub's pace,
        and again from scratch if the hub forgot it. `retries` are of the registration itself. `on_error`
        (the hub's, if none is given) is called once per outage of the heartbeats, `on_recovery` at its end."""
        lease = self._api.lease(description, retries)
        await self._run(lease.register({}))
        return AsyncRegisteredServer(self, lease, on_error or self._on_error, on_recovery)

    async def steps(self, **filter: Unpack[StepFilter]) -> list[Step]:
        """Work for a server; with `wait="30s"` held until there is some."""
        return await self._run(self._api.steps(filter))

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Any other call of the hub's API, with the same retries and errors."""
        settings = self._api.settings
        return await self._run(call(settings, method, path, query=query, body=body, idempotency_key=idempotency_key))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # The loop itself holds tasks only weakly.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @staticmethod
    async def _cancel(*tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, steps: Steps[T]) -> T:
        """Carries out what the generator asks for."""
        result: Answer | HubError | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                value: T = done.value
                return value
            if isinstance(step, Sleep):
                await asyncio.sleep(step.seconds)
                result = None
            else:
                result = await self._send(step)

    async def _send(self, request: Request) -> Answer | HubError:
        try:
            with quiet():
                response = await self._client.send(await self._build(request, httpx.Timeout(request.timeout)))
            return Answer(response.status_code, response.headers, response.content)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return HubError.unreachable(self.address + request.path, error)

    async def _build(self, request: Request, timeout: httpx.Timeout) -> httpx.Request:
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        headers = {**request.headers, **({"authorization": f"Bearer {token}"} if token else {})}
        return self._client.build_request(
            request.method,
            self.url + request.path,
            params=list(request.query),
            content=request.content,
            headers=headers,
            timeout=timeout,
        )


class AsyncEventStream:
    """Events as they happen, in order, each once. Made by `hub.events()`; connects on first use.

    It never ends by itself: it resumes after the last event it handed over, across lost connections
    and restarts of the hub. It ends with the task that iterates it, or by `close()`, which any task
    may call and which the end of an `async with` does."""

    def __init__(self, hub: AsyncHub, state: StreamState) -> None:
        self._hub = hub
        self._state = state
        self._closed = asyncio.Event()
        self._response: httpx.Response | None = None
        self._events = self._iterate()

    @property
    def last_event_id(self) -> str | None:
        """Of the last event (or bookmark) handed over: keep it to go on from there after a restart."""
        return self._state.last_event_id

    async def close(self) -> None:
        self._closed.set()
        if self._response is not None:
            await self._response.aclose()
        # Running where another task waits in it: that one wakes up now, and ends it.
        with suppress(RuntimeError):
            await self._events.aclose()

    def __aiter__(self) -> AsyncIterator[HubEvent]:
        return self._events

    async def __anext__(self) -> HubEvent:
        return await self._events.__anext__()

    async def __aenter__(self) -> AsyncEventStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _iterate(self) -> AsyncGenerator[HubEvent, None]:
        while not self._closed.is_set():
            error: HubError | None = None
            connection = self._connection()
            try:
                async for event in connection:
                    yield event
                    if self._closed.is_set():
                        return
            except HubError as problem:
                error = problem
            finally:
                await connection.aclose()
            if not self._closed.is_set():
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), self._state.pause(error))

    async def _connection(self) -> AsyncGenerator[HubEvent, None]:
        request = self._state.request()
        try:
            timeout = httpx.Timeout(request.timeout, read=self._state.silence)
            with quiet():
                response = await self._hub._client.send(await self._hub._build(request, timeout), stream=True)
            self._response = response
            try:
                content = b"" if response.status_code == 200 else await response.aread()
                self._state.accept(Answer(response.status_code, response.headers, content))
                async for chunk in response.aiter_raw():
                    for event in self._state.feed(chunk):
                        yield event
                    if self._closed.is_set():
                        return
            finally:
                self._response = None
                await response.aclose()
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise HubError.unreachable("the stream", error) from error


class AsyncRegisteredServer:
    """A server of ours as the hub knows it. Made by `await hub.register()`. As a context manager it
    deregisters at the end of its block."""

    def __init__(
        self,
        hub: AsyncHub,
        lease: Lease,
        on_error: Callable[[BaseException], object],
        on_recovery: Callable[[], object] | None,
    ) -> None:
        self._hub = hub
        self._lease = lease
        self._on_error = on_error
        self._on_recovery = on_recovery
        self._stopped = asyncio.Event()
        self._beating = hub._start(self._beat())

    @property
    def id(self) -> str:
        return self._lease.state["id"]

    @property
    def state(self) -> ServerState:
        """What the hub last answered: health, lease."""
        return self._lease.state

    @property
    def identity(self) -> Identity:
        """Who we are, for claims and reports: `hub.workflow.claim(workflow, step, **server.identity)`."""
        return self._lease.identity

    @property
    def over(self) -> str | None:
        """`deregistered` by us or `replaced` by a newer instance, once it is."""
        return self._lease.over

    async def wait(self) -> str | None:
        """Waits until the registration is over, and says why it is."""
        await self._stopped.wait()
        return self._lease.over

    async def update(self, **changes: Unpack[ServerChanges]) -> ServerState:
        """Registers again with these changes: listeners see `server_updated`."""
        return await self._hub._run(self._lease.register(body_of(changes)))

    async def heartbeat(self, **vitals: Unpack[Vitals]) -> ServerState:
        """Sends a heartbeat now. What it says is said again by every automatic one until something else is."""
        return await self._hub._run(self._lease.heartbeat(dict(vitals)))

    async def close(self, reason: str | None = None, *, expected: bool = True) -> None:
        """Deregisters. No heartbeat follows. Unless it is `expected`, the server counts as lost until it is back."""
        await self._hub._cancel(self._beating)
        try:
            await self._hub._run(self._lease.close(reason, expected))
        finally:
            self._stopped.set()

    async def _forget(self) -> None:
        """No heartbeat follows; whoever holds the instance id deregisters it."""
        self._lease.over = self._lease.over or "deregistered"
        await self._hub._cancel(self._beating)
        self._stopped.set()

    async def __aenter__(self) -> AsyncRegisteredServer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _beat(self) -> None:
        failing = False
        while not self._lease.over:
            await asyncio.sleep(self._lease.due_in)
            try:
                await self._hub._run(self._lease.heartbeat())
                if failing and self._on_recovery:
                    self._on_recovery()
                failing = False
            except Exception as error:
                # Told once per outage.
                if not failing:
                    self._on_error(error)
                failing = True
        self._stopped.set()


class AsyncWorkflows:
    """The calls on workflows, as `hub.workflow`. Their shapes are the hub's own."""

    def __init__(self, hub: AsyncHub) -> None:
        self._hub = hub

    async def start(self, definition: Mapping[str, Any], *, idempotency_key: str | None = None) -> Workflow:
        return await self._hub._run(self._hub._api.start_workflow(definition, idempotency_key))

    async def get(self, id: str) -> Workflow:
        return await self._hub._run(self._hub._api.workflow(id))

    async def list(
        self, *, status: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> WorkflowPage:
        return await self._hub._run(self._hub._api.workflows(status, limit, cursor))

    async def claim(self, id: str, step: str, **identity: Unpack[Identity]) -> Step:
        """Takes a ready step. The answer's `attempt` goes into the report that ends it."""
        return await self._hub._run(self._hub._api.claim(id, step, identity))

    async def step(self, id: str, step: str, **report: Unpack[StepReport]) -> Step:
        return await self._hub._run(self._hub._api.step(id, step, report))

    async def complete(self, id: str, results: Any = None, *, idempotency_key: str | None = None) -> Workflow:
        return await self._hub._run(self._hub._api.end_workflow(id, "complete", idempotency_key, results=results))

    async def fail(
        self, id: str, *, error: str, failed_step: str | None = None, idempotency_key: str | None = None
    ) -> Workflow:
        return await self._hub._run(
            self._hub._api.end_workflow(id, "fail", idempotency_key, error=error, failed_step=failed_step)
        )

    async def cancel(self, id: str, reason: str | None = None, *, idempotency_key: str | None = None) -> Workflow:
        return await self._hub._run(self._hub._api.end_workflow(id, "cancel", idempotency_key, reason=reason))

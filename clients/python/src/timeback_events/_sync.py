"""The blocking hub. A stream is read in the thread that iterates it; listeners and heartbeats have their own."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
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


class Hub:
    """A hub, to listen to and to report to. Safe to share between threads."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | Callable[[], str] | None = None,
        timeout: float = 10.0,
        retries: int = 6,
        retry: float = 0.25,
        max_retry: float = 30.0,
        exact: bool = False,
        on_error: Callable[[BaseException], object] = complain,
        client: httpx.Client | None = None,
    ) -> None:
        self.url = (url or default_url()).rstrip("/")
        self.address = without_login(self.url)
        """The URL as it may be printed."""
        self.workflow = Workflows(self)
        """What several servers do together, step by step."""
        self._api = Api(Settings(self.url, timeout, retries, retry, max_retry, Json(exact)), on_error)
        self._token = token
        self._on_error = on_error
        self._owns_client = client is None
        self._client = client or httpx.Client(limits=httpx.Limits(max_connections=None))

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Streams and registrations have a `close` of their own."""
        if self._owns_client:
            self._client.close()

    # Listening

    def events(self, **options: Unpack[StreamOptions]) -> EventStream:
        """A resumable stream of the events that match: iterate it."""
        return EventStream(self, self._api.stream(options))

    def add_event_listener(
        self, listener: Callable[[HubEvent], object], **options: Unpack[StreamOptions]
    ) -> Callable[[], None]:
        """Calls `listener(event)` for each event that matches, in a thread of its own. Returns the
        function that unsubscribes."""
        stream = self.events(**options)
        threading.Thread(target=self._pump, args=(stream, listener), name="timeback-events", daemon=True).start()
        return stream.close

    def _pump(self, stream: EventStream, listener: Callable[[HubEvent], object]) -> None:
        try:
            for event in stream:
                try:
                    listener(event)
                except Exception as error:
                    self._on_error(error)
        except Exception as error:
            self._on_error(error)

    # Reading

    def get_event_history(self, **filter: Unpack[HistoryFilter]) -> HistoryPage:
        """One page; pass `cursor=page.next_cursor` for the next."""
        return self._run(self._api.history(filter))

    def history(self, **filter: Unpack[HistoryFilter]) -> Iterator[HubEvent]:
        """All of history that matches, page by page as the iteration proceeds."""
        while True:
            page = self.get_event_history(**filter)
            yield from page.events
            if not page.next_cursor:
                return
            filter = {**filter, "cursor": page.next_cursor}

    def get_event(self, id: str) -> HubEvent:
        return self._run(self._api.event(id))

    def get_snapshot(self) -> Snapshot:
        return self._run(self._api.snapshot())

    def get_status(self) -> Status:
        return self._run(self._api.status())

    def list_servers(self, **filter: Unpack[ServerFilter]) -> ServerPage:
        return self._run(self._api.servers(filter))

    def get_server(self, id: str) -> ServerState:
        return self._run(self._api.server(id))

    def list_patterns(self) -> list[Pattern]:
        return self._run(self._api.patterns())

    def set_pattern(self, name: str, *, enabled: bool, description: str | None = None) -> Pattern:
        return self._run(self._api.set_pattern(name, enabled, description))

    # Reporting

    def emit(
        self, events: EmittedEvent | Sequence[EmittedEvent], *, idempotency_key: str | None = None
    ) -> list[str | None]:
        """Appends one event, or several all or nothing. Returns the id of the last event each one caused."""
        return self._run(self._api.emit(events, idempotency_key))

    def register(
        self,
        *,
        retries: float | None = None,
        on_error: Callable[[BaseException], object] | None = None,
        on_recovery: Callable[[], object] | None = None,
        **description: Unpack[ServerDescription],
    ) -> RegisteredServer:
        """Registers a server and keeps it registered, until it is closed: heartbeats at the hub's pace,
        and again from scratch if the hub forgot it. `retries` are of the registration itself. `on_error`
        (the hub's, if none is given) is called once per outage of the heartbeats, `on_recovery` at its end."""
        return RegisteredServer(self, self._api.lease(description, retries), on_error or self._on_error, on_recovery)

    def steps(self, **filter: Unpack[StepFilter]) -> list[Step]:
        """Work for a server; with `wait="30s"` held until there is some."""
        return self._run(self._api.steps(filter))

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Any other call of the hub's API, with the same retries and errors."""
        return self._run(call(self._api.settings, method, path, query=query, body=body, idempotency_key=idempotency_key))

    def _run(self, steps: Steps[T]) -> T:
        """Carries out what the generator asks for."""
        result: Answer | HubError | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                value: T = done.value
                return value
            if isinstance(step, Sleep):
                time.sleep(step.seconds)
                result = None
            else:
                result = self._send(step)

    def _send(self, request: Request) -> Answer | HubError:
        try:
            with quiet():
                response = self._client.send(self._build(request, httpx.Timeout(request.timeout)))
            return Answer(response.status_code, response.headers, response.content)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            return HubError.unreachable(self.address + request.path, error)

    def _build(self, request: Request, timeout: httpx.Timeout) -> httpx.Request:
        token = self._token() if callable(self._token) else self._token
        headers = {**request.headers, **({"authorization": f"Bearer {token}"} if token else {})}
        return self._client.build_request(
            request.method,
            self.url + request.path,
            params=list(request.query),
            content=request.content,
            headers=headers,
            timeout=timeout,
        )


class EventStream:
    """Events as they happen, in order, each once. Made by `hub.events()`; connects on first use.

    It never ends by itself: it resumes after the last event it handed over, across lost connections
    and restarts of the hub. `close()`, which any thread may call, ends it."""

    def __init__(self, hub: Hub, state: StreamState) -> None:
        self._hub = hub
        self._state = state
        self._closed = threading.Event()
        self._response: httpx.Response | None = None
        self._events = self._iterate()

    @property
    def last_event_id(self) -> str | None:
        """Of the last event (or bookmark) handed over: keep it to go on from there after a restart."""
        return self._state.last_event_id

    def close(self) -> None:
        self._closed.set()
        self._interrupt()
        # Running where another thread waits in it: that one is awake now, and ends it.
        with suppress(ValueError):
            self._events.close()

    def __iter__(self) -> Iterator[HubEvent]:
        return self._events

    def __next__(self) -> HubEvent:
        return next(self._events)

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _iterate(self) -> Generator[HubEvent, None, None]:
        while not self._closed.is_set():
            error: HubError | None = None
            try:
                for event in self._connection():
                    yield event
                    if self._closed.is_set():
                        return
            except HubError as problem:
                error = problem
            if not self._closed.is_set():
                self._closed.wait(self._state.pause(error))

    def _connection(self) -> Iterator[HubEvent]:
        request = self._state.request()
        try:
            timeout = httpx.Timeout(request.timeout, read=self._state.silence)
            with quiet():
                response = self._hub._client.send(self._hub._build(request, timeout), stream=True)
            self._response = response
            try:
                content = b"" if response.status_code == 200 else response.read()
                self._state.accept(Answer(response.status_code, response.headers, content))
                for chunk in response.iter_raw():
                    yield from self._state.feed(chunk)
                    if self._closed.is_set():
                        return
            finally:
                self._response = None
                response.close()
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise HubError.unreachable("the stream", error) from error

    def _interrupt(self) -> None:
        """Wakes the thread that waits for the hub: a read ends when its socket is shut down, not when it is closed."""
        response = self._response
        if response is None:
            return
        connection = response.extensions["network_stream"].get_extra_info("socket")
        with suppress(OSError, AttributeError):
            connection.shutdown(socket.SHUT_RDWR)


class RegisteredServer:
    """A server of ours as the hub knows it. Made by `hub.register()`. As a context manager it
    deregisters at the end of its block."""

    def __init__(
        self,
        hub: Hub,
        lease: Lease,
        on_error: Callable[[BaseException], object],
        on_recovery: Callable[[], object] | None,
    ) -> None:
        self._hub = hub
        self._lease = lease
        self._on_error = on_error
        self._on_recovery = on_recovery
        self._stopped = threading.Event()
        self._wake = threading.Event()
        hub._run(lease.register({}))
        self._beating = threading.Thread(target=self._beat, name=f"timeback-events {self.id}", daemon=True)
        self._beating.start()

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

    def wait(self, timeout: float | None = None) -> str | None:
        """Waits until the registration is over, and says why it is."""
        self._stopped.wait(timeout)
        return self._lease.over

    def update(self, **changes: Unpack[ServerChanges]) -> ServerState:
        """Registers again with these changes: listeners see `server_updated`."""
        return self._hub._run(self._lease.register(body_of(changes)))

    def heartbeat(self, **vitals: Unpack[Vitals]) -> ServerState:
        """Sends a heartbeat now. What it says is said again by every automatic one until something else is."""
        return self._hub._run(self._lease.heartbeat(dict(vitals)))

    def close(self, reason: str | None = None, *, expected: bool = True) -> None:
        """Deregisters. No heartbeat follows. Unless it is `expected`, the server counts as lost until it is back."""
        self._wake.set()
        # A beat under way may be about to register us again.
        self._beating.join()
        try:
            self._hub._run(self._lease.close(reason, expected))
        finally:
            self._stopped.set()

    def __enter__(self) -> RegisteredServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _beat(self) -> None:
        failing = False
        while not self._wake.wait(self._lease.due_in) and not self._lease.over:
            try:
                self._hub._run(self._lease.heartbeat())
                if failing and self._on_recovery:
                    self._on_recovery()
                failing = False
            except Exception as error:
                # Told once per outage.
                if not failing and not self._wake.is_set():
                    self._on_error(error)
                failing = True
        if self._lease.over:
            self._stopped.set()


class Workflows:
    """The calls on workflows, as `hub.workflow`. Their shapes are the hub's own."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def start(self, definition: Mapping[str, Any], *, idempotency_key: str | None = None) -> Workflow:
        return self._hub._run(self._hub._api.start_workflow(definition, idempotency_key))

    def get(self, id: str) -> Workflow:
        return self._hub._run(self._hub._api.workflow(id))

    def list(self, *, status: str | None = None, limit: int | None = None, cursor: str | None = None) -> WorkflowPage:
        return self._hub._run(self._hub._api.workflows(status, limit, cursor))

    def claim(self, id: str, step: str, **identity: Unpack[Identity]) -> Step:
        """Takes a ready step. The answer's `attempt` goes into the report that ends it."""
        return self._hub._run(self._hub._api.claim(id, step, identity))

    def step(self, id: str, step: str, **report: Unpack[StepReport]) -> Step:
        return self._hub._run(self._hub._api.step(id, step, report))

    def complete(self, id: str, results: Any = None, *, idempotency_key: str | None = None) -> Workflow:
        return self._hub._run(self._hub._api.end_workflow(id, "complete", idempotency_key, results=results))

    def fail(
        self, id: str, *, error: str, failed_step: str | None = None, idempotency_key: str | None = None
    ) -> Workflow:
        return self._hub._run(
            self._hub._api.end_workflow(id, "fail", idempotency_key, error=error, failed_step=failed_step)
        )

    def cancel(self, id: str, reason: str | None = None, *, idempotency_key: str | None = None) -> Workflow:
        return self._hub._run(self._hub._api.end_workflow(id, "cancel", idempotency_key, reason=reason))

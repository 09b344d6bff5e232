"""The hub's calls without I/O: one generator each, for whichever hub carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ._calls import LONGEST_WAIT, Settings, Steps, body_of, call, segment
from ._lease import Lease
from ._stream import Callbacks, StreamState
from .types import (
    EmittedEvent,
    HistoryFilter,
    HistoryPage,
    HubEvent,
    Identity,
    Pattern,
    ServerDescription,
    ServerFilter,
    ServerPage,
    ServerState,
    Snapshot,
    Status,
    Step,
    StepFilter,
    StreamOptions,
    Workflow,
    WorkflowPage,
    parse_event,
)


class Api:
    def __init__(self, settings: Settings, on_error: Callable[[BaseException], object]) -> None:
        self.settings = settings
        self._on_error = on_error

    def stream(self, options: StreamOptions) -> StreamState:
        given = dict(options)
        callbacks = Callbacks(**{name: given.pop(name) for name in list(given) if name.startswith("on_")})  # type: ignore[arg-type]
        last_event_id = cast("str | None", given.pop("last_event_id", None))
        return StreamState(self.settings, given, last_event_id, callbacks, self._on_error)

    def lease(self, description: ServerDescription, retries: float | None) -> Lease:
        return Lease(self.settings, body_of(description), retries)

    def history(self, filter: HistoryFilter) -> Steps[HistoryPage]:
        page = yield from self._get("/events/history", filter)
        events = [parse_event(event) for event in page["events"]]
        return HistoryPage(events, page.get("nextCursor"), page.get("truncated", False))

    def event(self, id: str) -> Steps[HubEvent]:
        event: HubEvent = parse_event((yield from self._get(f"/events/{segment(id)}")))
        return event

    def snapshot(self) -> Steps[Snapshot]:
        return self._get("/snapshot")

    def status(self) -> Steps[Status]:
        return self._get("/status")

    def servers(self, filter: ServerFilter) -> Steps[ServerPage]:
        return self._get("/servers", filter)

    def server(self, id: str) -> Steps[ServerState]:
        return self._get(f"/servers/{segment(id)}")

    def patterns(self) -> Steps[list[Pattern]]:
        patterns: list[Pattern] = (yield from self._get("/patterns"))["patterns"]
        return patterns

    def set_pattern(self, name: str, enabled: bool, description: str | None) -> Steps[Pattern]:
        body = body_of({"enabled": enabled, "description": description})
        return call(self.settings, "PUT", f"/patterns/{segment(name)}", body=body)

    def emit(self, events: EmittedEvent | Sequence[EmittedEvent], key: str | None) -> Steps[list[str | None]]:
        ids: list[str | None] = (yield from self._post("/events", events, key))["ids"]
        return ids

    def steps(self, filter: StepFilter) -> Steps[list[Step]]:
        timeout = self.settings.timeout + (LONGEST_WAIT if filter.get("wait") else 0)
        steps: list[Step] = (yield from call(self.settings, "GET", "/steps", query=filter, timeout=timeout))["steps"]
        return steps

    def start_workflow(self, definition: Mapping[str, Any], key: str | None) -> Steps[Workflow]:
        return self._post("/workflows", definition, key)

    def workflow(self, id: str) -> Steps[Workflow]:
        return self._get(f"/workflows/{segment(id)}")

    def workflows(self, status: str | None, limit: int | None, cursor: str | None) -> Steps[WorkflowPage]:
        return self._get("/workflows", {"status": status, "limit": limit, "cursor": cursor})

    def claim(self, id: str, step: str, identity: Identity) -> Steps[Step]:
        return self.step(id, step, {**identity, "status": "running"})

    def step(self, id: str, step: str, report: Mapping[str, Any]) -> Steps[Step]:
        body = body_of(report)
        key = body.pop("idempotencyKey", None)
        return self._post(f"/workflows/{segment(id)}/steps/{segment(step)}", body, key)

    def end_workflow(self, id: str, how: str, key: str | None, **body: Any) -> Steps[Workflow]:
        return self._post(f"/workflows/{segment(id)}/{how}", body_of(body), key)

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Steps[Any]:
        return call(self.settings, "GET", path, query=query)

    def _post(self, path: str, body: Any, key: str | None) -> Steps[Any]:
        return call(self.settings, "POST", path, body=body, idempotency_key=key)

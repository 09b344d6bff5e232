"""The shapes of the hub's contract. Times are epoch milliseconds; names in answers are the hub's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypedDict, TypeVar, Union, get_args

from ._errors import HubError

if sys.version_info >= (3, 11):
    from typing import NotRequired, Required
else:
    from typing_extensions import NotRequired, Required

Health = Literal["healthy", "degraded", "unhealthy"]
Transport = Literal["stdio", "sse", "http", "websocket"]
StepStatus = Literal["pending", "ready", "running", "completed", "failed"]


class Capabilities(TypedDict):
    """By name alone, or as objects with a `name` and what describes it: a description or a hash that changes is drift."""

    tools: list[Any]
    resources: list[Any]
    prompts: list[Any]


class DriftedItem(TypedDict):
    name: str
    fields: list[str]


class Drifted(TypedDict):
    added: list[str]
    removed: list[str]
    changed: list[DriftedItem]


class Drift(TypedDict, total=False):
    """What changed of what a server offers."""

    tools: Drifted
    resources: Drifted
    prompts: Drifted


class Instance(TypedDict):
    """One process of a server."""

    instanceId: NotRequired[str]
    """Absent from the one that has none."""
    health: Health
    reason: NotRequired[str]
    lastSeenAt: int
    dueAt: int | None
    connectedAt: int
    host: NotRequired[str]
    pid: NotRequired[int]
    client: NotRequired[Any]
    """Whom it serves: a name, or MCP's `clientInfo`."""
    metrics: NotRequired[dict[str, float]]


class Warning(TypedDict):
    """A member that the hub didn't know, and so dropped."""

    pointer: str
    detail: str


class Connection(TypedDict):
    id: str
    name: str
    transport: Transport
    url: NotRequired[str]
    version: NotRequired[str]
    capabilities: Capabilities
    tags: NotRequired[dict[str, str]]
    metadata: NotRequired[dict[str, Any]]
    instanceId: NotRequired[str]


class ConnectionName(TypedDict):
    id: str
    name: str


class Pattern(TypedDict):
    name: str
    description: str
    enabled: bool


class StepResult(TypedDict):
    step: str
    status: str
    result: NotRequired[Any]


# What an event's `data` holds, by its type.


class ServerConnected(TypedDict):
    connection: Connection
    reconnected: bool
    heartbeatIntervalMs: NotRequired[int]
    protocolVersion: NotRequired[str]
    changes: NotRequired[list[str]]
    """After a return: the names of what is not as it was."""
    drift: NotRequired[Drift]


class ServerDisconnected(TypedDict):
    reason: str
    """`deregistered`, `heartbeat_timeout`, `replaced`, or the producer's own text."""
    connection: ConnectionName
    lastSeenAt: int
    expected: NotRequired[bool]
    """Whether it went as it should (absent from events of an older hub, as other details may be); one that did not
    counts as lost until it is back."""
    connectedForMs: NotRequired[int]
    instanceId: NotRequired[str]


class ServerInstanceChanged(TypedDict):
    instanceId: NotRequired[str]
    """Absent from the one that has none."""
    connectedInstances: int
    reason: str
    expected: bool
    lastSeenAt: NotRequired[int]
    host: NotRequired[str]
    pid: NotRequired[int]
    client: NotRequired[Any]


class ServerUpdated(TypedDict):
    connection: Connection
    changed: list[str]
    drift: NotRequired[Drift]


class ServerHealthChanged(TypedDict):
    name: NotRequired[str]
    health: Health
    previousHealth: Health
    reason: str
    source: Literal["lease", "self", "probe", "operator"]
    missedHeartbeats: int
    lastSeenAt: int
    detail: NotRequired[str]


class WorkflowStarted(TypedDict):
    workflowId: str
    name: str
    description: NotRequired[str]
    steps: list[Any]
    readySteps: list[str]


class WorkflowStepStarted(TypedDict):
    workflowId: str
    stepId: str
    serverId: NotRequired[str]
    attempt: int


class WorkflowStepCompleted(TypedDict):
    workflowId: str
    stepId: str
    serverId: NotRequired[str]
    result: NotRequired[Any]
    attempt: int
    durationMs: NotRequired[int]
    completedSteps: int
    totalSteps: int
    readySteps: list[str]


class WorkflowStepFailed(TypedDict):
    workflowId: str
    stepId: str
    error: str
    attempt: int
    willRetry: bool
    reason: str


class WorkflowCompleted(TypedDict):
    workflowId: str
    name: str
    durationMs: int
    results: list[StepResult]
    #: `["results"]` where some had no room: `GET /workflows/{id}` has them all.
    truncated: NotRequired[list[str]]


class WorkflowFailed(TypedDict):
    workflowId: str
    name: str
    reason: Literal["step_failed", "timeout", "cancelled", "reported"]
    error: str
    failedStep: NotRequired[str]
    retryAttempts: int
    serverId: NotRequired[str]
    tool: NotRequired[str]
    completedSteps: NotRequired[int]
    totalSteps: NotRequired[int]


class Because(TypedDict):
    serverId: NotRequired[str]
    type: str


class IntegrationStatusChanged(TypedDict):
    status: Health
    previousStatus: Health
    connectedServers: int
    healthyServers: int
    lostServers: int
    lost: NotRequired[list[str]]
    """The ids of the first ten."""
    because: NotRequired[Because]
    """What tipped it."""
    activeWorkflows: int


class PatternSwitched(TypedDict):
    pattern: Pattern
    source: Literal["startup", "api"]


Type = TypeVar("Type", bound=str, covariant=True)
Data = TypeVar("Data", covariant=True)


@dataclass(frozen=True)
class Event(Generic[Type, Data]):
    id: str
    sequence: int
    type: Type
    timestamp: int
    data: Data
    server_id: str | None = None
    by: str | None = None
    """The name of the key or the subject on whose request it came about; never a secret."""
    cloud_event: Mapping[str, Any] | None = None
    """Of an event that came as a CloudEvent: its attributes."""


class CustomEvent(Event[str, Any]):
    """Of a type of its producer's own: a dotted name (`grades.synced`) or `custom_…`. Its `data` is any JSON, or
    None if absent."""


CoreEvent = Union[
    Event[Literal["server_connected"], ServerConnected],
    Event[Literal["server_disconnected"], ServerDisconnected],
    Event[Literal["server_instance_connected"], ServerInstanceChanged],
    Event[Literal["server_instance_disconnected"], ServerInstanceChanged],
    Event[Literal["server_updated"], ServerUpdated],
    Event[Literal["server_health_changed"], ServerHealthChanged],
    Event[Literal["workflow_started"], WorkflowStarted],
    Event[Literal["workflow_step_started"], WorkflowStepStarted],
    Event[Literal["workflow_step_completed"], WorkflowStepCompleted],
    Event[Literal["workflow_step_failed"], WorkflowStepFailed],
    Event[Literal["workflow_completed"], WorkflowCompleted],
    Event[Literal["workflow_failed"], WorkflowFailed],
    Event[Literal["integration_status_changed"], IntegrationStatusChanged],
    Event[Literal["pattern_enabled"], PatternSwitched],
    Event[Literal["pattern_disabled"], PatternSwitched],
]
"""Told apart by `type`."""

HubEvent = Union[CoreEvent, CustomEvent]

_CORE_TYPES = frozenset(get_args(get_args(event)[0])[0] for event in get_args(CoreEvent))


def parse_event(content: dict[str, Any]) -> Any:
    make: type[Event[Any, Any]] = Event if content["type"] in _CORE_TYPES else CustomEvent
    return make(
        id=content.get("id", ""),
        sequence=content.get("sequence", 0),
        type=content["type"],
        timestamp=content.get("timestamp", 0),
        data=content.get("data"),
        server_id=content.get("serverId"),
        by=content.get("by"),
        cloud_event=content.get("cloudEvent"),
    )


@dataclass(frozen=True)
class HistoryPage:
    events: list[HubEvent]
    next_cursor: str | None
    truncated: bool
    """Events that match were pruned or are unreadable."""


@dataclass(frozen=True)
class Verdict:
    """What a stream opened with."""

    verdict: Literal["live", "resumed", "replay", "gap"]
    oldest_id: str
    head_id: str
    keep_alive_ms: int
    reason: str | None = None
    requested_id: str | None = None


@dataclass(frozen=True)
class Gap:
    """Events that the hub no longer has, or can't read, were skipped."""

    reason: str
    """`expired`, `unknown_log`, `malformed` or `corrupt`."""
    next_id: str
    """Where the stream goes on."""
    after_id: str | None = None


@dataclass(frozen=True)
class Closing:
    """The hub ended the stream on purpose: `draining`, `busy`, `disabled` or `credentials_expired`."""

    reason: str


class ServerState(TypedDict):
    id: str
    name: str
    status: Literal["connected", "disconnected"]
    health: Health
    reason: NotRequired[str]
    detail: NotRequired[str]
    expected: NotRequired[bool]
    """Of one that is gone: false means that it counts as lost (absent from an older hub)."""
    lastSeenAt: int
    dueAt: int | None
    """None once it is disconnected."""
    missedHeartbeats: int
    heartbeatIntervalMs: int
    connectedAt: int
    connection: Connection
    tags: dict[str, str]
    metrics: NotRequired[dict[str, float]]
    instances: list[Instance]
    warnings: NotRequired[list[Warning]]


class Step(TypedDict):
    id: str
    workflowId: str
    name: NotRequired[str]
    server: NotRequired[str]
    """As declared."""
    serverId: NotRequired[str]
    """Who holds or did it."""
    tool: NotRequired[str]
    params: NotRequired[Any]
    dependsOn: list[str]
    required: bool
    timeout: NotRequired[int]
    retries: int
    status: StepStatus
    attempt: int
    startedAt: NotRequired[int]
    endedAt: NotRequired[int]
    result: NotRequired[Any]
    error: NotRequired[str]


class Workflow(TypedDict):
    id: str
    name: str
    description: NotRequired[str]
    status: Literal["running", "completed", "failed", "cancelled"]
    reason: NotRequired[str]
    error: NotRequired[str]
    startedAt: int
    endedAt: NotRequired[int]
    completedSteps: int
    totalSteps: int
    steps: list[Step]
    definition: NotRequired[Any]
    warnings: NotRequired[list[Warning]]


class Status(TypedDict):
    status: Health
    connectedServers: int
    healthyServers: int
    lostServers: int
    totalTools: int
    totalResources: int
    activeWorkflows: int
    completedWorkflows: int
    failedWorkflows: int
    sseClients: int
    enabledPatterns: list[str]
    selfSuspect: NotRequired[dict[str, int]]
    lastEventId: str
    uptimeMs: int


class Snapshot(TypedDict):
    id: str
    sequence: int
    status: Health
    servers: list[ServerState]
    workflows: list[Workflow]
    patterns: list[Pattern]
    stats: dict[str, Any]


class ServerPage(TypedDict):
    servers: list[ServerState]
    nextCursor: NotRequired[str | None]


class WorkflowPage(TypedDict):
    workflows: list[Workflow]
    nextCursor: NotRequired[str | None]


class EmittedEvent(TypedDict):
    type: str
    serverId: NotRequired[str]
    data: Any


# What calls take. Names are Python's here; a list of values is any of them, for `tag` all of them.

OneOrMore = Union[str, list[str], tuple[str, ...]]


class Filter(TypedDict, total=False):
    type: OneOrMore
    """A type, or a prefix such as `workflow_*`."""
    server_id: OneOrMore
    workflow_id: OneOrMore
    tag: OneOrMore
    """`key:value` of the server concerned."""


class StreamOptions(Filter, total=False):
    last_event_id: str
    """Start after this event; `earliest` is the oldest kept."""
    since: int | str | datetime
    """Start at a time: epoch ms, RFC 3339, a datetime, or an age (`15m`)."""
    replay: int
    """Start with the last N that match."""
    snapshot: bool
    """First the state, to `on_snapshot`."""
    on_verdict: Callable[[Verdict], object]
    """Each time that the stream is (re)opened, before its first event."""
    on_gap: Callable[[Gap], object]
    on_closing: Callable[[Closing], object]
    on_snapshot: Callable[[Snapshot], object]
    on_retry: Callable[[HubError | None, float], object]
    """The stream broke or was refused, and is tried again after so many seconds."""


class HistoryFilter(Filter, total=False):
    since: int | str | datetime
    until: int | str | datetime
    order: Literal["asc", "desc"]
    limit: int
    """Events in a page, 1 to 1000."""
    cursor: str | None


class ServerFilter(TypedDict, total=False):
    health: Health
    status: Literal["connected", "disconnected"]
    transport: Transport
    tag: OneOrMore
    limit: int
    cursor: str | None


class StepFilter(TypedDict, total=False):
    server_id: str
    workflow_id: str
    status: StepStatus
    wait: str
    """How long the hub may hold its answer until there is work, such as `30s`."""
    limit: int


class ServerDescription(TypedDict, total=False):
    id: str
    """Chosen by the hub where absent."""
    name: Required[str]
    transport: Required[Transport]
    url: str
    version: str
    capabilities: Mapping[str, Sequence[str | Mapping[str, Any]]]
    tags: dict[str, str]
    metadata: dict[str, Any]
    heartbeat_interval_ms: int
    """How often we mean to be heard; the hub's own where absent."""
    protocol_version: str
    instance_id: str
    """Tells this process from an earlier or a second one with its id; random if absent."""
    instances: Literal["one", "many"]
    """`one`, the default: another instance takes this one's place. `many`: the server is connected while any is."""
    host: str
    pid: int
    client: Any
    """Whom it serves: a name, or MCP's `clientInfo`."""


class ServerChanges(TypedDict, total=False):
    name: str
    transport: Transport
    url: str
    version: str
    capabilities: Mapping[str, Sequence[str | Mapping[str, Any]]]
    tags: dict[str, str]
    metadata: dict[str, Any]
    heartbeat_interval_ms: int


class Vitals(TypedDict, total=False):
    health: Health
    detail: str
    metrics: dict[str, float]


class Identity(TypedDict, total=False):
    server_id: str
    instance_id: str


class StepReport(Identity, total=False):
    status: Required[Literal["running", "completed", "failed"]]
    result: Any
    error: str
    attempt: int
    """What the claim answered; required from the second on."""
    idempotency_key: str

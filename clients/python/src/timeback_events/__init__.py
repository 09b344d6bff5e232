"""The client of the timeback-events hub: listen, report, take part in workflows.

    from timeback_events import Hub          # or AsyncHub, the same in asyncio

    for event in Hub().events(type="workflow_*"):
        print(event.type, event.data)
"""

from ._aio import AsyncEventStream, AsyncHub, AsyncRegisteredServer
from ._errors import HubError
from ._sse import Frame, SseParser
from ._sync import EventStream, Hub, RegisteredServer
from .types import Closing, CoreEvent, CustomEvent, Event, Gap, HistoryPage, HubEvent, Verdict

__all__ = [
    "AsyncEventStream",
    "AsyncHub",
    "AsyncRegisteredServer",
    "Closing",
    "CoreEvent",
    "CustomEvent",
    "Event",
    "EventStream",
    "Frame",
    "Gap",
    "HistoryPage",
    "Hub",
    "HubError",
    "HubEvent",
    "RegisteredServer",
    "SseParser",
    "Verdict",
]

"""A stream without I/O: where it stands, what its frames mean, when to come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._calls import Answer, Request, Settings, backoff, pairs
from ._defaults import without_login
from ._errors import HubError
from ._sse import Frame, SseParser
from .types import Closing, Gap, HubEvent, Snapshot, Verdict, parse_event


@dataclass(frozen=True)
class Callbacks:
    on_verdict: Callable[[Verdict], object] | None = None
    on_gap: Callable[[Gap], object] | None = None
    on_closing: Callable[[Closing], object] | None = None
    on_snapshot: Callable[[Snapshot], object] | None = None
    on_retry: Callable[[HubError | None, float], object] | None = None


class StreamState:
    """For each connection: send `request()`, check its answer with `accept`, `feed` what comes, and
    wait for `pause(error)` seconds once it ended."""

    def __init__(
        self,
        settings: Settings,
        query: Mapping[str, Any],
        last_event_id: str | None,
        callbacks: Callbacks,
        on_error: Callable[[BaseException], object],
    ) -> None:
        self.last_event_id = last_event_id
        """Of the last event (or bookmark) handed over."""
        # In this format only frames about the stream itself have a name.
        self._query = [*pairs(query), ("format", "message")]
        self._settings = settings
        self._callbacks = callbacks
        self._on_error = on_error
        self._parser = SseParser()
        self._retry = settings.retry
        self._keep_alive: float | None = None
        self._attempt = 0
        self._closing: Closing | None = None
        self._snapshot: list[dict[str, Any]] = []
        self._opened_once = False

    @property
    def silence(self) -> float:
        """The hub writes a bookmark when nothing else happens, so a longer silence means that nobody
        is there. How often it does it says in the stream; until then we go by three times its default."""
        return 45.0 if self._keep_alive is None else 2 * self._keep_alive + 1

    def request(self) -> Request:
        """The query stays the same, as an EventSource's does: a last event id overrides the place it names."""
        self._parser = SseParser(self.last_event_id or "")
        self._closing = None
        self._snapshot = []
        headers = {"accept": "text/event-stream", "accept-encoding": "identity", "cache-control": "no-store"}
        if self.last_event_id:
            headers["last-event-id"] = self.last_event_id
        return Request("GET", "/events", self._query, None, headers, self._settings.timeout)

    def accept(self, answer: Answer) -> None:
        """Raises unless the answer is a stream; then its content is the problem."""
        if answer.status != 200:
            raise answer.problem
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            title = f"{without_login(self._settings.url)}/events answered no event stream"
            raise HubError({"type": "not-a-stream", "status": answer.status, "title": title})

    def feed(self, chunk: bytes) -> Iterator[HubEvent]:
        for frame in self._parser.push(chunk):
            self._attempt = 0
            self.last_event_id = frame.id or None
            event = self._receive(frame)
            if event:
                yield event
        if self._parser.retry_ms is not None:
            self._retry = self._parser.retry_ms / 1000
        self.last_event_id = self._parser.last_event_id or None

    def pause(self, error: HubError | None) -> float:
        """How long to wait before the next connection, in seconds. Raises what no patience helps."""
        # A page in the hub's place is a mistake at first; in mid-life it is a proxy that the hub will be back behind.
        passes = error and (error.retryable or (error.type == "not-a-stream" and self._opened_once))
        if error and not passes:
            raise error
        # A hub that ends a stream on purpose has already spread its clients out; otherwise we do.
        delay = self._retry if self._closing else backoff(self._retry, self._attempt, self._settings.max_retry)
        delay = max(delay, (error and error.retry_after) or 0)
        self._attempt += 1
        if self._callbacks.on_retry:
            self._callbacks.on_retry(error, delay)
        return delay

    def _receive(self, frame: Frame) -> HubEvent | None:
        """The event in a frame, or nothing if the frame is about the stream."""
        content = self._read(frame)
        if content is None:
            return None
        if frame.event == "message":
            event: HubEvent = parse_event(content)
            return event
        if frame.event == "stream_opened":
            self._opened(content)
        elif frame.event == "stream_gap":
            self._gap(Gap(content.get("reason", ""), content.get("nextId", ""), content.get("afterId")))
        elif frame.event == "stream_closing":
            self._closing = Closing(content.get("reason", ""))
            if self._callbacks.on_closing:
                self._callbacks.on_closing(self._closing)
        elif frame.event == "snapshot":
            self._snapshot.append(content)
            if len(self._snapshot) >= content.get("parts", 1):
                whole = join_parts(self._snapshot)
                self._snapshot = []
                if self._callbacks.on_snapshot:
                    self._callbacks.on_snapshot(whole)
        return None

    def _read(self, frame: Frame) -> dict[str, Any] | None:
        try:
            content = self._settings.json.loads(frame.data)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and (frame.event != "message" or "type" in content):
            return content
        # Skipped, but not in silence.
        title = f"a frame {frame.event!r} that is no event and no JSON object was skipped"
        self._on_error(HubError({"type": "unreadable-frame", "title": title, "detail": frame.id and f"its id is {frame.id}"}))
        return None

    def _opened(self, content: dict[str, Any]) -> None:
        self._opened_once = True
        self._keep_alive = content["keepAliveMs"] / 1000 if "keepAliveMs" in content else None
        verdict = Verdict(
            verdict=content.get("verdict", "live"),
            oldest_id=content.get("oldestId", ""),
            head_id=content.get("headId", ""),
            keep_alive_ms=content.get("keepAliveMs", 0),
            reason=content.get("reason"),
            requested_id=content.get("requestedId"),
        )
        if self._callbacks.on_verdict:
            self._callbacks.on_verdict(verdict)
        if verdict.verdict == "gap":
            self._gap(Gap(verdict.reason or "", verdict.oldest_id, verdict.requested_id))

    def _gap(self, gap: Gap) -> None:
        if self._callbacks.on_gap:
            self._callbacks.on_gap(gap)


def join_parts(parts: list[dict[str, Any]]) -> Any:
    """A snapshot comes in parts whose lists are to be joined; what is no list is the same in each."""
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, list) and isinstance(whole.get(key), list):
                whole[key].extend(value)
            else:
                whole[key] = value
    whole.pop("part", None)
    whole.pop("parts", None)
    return whole


"""The parser of `text/event-stream`, by the letter of the HTML standard. Bytes in, frames out; no I/O."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

_LINE_END = re.compile("\r\n|\n|\r")


@dataclass(frozen=True)
class Frame:
    event: str
    data: str
    id: str


class SseParser:
    """Gives the same frames wherever the bytes are cut. A frame that is never finished is never seen."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        """As of the last finished block, also one without data."""
        self.retry_ms: int | None = None
        """The last `retry:`, if any."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line: list[str] = []
        self._at_start = True
        self._skip_lf = False
        self._event = ""
        self._data: list[str] = []
        self._id = last_event_id

    def push(self, chunk: bytes) -> list[Frame]:
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if self._at_start:
            text = text.removeprefix("\ufeff")
            self._at_start = False
        # A CR ends its line at once, so that no frame waits for what follows; an LF after it is its other half.
        if self._skip_lf:
            text = text.removeprefix("\n")
        self._skip_lf = text.endswith("\r")
        *finished, rest = _LINE_END.split(text)
        frames = []
        for end in finished:
            self._line.append(end)
            frame = self._take("".join(self._line))
            self._line.clear()
            if frame:
                frames.append(frame)
        self._line.append(rest)
        return frames

    def _take(self, line: str) -> Frame | None:
        """The frame that this line finishes, if it does."""
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Frame | None:
        self.last_event_id = self._id
        frame = Frame(self._event or "message", "\n".join(self._data), self._id) if self._data else None
        self._event = ""
        self._data = []
        return frame

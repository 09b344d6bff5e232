"""`httpx` logs every request at INFO. Ours, a heartbeat every few seconds among them, are not news."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_quiet: ContextVar[bool] = ContextVar("timeback_events_quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or not _quiet.get()


logging.getLogger("httpx").addFilter(_is_news)

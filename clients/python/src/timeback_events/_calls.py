"""Calls without I/O: what to send, what to do with the answer, when to try again.

A call is a generator. It yields what it wants done (a `Request` to send, a `Sleep`) and is sent back
what came of it, so that one description of the protocol serves both the blocking and the asyncio hub.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, Union
from urllib.parse import quote

from ._errors import HubError

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""The hub holds a long poll no longer than this, in seconds."""


@dataclass(frozen=True)
class Settings:
    url: str
    timeout: float = 10.0
    retries: float = 6
    retry: float = 0.25
    max_retry: float = 30.0


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 10.0


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def problem(self) -> HubError:
        try:
            problem = json.loads(self.content)
        except ValueError:
            problem = None
        after = self.headers.get("retry-after", "")
        known = problem if isinstance(problem, dict) else {"title": f"status {self.status}"}
        return HubError({**known, "status": self.status}, retry_after=float(after) if after.isdigit() else None)


Steps = Generator[Union[Request, Sleep], Union[Answer, HubError, None], T]


def call(
    settings: Settings,
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    idempotency_key: str | None = None,
    idempotent: bool = False,
    timeout: float | None = None,
    retries: float | None = None,
) -> Steps[Any]:
    """One call, retried where that is safe and may help: after a network failure, a time-out, or a
    502, 503 or 504, never after a 4xx. Every try of a POST bears the same `Idempotency-Key`, so a
    call whose answer got lost is not carried out twice; `idempotent` says that it needs none."""
    headers = {"accept": "application/json"}
    if method == "POST" and not idempotent:
        headers["idempotency-key"] = idempotency_key or uuid.uuid4().hex
    limit = settings.timeout if timeout is None else timeout
    request = Request(method, path, pairs(query or {}), body, headers, limit)
    attempts = settings.retries if retries is None else retries
    attempt = 0
    while True:
        answer = yield request
        if isinstance(answer, Answer):
            if answer.status < 300:
                return json.loads(answer.content) if answer.content else None
            answer = answer.problem
        if not isinstance(answer, HubError):
            raise TypeError(f"a request is answered, not {answer!r}")
        if not answer.retryable or attempt >= attempts:
            raise answer
        yield Sleep(backoff(settings.retry, attempt, 5.0) if answer.retry_after is None else answer.retry_after)
        attempt += 1


def backoff(base: float, attempt: int, cap: float) -> float:
    """Doubles from `base` up to `cap`, and up to half as much again at random, so that clients don't return as one."""
    return float(max(base, min(cap, base * 2 ** min(attempt, 30)))) * (1 + random.random() / 2)


def pairs(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Query parameters in the hub's spelling: `server_id=["a", "b"]` is `serverId=a&serverId=b`."""
    return [(camel(name), text(one)) for name, value in query.items() for one in several(value) if one is not None and one is not False]


def body_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A body in the hub's spelling, without what wasn't given."""
    return {camel(name): value for name, value in fields.items() if value is not None}


def segment(value: str) -> str:
    return quote(value, safe="")


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def text(value: Any) -> str:
    if value is True:
        return "true"
    if isinstance(value, datetime):
        return str(round(value.timestamp() * 1000))
    return str(value)


def several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple, set, frozenset)) else [value]

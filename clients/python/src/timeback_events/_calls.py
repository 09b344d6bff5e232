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

from ._defaults import without_login
from ._errors import HubError
from ._json import Json

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
    json: Json = field(default_factory=Json)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    content: bytes | None = None
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
    status that may pass (408, 429, 500, 502, 503, 504), never after another one. Every try of a POST
    bears the same `Idempotency-Key`, so a call whose answer got lost is not carried out twice; `idempotent` says that it needs none."""
    headers = {"accept": "application/json"}
    if method == "POST" and not idempotent:
        headers["idempotency-key"] = idempotency_key or uuid.uuid4().hex
    if body is not None:
        headers["content-type"] = "application/json"
    content = None if body is None else settings.json.dumps(body)
    limit = settings.timeout if timeout is None else timeout
    request = Request(method, path, pairs(query or {}), content, headers, limit)
    attempts = settings.retries if retries is None else retries
    attempt = 0
    while True:
        answer = yield request
        if isinstance(answer, Answer):
            if answer.status < 300:
                return _content(settings, path, answer)
            answer = answer.problem
        if not isinstance(answer, HubError):
            raise TypeError(f"a request is answered, not {answer!r}")
        if not answer.retryable or attempt >= attempts:
            raise answer
        yield Sleep(backoff(settings.retry, attempt, 5.0) if answer.retry_after is None else answer.retry_after)
        attempt += 1


def _content(settings: Settings, path: str, answer: Answer) -> Any:
    if not answer.content:
        return None
    try:
        return settings.json.loads(answer.content)
    except ValueError:
        title = f"{without_login(settings.url)}{path} answered what is no JSON"
        raise HubError({"type": "not-a-hub", "status": answer.status, "title": title}) from None


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
    """A part of a path."""
    # A URL takes these two, in any spelling, as "here" and "one up"; the hub gives no such id out.
    if value in (".", ".."):
        raise ValueError(f"no id is {value!r}")
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

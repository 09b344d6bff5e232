from __future__ import annotations

from typing import Any

_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same call may go through later."""

_SWITCHED_OFF = frozenset({"integration-disabled", "pattern-disabled"})
"""503s that no waiting mends: an operator switched this off."""


class HubError(Exception):
    """What the hub answered (its problem+json), or, with status 0, that it didn't."""

    def __init__(self, problem: dict[str, Any], *, retry_after: float | None = None) -> None:
        self.status: int = problem.get("status", 0)
        self.type: str = problem.get("type", "about:blank")
        self.title: str = problem.get("title", "hub error")
        self.detail: str | None = problem.get("detail")
        self.problem = problem
        """The whole problem, with what else the hub put in: `errors`, the state of a step, …"""
        self.retry_after = retry_after
        """In seconds, where the hub named a time."""
        super().__init__(f"{self.title}: {self.detail}" if self.detail else self.title)

    @property
    def retryable(self) -> bool:
        """Whether the same call may go through later."""
        return self.status == 0 or (self.status in _TEMPORARY and self.type not in _SWITCHED_OFF)

    @classmethod
    def unreachable(cls, what: str, cause: object) -> HubError:
        return cls({"type": "unreachable", "title": f"no answer from {what}", "detail": str(cause) or type(cause).__name__})

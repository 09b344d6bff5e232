"""A registration without I/O: who we are, what a heartbeat says, and when the next is due."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, cast

from ._calls import Settings, Steps, call, segment
from ._errors import HubError
from .types import Identity, ServerState


class Lease:
    def __init__(self, settings: Settings, description: Mapping[str, Any], retries: float | None = None) -> None:
        self.state: ServerState
        self.over: str | None = None
        """`deregistered`, or `replaced` by a newer instance."""
        self.due_in = 0.0
        """How long after the last beat the next is due, in seconds."""
        self._settings = settings
        self._retries = retries
        self._description: dict[str, Any] = {"instanceId": uuid.uuid4().hex, **description}
        self._vitals: dict[str, Any] | None = None

    @property
    def identity(self) -> Identity:
        return {"server_id": self.state["id"], "instance_id": self._description["instanceId"]}

    def register(self, changes: Mapping[str, Any]) -> Steps[ServerState]:
        self._must_stand()
        self._description.update(changes)
        self.state = yield from call(self._settings, "POST", "/servers", body=self._description, retries=self._retries)
        # An id that the hub chose is ours from here on, also when we have to register again.
        self._description["id"] = self.state["id"]
        self.due_in = self._interval
        return self.state

    def heartbeat(self, vitals: dict[str, Any] | None = None) -> Steps[ServerState]:
        self._must_stand()
        self._vitals = vitals or self._vitals
        # Tried again before the hub calls it missed, which is half an interval after it was due.
        self.due_in = self._interval / 4
        try:
            answer = yield from self._beat_or_register()
        except HubError as error:
            if error.type == "instance-replaced":
                self.over = "replaced"
            # By whoever knew its instance id.
            if error.type == "instance-gone":
                self.over = "deregistered"
            raise
        self.state = cast(ServerState, {**self.state, **answer})
        self.due_in = self._interval
        return self.state

    def close(self, reason: str | None, expected: bool = True) -> Steps[None]:
        if self.over:
            return
        self.over = "deregistered"
        # Naming the instance keeps us from disconnecting one that took our place.
        query = {
            "reason": reason,
            "instance_id": self._description["instanceId"],
            "expected": None if expected else "false",
        }
        path = f"/servers/{segment(self.state['id'])}"
        try:
            yield from call(self._settings, "DELETE", path, query=query)
        except HubError as error:
            if error.status != 404:
                raise

    def _beat_or_register(self) -> Steps[Any]:
        try:
            return (yield from self._beat())
        except HubError as error:
            if error.type != "server-not-registered":
                raise
        state = yield from self.register({})
        return (yield from self._beat()) if self._vitals else state

    def _beat(self) -> Steps[Any]:
        """Not retried: a beat that takes longer than an interval says nothing that the next one doesn't."""
        body = {**(self._vitals or {}), "instanceId": self._description["instanceId"]}
        path = f"/servers/{segment(self.state['id'])}/heartbeat"
        timeout = max(self._interval, 1.0)
        return call(self._settings, "POST", path, body=body, idempotent=True, timeout=timeout, retries=0)

    def _must_stand(self) -> None:
        if self.over:
            raise RuntimeError(f"the registration of {self.state['id']} is over: {self.over}")

    @property
    def _interval(self) -> float:
        return self.state["heartbeatIntervalMs"] / 1000

"""Calls and registrations on a bad day, against a hub that follows a script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from support import Script, Scripted, eventually

from timeback_events import AsyncHub, Hub, HubError

Scripting = Callable[[Callable[[Scripted, int], None]], Script]

LMS: Any = {"id": "lms", "name": "LMS", "transport": "stdio"}


def registered(request: Scripted, interval_ms: int) -> None:
    request.answer(201, {"id": "lms", "health": "healthy", "heartbeatIntervalMs": interval_ms})


def passing_trouble(request: Scripted, number: int) -> None:
    if number == 1:
        request.drop()
    elif number == 2:
        request.answer(503, {"type": "draining", "title": "draining"}, retry_after="0")
    elif number == 3:
        request.send_response(202)
        request.send_header("content-length", "100")
        request.end_headers()
        request.wfile.write(b'{"ids"')
        request.drop()
    elif number == 4:
        request.hold()
    else:
        request.answer(202, {"ids": ["e-1"]})


def test_a_call_keeps_its_key_through_every_kind_of_passing_trouble(script: Scripting) -> None:
    hub = script(passing_trouble)
    client = Hub(hub.url, retry=0.005, timeout=0.2)
    assert client.emit({"type": "grades.synced", "data": {"count": 1}}) == ["e-1"]
    assert len(hub.requests) == 5
    assert len({request.headers["idempotency-key"] for request in hub.requests}) == 1
    client.emit({"type": "grades.synced", "data": {}}, idempotency_key="mine")
    assert hub.requests[-1].headers["idempotency-key"] == "mine"


def test_in_asyncio_too(script: Scripting) -> None:
    hub = script(passing_trouble)

    async def run() -> None:
        async with AsyncHub(hub.url, retry=0.005, timeout=0.2) as client:
            assert await client.emit({"type": "grades.synced", "data": {}}) == ["e-1"]

    asyncio.run(run())
    assert len({request.headers["idempotency-key"] for request in hub.requests}) == 1


def test_what_the_hub_refuses_is_not_asked_again(script: Scripting) -> None:
    problem = {"type": "step-not-ready", "title": "not ready", "detail": "waits", "step": {"status": "pending"}}
    hub = script(lambda request, number: request.answer(409, problem))
    with pytest.raises(HubError) as caught:
        Hub(hub.url).workflow.claim("w", "grade", server_id="lms", instance_id="i")
    assert not caught.value.retryable
    assert caught.value.problem["step"]["status"] == "pending"
    assert len(hub.requests) == 1
    assert hub.requests[0].path == "/workflows/w/steps/grade"
    assert hub.requests[0].body == {"status": "running", "serverId": "lms", "instanceId": "i"}


def test_waits_as_long_as_retry_after_says_and_not_at_all_for_what_is_switched_off(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        if number == 1:
            request.answer(503, {"type": "draining"}, retry_after="1")
        elif number == 2:
            request.answer(200, {"status": "healthy"})
        else:
            request.answer(503, {"type": "integration-disabled", "title": "disabled"})

    hub = script(handle)
    start = time.monotonic()
    Hub(hub.url).get_status()
    assert time.monotonic() - start >= 0.999
    with pytest.raises(HubError, match="^disabled$"):
        Hub(hub.url).get_status()
    assert len(hub.requests) == 3


def test_an_unreachable_hub_is_a_hub_error_with_status_0_after_the_retries() -> None:
    with pytest.raises(HubError) as caught:
        Hub("http://127.0.0.1:9", retry=0.001, retries=2).get_status()
    assert (caught.value.status, caught.value.type) == (0, "unreachable")


def test_pages_through_history(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        event = {"id": f"e-{number}", "sequence": number, "type": "custom_x", "timestamp": 0, "data": {}}
        request.answer(200, {"events": [event], "nextCursor": f"c{number}" if number < 3 else None})

    hub = script(handle)
    since = datetime.fromtimestamp(5, timezone.utc)
    events = Hub(hub.url).history(type="custom_x", since=since, limit=1)
    assert [event.sequence for event in events] == [1, 2, 3]
    assert hub.requests[2].path == "/events/history?type=custom_x&since=5000&limit=1&cursor=c2"


def test_registers_again_where_the_hub_forgot_it_and_says_again_how_it_is(script: Scripting) -> None:
    forgotten = False

    def handle(request: Scripted, number: int) -> None:
        nonlocal forgotten
        if request.path == "/servers":
            registered(request, 40)
        elif request.command == "DELETE":
            request.answer(200)
        elif forgotten:
            forgotten = False
            request.answer(404, {"type": "server-not-registered"})
        else:
            request.answer(200, {"health": "degraded", "heartbeatIntervalMs": 40})

    hub = script(handle)
    server = Hub(hub.url).register(**LMS)
    server.heartbeat(health="degraded", detail="slow disk")
    assert server.state["health"] == "degraded"
    forgotten = True

    def registrations() -> list[Scripted]:
        return [request for request in hub.requests if request.path == "/servers"]

    eventually(lambda: len(registrations()) == 2)
    first, second = registrations()
    assert first.body == second.body
    assert first.body["instanceId"] == server.identity["instance_id"]
    eventually(lambda: hub.requests[-1].path.endswith("/heartbeat"))
    beat = hub.requests[-1]
    assert beat.body == {"health": "degraded", "detail": "slow disk", "instanceId": first.body["instanceId"]}
    assert beat.headers["idempotency-key"] is None
    server.close("done")
    assert hub.requests[-1].path == f"/servers/lms?reason=done&instanceId={first.body['instanceId']}"
    assert server.wait() == "deregistered"
    count = len(hub.requests)
    time.sleep(0.1)
    assert len(hub.requests) == count, "a heartbeat after the end"


def test_beats_at_the_pace_that_the_last_answer_named(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        if request.path == "/servers":
            return registered(request, 20)
        request.answer(200, {"health": "healthy", "heartbeatIntervalMs": 60_000})

    hub = script(handle)
    Hub(hub.url).register(**LMS)
    eventually(lambda: len(hub.requests) == 2)
    time.sleep(0.1)
    assert len(hub.requests) == 2


def replaced(request: Scripted, number: int) -> None:
    if request.path == "/servers":
        return registered(request, 20)
    request.answer(409, {"type": "instance-replaced"})


def test_a_replaced_instance_stops_and_is_over(script: Scripting) -> None:
    hub = script(replaced)
    errors: list[str] = []
    server = Hub(hub.url, on_error=lambda error: errors.append(getattr(error, "type", ""))).register(**LMS)
    assert server.wait(5) == "replaced"
    server.close()
    with pytest.raises(RuntimeError, match="is over: replaced"):
        server.update(name="x")
    assert len(hub.requests) == 2
    assert errors == ["instance-replaced"]


def test_a_replaced_instance_stops_in_asyncio_too(script: Scripting) -> None:
    hub = script(replaced)

    async def run() -> str | None:
        async with AsyncHub(hub.url, on_error=lambda error: None) as client, await client.register(**LMS) as server:
            return await asyncio.wait_for(server.wait(), 5)

    assert asyncio.run(run()) == "replaced"
    assert len(hub.requests) == 2


def test_a_heartbeat_that_fails_is_tried_again_within_the_interval_and_told_once(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        if request.path == "/servers":
            registered(request, 80)
        elif number < 5:
            request.drop()
        else:
            request.answer(200, {"health": "healthy", "heartbeatIntervalMs": 60_000})

    errors: list[str] = []
    hub = script(handle)
    Hub(hub.url, on_error=lambda error: errors.append(getattr(error, "type", ""))).register(**LMS)
    eventually(lambda: len(hub.requests) == 5)
    assert errors == ["unreachable"]

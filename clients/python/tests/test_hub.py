"""Against the real hub, through its bad days too."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support import HubProcess, eventually, needs_hub, take

from timeback_events import AsyncHub, Hub, HubError

pytestmark = needs_hub

StartHub = Callable[..., HubProcess]

LMS: Any = {
    "id": "lms-server-001",
    "name": "LMS",
    "transport": "stdio",
    "version": "1.0.0",
    "capabilities": {"tools": ["grade"]},
    "tags": {"region": "eu"},
}


def test_a_server_connects_changes_falls_ill_and_leaves(start_hub: StartHub) -> None:
    hub = Hub(start_hub().url)
    with hub.events(last_event_id="earliest", type="server_*") as events:
        with hub.register(**LMS) as server:
            server.update(version="1.1.0")
            server.heartbeat(health="degraded", detail="the disk is slow")
        connected, updated, ill, left = take(events, 4)
    assert connected.type == "server_connected"
    assert connected.server_id == "lms-server-001"
    assert connected.data["connection"]["capabilities"]["tools"] == ["grade"]
    assert updated.type == "server_updated"
    assert updated.data["changed"] == ["version"]
    assert ill.data["health"] == "degraded"
    assert "the disk is slow" in ill.data["detail"]
    assert left.data["reason"] == "deregistered"
    assert hub.list_servers()["servers"][0]["status"] == "disconnected"
    assert hub.get_event(connected.id) == connected


def test_kill_9_in_mid_stream_again_and_again_nothing_lost_nothing_twice(start_hub: StartHub) -> None:
    process = start_hub()
    hub = Hub(process.url, retry=0.05, max_retry=0.2, retries=100)
    total = 300
    seen: list[Any] = []
    verdicts: list[str] = []
    gaps: list[Any] = []
    stream = hub.events(type="load.*", on_verdict=lambda verdict: verdicts.append(verdict.verdict), on_gap=gaps.append)

    def consume() -> None:
        while len(seen) < total:
            seen.append(next(stream))

    def produce() -> None:
        for n in range(total):
            hub.emit({"type": "load.tick", "data": {"n": n}})

    consumer = threading.Thread(target=consume)
    consumer.start()
    eventually(lambda: verdicts)
    producer = threading.Thread(target=produce)
    producer.start()
    for mark in (50, 120, 200):
        eventually(lambda mark=mark: len(seen) >= mark, f"event {mark}")  # type: ignore[misc]
        process.kill()
        process.start()
    producer.join(30)
    consumer.join(30)
    stream.close()
    assert [event.data["n"] for event in seen] == list(range(total))
    assert verdicts == ["live", "resumed", "resumed", "resumed"]
    assert gaps == []
    assert [event.id for event in hub.history(type="load.*", limit=77)] == [event.id for event in seen]


def test_kill_9_in_mid_stream_in_asyncio(start_hub: StartHub) -> None:
    process = start_hub()

    async def run() -> list[int]:
        seen: list[int] = []
        async with AsyncHub(process.url, retry=0.05, max_retry=0.2, retries=100) as hub:
            opened = asyncio.Event()
            stream = hub.events(type="load.*", on_verdict=lambda verdict: opened.set())

            async def produce() -> None:
                await opened.wait()
                for n in range(100):
                    await hub.emit({"type": "load.tick", "data": {"n": n}})

            producer = asyncio.create_task(produce())
            async with stream:
                async for event in stream:
                    seen.append(event.data["n"])
                    if len(seen) in (30, 60):
                        await asyncio.to_thread(process.kill)
                        await asyncio.to_thread(process.start)
                    if len(seen) == 100:
                        break
            await producer
        return seen

    assert asyncio.run(run()) == list(range(100))


def test_a_drained_hub_says_so_and_the_stream_goes_on_when_it_is_back(start_hub: StartHub) -> None:
    process = start_hub()
    hub = Hub(process.url, max_retry=0.1)
    reasons: list[str] = []
    seen: list[str] = []
    off = hub.add_event_listener(
        lambda event: seen.append(event.type),
        type="custom_*",
        on_closing=lambda closing: reasons.append(closing.reason),
    )
    eventually(lambda: hub.get_status()["sseClients"] == 1, "the stream")
    process.kill(signal.SIGTERM)
    process.start()
    hub.emit({"type": "custom_hello", "data": {}})
    eventually(lambda: seen == ["custom_hello"])
    assert reasons == ["draining"]
    off()


def test_a_server_stays_registered_through_a_hub_that_lost_its_data(start_hub: StartHub) -> None:
    process = start_hub(INTEGRATION_DATA_DIR=":memory:", INTEGRATION_HEARTBEAT_INTERVAL_MS="100")
    hub = Hub(process.url, on_error=lambda error: None)
    server = hub.register(**LMS)
    process.kill()
    process.start()
    eventually(lambda: [s for s in hub.list_servers()["servers"] if s["status"] == "connected"], "the re-registration")
    with hub.register(**LMS) as successor:
        assert server.wait(5) == "replaced"
    assert successor.wait() == "deregistered"


def test_one_that_was_replaced_does_not_disconnect_its_successor(start_hub: StartHub) -> None:
    hub = Hub(start_hub().url)
    first = hub.register(**LMS)
    with hub.register(**LMS):
        first.close()
        assert hub.get_server(LMS["id"])["status"] == "connected"
    assert hub.get_server(LMS["id"])["status"] == "disconnected"


def test_servers_drive_a_workflow_together(start_hub: StartHub) -> None:
    process = start_hub()

    async def run() -> None:
        async with AsyncHub(process.url) as hub, hub.events(last_event_id="earliest", workflow_id="assess-1") as events:
            waiting = asyncio.create_task(hub.steps(server_id="roster", status="ready", wait="10s"))
            definition = {
                "id": "assess-1",
                "name": "Assessment",
                "steps": [
                    {"id": "fetch", "server": "roster", "retries": 1},
                    {"id": "grade", "server": "grader", "dependsOn": ["fetch"]},
                ],
            }
            started = await hub.workflow.start(definition)
            assert started["status"] == "running"
            assert (await hub.workflow.start(definition))["id"] == started["id"], "the same again is no second one"
            assert [step["id"] for step in await waiting] == ["fetch"]

            async with await hub.register(id="roster", name="Roster", transport="http") as roster:
                me = roster.identity
                lost = await hub.workflow.claim("assess-1", "fetch", **me)
                await hub.workflow.step(
                    "assess-1", "fetch", status="failed", error="timed out", attempt=lost["attempt"], **me
                )
                again = await hub.workflow.claim("assess-1", "fetch", **me)
                assert again["attempt"] == 2
                await hub.workflow.step(
                    "assess-1", "fetch", status="completed", attempt=2, result={"students": 30}, **me
                )
                with pytest.raises(HubError) as caught:
                    await hub.workflow.claim("assess-1", "grade", **me)
                assert (caught.value.status, caught.value.type) == (409, "step-belongs-elsewhere")
                await hub.workflow.step("assess-1", "grade", status="completed")

            assert [(await events.__anext__()).type for _ in range(7)] == [
                "workflow_started",
                "workflow_step_started",
                "workflow_step_failed",
                "workflow_step_started",
                "workflow_step_completed",
                "workflow_step_completed",
                "workflow_completed",
            ]
            done = await hub.workflow.get("assess-1")
            assert done["status"] == "completed"
            assert done["steps"][0]["result"] == {"students": 30}

            await hub.workflow.start({"id": "w2", "name": "Two", "steps": ["only"]})
            assert (await hub.workflow.fail("w2", error="no"))["status"] == "failed"
            await hub.workflow.start({"id": "w3", "name": "Three", "steps": ["only"]})
            assert (await hub.workflow.cancel("w3", "not today"))["reason"] == "cancelled"
            await hub.workflow.start({"id": "w4", "name": "Four"})
            ended = await hub.workflow.complete("w4", [{"step": "x", "status": "completed"}])
            assert ended["status"] == "completed"
            assert len((await hub.workflow.list(status="failed"))["workflows"]) == 2

    asyncio.run(run())


def test_a_snapshot_and_every_change_after_it(start_hub: StartHub) -> None:
    hub = Hub(start_hub().url)
    servers = [hub.register(id=f"s{n}", name=f"S{n}", transport="stdio") for n in range(20)]
    snapshots: list[Any] = []
    seen: list[Any] = []
    off = hub.add_event_listener(seen.append, type="pattern_*", snapshot=True, on_snapshot=snapshots.append)
    eventually(lambda: snapshots, "the snapshot")
    assert len(snapshots[0]["servers"]) == 20
    assert hub.get_snapshot()["id"] == snapshots[0]["id"]
    hub.set_pattern("shared_resources", enabled=True)
    eventually(lambda: seen)
    assert seen[0].data["pattern"]["name"] == "shared_resources"
    assert any(pattern["name"] == "shared_resources" and pattern["enabled"] for pattern in hub.list_patterns())
    off()
    for server in servers:
        server.close()


def test_an_unknown_place_is_a_gap_a_bad_query_an_error(start_hub: StartHub) -> None:
    hub = Hub(start_hub().url)
    hub.emit([{"type": "custom_a", "data": {}}, {"type": "custom_b", "data": {}}])
    gaps: list[Any] = []
    with hub.events(last_event_id="no-such-1", on_gap=gaps.append) as events:
        next(events)
    assert gaps[0].reason in ("malformed", "unknown_log")
    with pytest.raises(HubError, match="server_connected") as caught:
        next(hub.events(type="server_conected"))
    assert caught.value.status == 400
    with pytest.raises(HubError) as caught:
        hub.emit([{"type": "custom_a", "data": {}}, {"type": "Not A Type", "data": {}}])
    assert 400 <= caught.value.status < 500
    with pytest.raises(HubError) as caught:
        hub.get_server("nobody")
    assert caught.value.status == 404

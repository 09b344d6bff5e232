"""What a stream does on a bad day, against a hub that follows a script."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from support import Script, Scripted, event, eventually, opened, take

from timeback_events import AsyncHub, Closing, Gap, Hub, HubError

Scripting = Callable[[Callable[[Scripted, int], None]], Script]


def breaks_in_the_middle(request: Scripted, number: int) -> None:
    if number == 1:
        request.stream(opened(), event(1), event(2)[:-1])
    else:
        request.stream(opened(verdict="resumed"), event(2))
        request.hold()


def test_resumes_after_the_last_finished_event_when_the_line_breaks_in_the_middle_of_one(script: Scripting) -> None:
    hub = script(breaks_in_the_middle)
    with Hub(hub.url).events(type=["grades.*", "server_*"], server_id="lms", tag="region:eu", replay=5) as events:
        assert [e.sequence for e in take(iter(events), 2)] == [1, 2]
        assert events.last_event_id == "e-2"
    first, second = hub.requests
    assert first.headers["last-event-id"] is None
    assert second.headers["last-event-id"] == "e-1"
    assert first.path == "/events?type=grades.%2A&type=server_%2A&serverId=lms&tag=region%3Aeu&replay=5&format=message"
    assert second.path == first.path


def test_resumes_in_asyncio_too(script: Scripting) -> None:
    hub = script(breaks_in_the_middle)

    async def run() -> None:
        async with AsyncHub(hub.url) as client, client.events() as events:
            assert [(await events.__anext__()).sequence for _ in range(2)] == [1, 2]

    asyncio.run(run())
    assert [request.headers["last-event-id"] for request in hub.requests] == [None, "e-1"]


def test_a_bookmark_moves_the_place_without_being_an_event(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        bookmark = 'id: e-41\nevent: bookmark\ndata: {"headId":"e-41"}\n\n'
        request.stream(opened(), bookmark if number == 1 else event(42))

    hub = script(handle)
    with Hub(hub.url).events() as events:
        assert next(events).sequence == 42
    assert hub.requests[1].headers["last-event-id"] == "e-41"


def test_comes_back_when_a_closing_hub_said_to_and_says_why_it_closed(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        if number > 1:
            return request.stream(opened(), event(1))
        request.stream('retry: 300\nevent: stream_closing\ndata: {"reason":"busy"}\n\n')

    told: list[Any] = []
    events = Hub(script(handle).url).events(on_closing=told.append, on_retry=lambda *retry: told.append(retry))
    start = time.monotonic()
    next(events)
    assert time.monotonic() - start >= 0.299
    assert told == [Closing("busy"), (None, 0.3)]
    events.close()


def test_tells_a_gap_whether_the_stream_opens_with_it_or_meets_it(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        gap = 'id: e-8\nevent: stream_gap\ndata: {"reason":"corrupt","afterId":"e-7","nextId":"e-9"}\n\n'
        head = opened(verdict="gap", reason="expired", requestedId="e-0", oldestId="e-7")
        request.stream(head, event(7), gap, event(9))
        request.hold()

    told: list[Any] = []
    hub = Hub(script(handle).url)
    with hub.events(last_event_id="e-0", on_gap=told.append, on_verdict=lambda v: told.append(v.verdict)) as events:
        take(events, 2)
    assert told == ["gap", Gap("expired", "e-7", "e-0"), Gap("corrupt", "e-9", "e-7")]


def test_leaves_a_line_on_which_even_the_bookmarks_stopped(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        request.stream(opened(keepAliveMs=10), event(number) if number != 2 else "")
        if number > 1:
            request.hold()

    hub = script(handle)
    with Hub(hub.url).events() as events:
        assert [e.sequence for e in take(events, 2)] == [1, 3]


def test_joins_a_snapshot_that_comes_in_parts_and_asks_again_where_it_was_cut_off(script: Scripting) -> None:
    def part(number: int, servers: list[str], id: str = "") -> str:
        content = {"part": number, "parts": 2, "status": "healthy", "servers": servers}
        return f"{id}event: snapshot\ndata: {json.dumps(content)}\n\n"

    def handle(request: Scripted, number: int) -> None:
        head = opened().replace("id: e-0\n", "")
        request.stream(head, part(1, ["a"]), *([part(2, ["b"], "id: e-5\n"), event(6)] if number > 1 else []))

    snapshots: list[Any] = []
    with Hub(script(handle).url).events(snapshot=True, on_snapshot=snapshots.append) as events:
        next(events)
    assert snapshots == [{"status": "healthy", "servers": ["a", "b"]}]


def test_waits_out_a_hub_that_is_away_longer_each_time(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        if number < 4:
            return request.answer(503, {"type": "not-ready", "title": "loading"})
        request.stream(opened(), event(1))

    delays: list[float] = []
    with Hub(script(handle).url, retry=0.01).events(on_retry=lambda error, delay: delays.append(delay)) as events:
        next(events)
    assert len(delays) == 3
    assert delays[0] >= 0.01 and delays[1] >= 0.02 and delays[2] >= 0.04


def test_gives_up_with_the_problem_where_no_patience_helps(script: Scripting) -> None:
    problem = {"type": "unknown-type", "title": "unknown type", "detail": "did you mean server_connected?"}
    hub = script(lambda request, number: request.answer(400, problem))
    with pytest.raises(HubError, match="^unknown type: did you mean server_connected\\?$") as caught:
        next(Hub(hub.url).events(type="server_conected"))
    assert (caught.value.status, caught.value.type) == (400, "unknown-type")
    assert len(hub.requests) == 1


def test_a_page_that_is_no_stream_is_an_error_not_silence(script: Scripting) -> None:
    hub = script(lambda request, number: request.answer(200, "sign in"))
    with pytest.raises(HubError) as caught:
        next(Hub(hub.url).events())
    assert caught.value.type == "not-a-stream"


def test_closing_ends_an_iteration_that_waits_in_another_thread(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        request.stream(opened(), event(1))
        request.hold()

    events = Hub(script(handle).url).events()
    seen: list[int] = []
    reading = threading.Thread(target=lambda: seen.extend(e.sequence for e in events))
    reading.start()
    eventually(lambda: events.last_event_id == "e-1")
    events.close()
    reading.join(2)
    assert not reading.is_alive()
    assert seen == [1]


def test_closing_ends_an_iteration_that_waits_in_another_task(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        request.stream(opened(), event(1))
        request.hold()

    hub = script(handle)

    async def run() -> list[int]:
        async with AsyncHub(hub.url) as client:
            events = client.events()

            async def read() -> list[int]:
                return [e.sequence async for e in events]

            reading = asyncio.create_task(read())
            while events.last_event_id != "e-1":
                await asyncio.sleep(0.01)
            await events.close()
            return await asyncio.wait_for(reading, 2)

    assert asyncio.run(run()) == [1]


def test_a_listener_that_throws_goes_on_listening(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        request.stream(opened(), event(1), event(2))
        request.hold()

    errors: list[str] = []

    def listener(event: Any) -> None:
        raise ValueError(f"on {event.sequence}")

    off = Hub(script(handle).url, on_error=lambda error: errors.append(str(error))).add_event_listener(listener)
    eventually(lambda: errors == ["on 1", "on 2"])
    off()


def test_an_asyncio_listener_is_awaited_and_ends_with_the_hub(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        request.stream(opened(), event(1), event(2))
        request.hold()

    hub = script(handle)

    async def run() -> list[int]:
        seen: list[int] = []
        enough = asyncio.Event()

        async def listener(event: Any) -> None:
            await asyncio.sleep(0)
            seen.append(event.sequence)
            if len(seen) == 2:
                enough.set()

        async with AsyncHub(hub.url) as client:
            client.add_event_listener(listener)
            await asyncio.wait_for(enough.wait(), 5)
        return seen

    assert asyncio.run(run()) == [1, 2]


def test_asks_for_the_token_anew_for_every_connection(script: Scripting) -> None:
    def handle(request: Scripted, number: int) -> None:
        closing = 'retry: 1\nevent: stream_closing\ndata: {"reason":"credentials_expired"}\n\n'
        request.stream(opened(), event(number), closing)

    hub = script(handle)
    tokens = iter(["one", "two", "three"])
    with Hub(hub.url, token=lambda: next(tokens)).events() as events:
        take(events, 2)
    assert [r.headers["authorization"] for r in hub.requests[:2]] == ["Bearer one", "Bearer two"]

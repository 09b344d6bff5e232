"""Events that are odd but legal, frames that are neither, and numbers that a double rounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import HubProcess, Script, Scripted, event, needs_hub, opened, take

from timeback_events import AsyncHub, Hub, HubError, HubEvent

Make = Callable[[Callable[[Scripted, int], None]], Script]

CORPORA = Path(__file__).parents[3] / "tests"


def post_all(url: str) -> int:
    """All of both corpora: the odd events, and the fuzzers' requests (headers, an empty line, a body of bytes)."""
    taken = 0
    with httpx.Client(base_url=url) as client:
        for line in (CORPORA / "odd-events.jsonl").read_text().splitlines():
            answer = client.post("/events", content=line.encode(), headers={"content-type": "application/json"})
            taken += answer.is_success
        for line in (CORPORA / "corpus/events.jsonl").read_text().splitlines():
            head, _, body = json.loads(line).partition("\n\n")
            kind, *more = head.split("\n")
            headers = {"content-type": kind, **dict(one.split(": ", 1) for one in more if ": " in one)}
            sendable = {name: value for name, value in headers.items() if value.isascii() and value.isprintable() and name.isascii()}
            try:
                taken += client.post("/events", content=body.encode("latin-1"), headers=sendable).is_success
            except (httpx.HTTPError, UnicodeError):
                pass  # Nothing that an HTTP client can send.
    return taken


def as_stored(found: HubEvent) -> dict[str, Any]:
    return {"id": found.id, "sequence": found.sequence, "type": found.type, "timestamp": found.timestamp, "data": found.data}


@needs_hub
@pytest.mark.parametrize("exact", [False, True])
def test_every_event_is_handed_over_as_it_came(start_hub: Callable[..., HubProcess], exact: bool) -> None:
    process = start_hub()
    assert post_all(process.url) > 100
    lines = httpx.get(
        f"{process.url}/events/history?limit=1000", headers={"accept": "application/x-ndjson"}
    ).text.splitlines()
    raw = [json.loads(line, parse_float=Decimal if exact else float) for line in lines]
    stored = [{name: event.get(name) for name in ("id", "sequence", "type", "timestamp", "data")} for event in raw]
    hub = Hub(process.url, exact=exact, on_error=fail)
    with hub.events(last_event_id="earliest") as events:
        assert [as_stored(one) for one in take(events, len(stored))] == stored
    assert [as_stored(one) for one in hub.history()] == stored

    async def run() -> list[Any]:
        async with AsyncHub(process.url, exact=exact, on_error=fail) as hub, hub.events(last_event_id="earliest") as events:
            return [as_stored(await events.__anext__()) for _ in stored]

    assert asyncio.run(run()) == stored


def fail(error: BaseException) -> None:
    raise AssertionError(f"no error was to be expected: {error}")


def test_a_frame_that_is_nothing_of_the_hubs_is_skipped_but_not_in_silence(script: Make) -> None:
    def handle(request: Scripted, number: int) -> None:
        frames = (
            "id: e-1\ndata: <html>\n\n",
            "id: e-2\ndata: 5\n\n",
            "data: null\n\n",
            "data: {}\n\n",
            "event: stream_gap\ndata: [\n\n",
            "event: stream_gap\ndata: {}\n\n",
            'event: news\ndata: {"a":1}\n\n',
            "event: bookmark\nid: e-3\n\n",
        )
        request.stream(opened(), *frames, event(4, "server_instance_connected"))
        request.hold()

    errors: list[Any] = []
    with Hub(script(handle).url, on_error=errors.append).events() as events:
        assert next(events).sequence == 4
    assert [error.type for error in errors] == ["unreadable-frame"] * 5
    assert errors[0].detail == "its id is e-1"


def test_a_refusal_that_may_pass_is_waited_out_also_by_a_proxy_in_the_hubs_place(script: Make) -> None:
    def handle(request: Scripted, number: int) -> None:
        if number == 1:
            request.answer(429, {"type": "rate-limited"})
        elif number in (2, 5):
            request.stream(opened(), event(number))
        elif number == 3:
            request.answer(500, {"type": "oops"})
        else:
            request.answer(200, "maintenance")

    hub = Hub(script(handle).url, retry=0.005, max_retry=0.01)
    with hub.events() as events:
        assert [one.sequence for one in take(events, 2)] == [2, 5]


def test_numbers_keep_all_their_digits_there_and_back(script: Make) -> None:
    data = '{"id":123456789012345678901234567890,"fine":0.10000000000000000001,"huge":1E+400,"text":"1.5"}'

    def handle(request: Scripted, number: int) -> None:
        if request.command == "POST":
            request.answer(202, {"ids": ["e-1"]})
        else:
            request.stream(opened(), f'id: e-1\ndata: {{"type":"a.b","data":{data}}}\n\n')
            request.hold()

    hub_script = script(handle)
    hub = Hub(hub_script.url, exact=True)
    with hub.events() as events:
        found = next(events)
    assert found.data == {
        "id": 123456789012345678901234567890,
        "fine": Decimal("0.10000000000000000001"),
        "huge": Decimal("1E+400"),
        "text": "1.5",
    }
    hub.emit({"type": "a.b", "data": found.data})
    assert hub_script.requests[-1].text == '{"type":"a.b","data":' + data + "}"


def test_an_integer_longer_than_python_reads_ends_no_stream(script: Make) -> None:
    digits = "7" * 5000

    def handle(request: Scripted, number: int) -> None:
        request.stream(opened(), f'data: {{"type":"a.b","data":{digits}}}\n\n', event(2))
        request.hold()

    with Hub(script(handle).url).events() as events:
        first, second = take(events, 2)
    assert first.data == Decimal(digits)
    assert second.sequence == 2


def test_what_is_no_json_is_said_and_not_sent(script: Make) -> None:
    hub = Hub(script(lambda request, number: request.answer(200, {})).url)
    with pytest.raises(TypeError, match="set can't be written as JSON"):
        hub.emit({"type": "a.b", "data": {1}})
    with pytest.raises(ValueError):
        hub.emit({"type": "a.b", "data": float("nan")})
    for call in (lambda: hub.get_server(".."), lambda: hub.workflow.get("."), lambda: hub.get_event("..")):
        with pytest.raises(ValueError, match="no id is"):
            call()


def test_an_answer_that_is_no_hubs_is_called_so(script: Make) -> None:
    def handle(request: Scripted, number: int) -> None:
        request.send_response(200)
        request.send_header("content-length", "6")
        request.end_headers()
        request.wfile.write(b"<html>")

    with pytest.raises(HubError) as found:
        Hub(script(handle).url).get_status()
    assert found.value.type == "not-a-hub"

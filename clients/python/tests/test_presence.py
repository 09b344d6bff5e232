"""How a wrapped MCP server is one instance at the hub, against a hub that follows a script."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support import Script, Scripted, eventually

from timeback_events import AsyncHub
from timeback_events.mcp import report, reported, to_id

Make = Callable[[Callable[[Scripted, int], None]], Script]


class Server:
    """What of a server is needed to be reported."""

    name = "LMS"
    version = "1.0.0"

    async def list_tools(self) -> list[Any]:
        return [type("Tool", (), {"name": "grade"})]

    async def list_resources(self) -> list[Any]:
        return []

    list_resource_templates = list_prompts = list_resources


def take(request: Scripted, number: int) -> None:
    if request.command == "DELETE":
        request.answer(204)
    else:
        request.answer(201, {"id": "LMS", "heartbeatIntervalMs": 10_000})


def query(request: Scripted) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(eventually, condition)


def test_it_says_which_process_it_is_and_that_others_may_be_beside_it(script: Make) -> None:
    hub = script(take)

    async def run() -> None:
        async with AsyncHub(hub.url) as own, report(hub=own, tags={"school": "ghent"})(Server()):
            await until(lambda: hub.requests)

    asyncio.run(run())
    registered, gone = hub.requests
    instance = registered.body.pop("instanceId")
    assert registered.body == {
        "id": "LMS",
        "name": "LMS",
        "version": "1.0.0",
        "transport": "stdio",
        "tags": {"school": "ghent"},
        "instances": "many",
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "capabilities": {"tools": ["grade"], "resources": [], "prompts": []},
    }
    assert gone.command == "DELETE"
    assert query(gone) == {"instanceId": instance}


def test_a_registration_under_way_settles_before_it_is_taken_back(script: Make) -> None:
    leaving = threading.Event()

    def late(request: Scripted, number: int) -> None:
        if request.command == "POST":
            leaving.wait(30)
        take(request, number)

    hub = script(late)

    async def run() -> None:
        async with AsyncHub(hub.url) as own, report(hub=own)(Server()):
            await until(lambda: hub.requests)
            asyncio.get_running_loop().call_soon(leaving.set)

    asyncio.run(run())
    assert [request.command for request in hub.requests] == ["POST", "DELETE"]
    assert query(hub.requests[1])["instanceId"] == hub.requests[0].body["instanceId"]


def test_a_registration_that_never_settles_is_taken_back_all_the_same(script: Make) -> None:
    over = threading.Event()

    def hang(request: Scripted, number: int) -> None:
        if request.command == "POST":
            over.wait(30)
        else:
            request.answer(204)

    hub = script(hang)
    errors: list[BaseException] = []

    async def run() -> None:
        async with AsyncHub(hub.url) as own, report(hub=own, on_error=errors.append)(Server()):
            await until(lambda: hub.requests)

    asyncio.run(run())
    over.set()
    assert [request.command for request in hub.requests] == ["POST", "DELETE"]
    assert query(hub.requests[1])["instanceId"] == hub.requests[0].body["instanceId"]
    assert errors == []


def test_a_crash_is_told_as_one(script: Make) -> None:
    hub = script(take)

    async def run() -> None:
        async with AsyncHub(hub.url) as own, report(hub=own)(Server()):
            await until(lambda: hub.requests)
            raise OSError("the disk is full")

    with pytest.raises(OSError):
        asyncio.run(run())
    said = query(hub.requests[-1])
    assert (said["reason"], said["expected"]) == ("OSError: the disk is full", "false")


def test_one_line_when_the_hub_is_out_of_reach_and_one_when_it_is_back(script: Make) -> None:
    def at_last(request: Scripted, number: int) -> None:
        if number < 3:
            request.drop()
        else:
            take(request, number)

    hub = script(at_last)
    said: list[str] = []

    async def run() -> None:
        async with AsyncHub(hub.url, retries=0) as own:
            lifespan = report(hub=own, on_error=lambda error: said.append(str(error)), on_recovery=said.append)
            async with lifespan(Server()):
                await until(lambda: len(said) == 2)

    asyncio.run(run())
    assert said[0].startswith(f"the hub at {hub.url} can't be reached: ")
    assert said[0].endswith("; LMS goes on without it")
    assert said[1] == f"the hub at {hub.url} is back; LMS is registered there"


def test_an_app_is_reported_from_its_start_to_its_end(script: Make) -> None:
    hub = script(take)
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                assert (await receive())["type"] == f"lifespan.{kind}"
                await send({"type": f"lifespan.{kind}.complete"})

    async def run() -> None:
        inbox: asyncio.Queue[Any] = asyncio.Queue()

        async def send(message: Any) -> None:
            heard.append(message["type"])

        async with AsyncHub(hub.url) as own:
            wrapped = reported(app, Server(), hub=own, url="http://127.0.0.1:1/mcp")
            serving = asyncio.create_task(wrapped({"type": "lifespan"}, inbox.get, send))
            await inbox.put({"type": "lifespan.startup"})
            await until(lambda: hub.requests)
            for _ in range(60):
                await wrapped({"type": "http"}, inbox.get, send)
            await inbox.put({"type": "lifespan.shutdown"})
            await serving

    asyncio.run(run())
    assert heard == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert [request.command for request in hub.requests] == ["POST", "DELETE"]
    assert hub.requests[0].body["transport"] == "http"


def test_a_mounted_app_is_reported_from_its_first_request_to_the_end_of_the_loop(script: Make) -> None:
    hub = script(take)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def run() -> None:
        wrapped = reported(app, Server(), hub=AsyncHub(hub.url))
        await wrapped({"type": "http"}, None, None)  # type: ignore[arg-type]
        await until(lambda: hub.requests)

    asyncio.run(run())
    assert [request.command for request in hub.requests] == ["POST", "DELETE"]


def test_whoever_listens_for_a_signal_still_hears_it(script: Make) -> None:
    hub = script(take)
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))

    async def run() -> None:
        async with AsyncHub(hub.url) as own, report(hub=own)(Server()):
            await until(lambda: hub.requests)
            os.kill(os.getpid(), signal.SIGTERM)
            await until(lambda: len(hub.requests) == 2)

    try:
        asyncio.run(run())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert [request.command for request in hub.requests] == ["POST", "DELETE"]


def test_our_requests_are_no_news_and_others_still_are(script: Make, caplog: pytest.LogCaptureFixture) -> None:
    import httpx

    hub = script(take)

    async def run() -> None:
        async with AsyncHub(hub.url) as own:
            await own.request("POST", "/servers", body={})

    with caplog.at_level(logging.INFO):
        asyncio.run(run())
        assert [record for record in caplog.records if record.name == "httpx"] == []
        httpx.post(f"{hub.url}/elsewhere", json={})
    assert [record.name for record in caplog.records if record.name == "httpx"] == ["httpx"]


def test_a_lifespan_of_ones_own_goes_inside(script: Make) -> None:
    hub = script(take)

    @asynccontextmanager
    async def own(server: Any) -> AsyncIterator[str]:
        yield "made once"

    async def run() -> None:
        async with AsyncHub(hub.url) as at, report(own, hub=at)(Server()) as context:
            assert context == "made once"

    asyncio.run(run())


def test_an_id_comes_from_the_name_whatever_that_is() -> None:
    assert to_id("LMS of Ghent") == "LMS-of-Ghent"
    assert to_id("学習") == "server-bdd22ba1"
    assert to_id("..").startswith("server-")
    assert len(to_id("x" * 200)) == 128

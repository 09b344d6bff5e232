from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any


from support import HubProcess, eventually, needs_hub, take

from mcp import Client, StdioServerParameters
from mcp.server.lowlevel import Server
from mcp.types import ListToolsResult, Tool

from timeback_events import Hub
from timeback_events._surface import fitting, offered
from timeback_events.mcp import report

pytestmark = needs_hub

SERVER = str(Path(__file__).with_name("mcp_server.py"))


def parameters(hub: HubProcess) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=[SERVER], env={**os.environ, "TIMEBACK_EVENTS_URL": hub.url})


def test_a_stdio_server_reports_what_it_has_what_changes_and_its_end(start_hub: Callable[..., HubProcess]) -> None:
    process = start_hub()

    async def run() -> None:
        async with Client(parameters(process)) as client:
            await asyncio.to_thread(eventually, changes)
            result = await client.call_tool("grade", {"score": 101})
            assert result.content[0].text == "pass"
            await asyncio.to_thread(eventually, lambda: len(changes()) == 2)

    def changes() -> list[Any]:
        return hub.get_event_history(type=["server_connected", "server_updated"]).events

    hub = Hub(process.url)
    # A machine that is busy may keep it from a heartbeat or two: not what this is about.
    kinds = ["server_connected", "server_updated", "server_disconnected"]
    with hub.events(type=kinds, last_event_id="earliest", server_id="LMS-of-Ghent") as events:
        asyncio.run(run())
        connected, updated, left = take(events, 3)
    assert connected.type == "server_connected"
    connection = connected.data["connection"]
    assert connection["name"] == "LMS of Ghent"
    assert connection["version"] == "2.1.0"
    assert connection["transport"] == "stdio"
    assert connection["tags"] == {"school": "ghent"}
    names = {"tools": ["grade"], "resources": ["roster://all", "student://{id}"], "prompts": ["feedback"]}
    assert names_of(connection) == names
    grade = connection["capabilities"]["tools"][0]
    assert len(grade["hash"]) == 16
    assert updated.type == "server_updated"
    assert names_of(updated.data["connection"])["tools"] == ["grade", "appeal"]
    assert updated.data["drift"]["tools"] == {"added": ["appeal"], "removed": [], "changed": []}
    assert left.type == "server_disconnected"
    assert left.data["reason"] == "deregistered"


def test_a_server_that_is_told_to_end_says_goodbye(start_hub: Callable[..., HubProcess]) -> None:
    hub = Hub(start_hub().url)
    env = {**os.environ, "TIMEBACK_EVENTS_URL": hub.url}
    server = subprocess.Popen([sys.executable, SERVER], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    eventually(lambda: hub.list_servers()["servers"])
    server.terminate()
    assert server.wait(30) == -signal.SIGTERM
    assert hub.list_servers()["servers"][0]["status"] == "disconnected"


def test_a_server_works_without_a_hub_and_is_registered_once_there_is_one(start_hub: Callable[..., HubProcess]) -> None:
    process = start_hub()
    process.kill()
    hub = Hub(process.url)

    async def run() -> None:
        async with Client(parameters(process)) as client:
            assert len((await client.list_tools()).tools) == 1
            await asyncio.to_thread(process.start)
            await asyncio.to_thread(eventually, lambda: hub.list_servers()["servers"])

    asyncio.run(run())


def test_a_low_level_server_with_a_lifespan_of_its_own(start_hub: Callable[..., HubProcess]) -> None:
    hub = Hub(start_hub().url)
    lives: list[str] = []

    @asynccontextmanager
    async def lifespan(server: Any) -> AsyncIterator[str]:
        lives.append("begun")
        yield "made once"
        lives.append("ended")

    async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
        assert ctx.lifespan_context == "made once"
        return ListToolsResult(tools=[Tool(name="grade", input_schema={"type": "object"})])

    description = {"id": "lms-1", "url": "http://127.0.0.1:8080/mcp"}
    server = Server("LMS", lifespan=report(lifespan, **description), on_list_tools=list_tools)

    async def run() -> None:
        async with Client(server):
            await asyncio.to_thread(eventually, lambda: hub.list_servers()["servers"])

    os.environ["TIMEBACK_EVENTS_URL"] = hub.url
    try:
        asyncio.run(run())
    finally:
        del os.environ["TIMEBACK_EVENTS_URL"]
    assert lives == ["begun", "ended"]
    state = hub.get_server("lms-1")
    assert state["status"] == "disconnected"
    assert state["connection"]["transport"] == "http"
    assert names_of(state["connection"]) == {"tools": ["grade"], "resources": [], "prompts": []}


def names_of(connection: Any) -> dict[str, list[str]]:
    return {kind: [entry["name"] for entry in entries] for kind, entries in connection["capabilities"].items()}


def test_a_changed_description_or_schema_has_another_hash() -> None:
    def hashed(**more: Any) -> tuple[str, str]:
        told = offered(Tool(name="grade", **{"description": "Grades", "input_schema": {"type": "object"}, **more}), "grade")
        assert isinstance(told, dict)
        return told["hash"], told["description"]

    same = hashed()
    assert hashed() == same
    longer = "Grades " * 100
    assert hashed(description=longer)[1] == longer[:160]
    assert len({same, hashed(description=longer), hashed(description=longer + "x"), hashed(input_schema={"type": "object", "a": 1})}) == 4


def test_what_is_told_fits_a_hub() -> None:
    entry = {"name": "n" * 100, "hash": "0" * 16, "description": "d" * 160}
    few, many, most = ({"tools": [entry] * count} for count in (10, 800, 1200))
    assert fitting(few) == few
    assert set(fitting(many)["tools"][0]) == {"name", "hash"}
    assert fitting(most)["tools"][0] == "n" * 100

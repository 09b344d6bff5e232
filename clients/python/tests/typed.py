"""Checked by mypy, never run: the types say what the hub's contract says."""

from timeback_events import AsyncHub, CustomEvent, Gap, Hub, HubError, Verdict

hub = Hub("http://127.0.0.1:3001", token=lambda: "secret")


def on_gap(gap: Gap) -> None:
    print(gap.reason, gap.after_id, gap.next_id)


def on_verdict(verdict: Verdict) -> None:
    print(verdict.keep_alive_ms)


for event in hub.events(type=["server_*", "grades.synced"], since="15m", on_gap=on_gap, on_verdict=on_verdict):
    if isinstance(event, CustomEvent):
        print(event.data["count"])
    elif event.type == "server_connected":
        tools: list[str] = event.data["connection"]["capabilities"]["tools"]
    elif event.type == "workflow_failed":
        step: str | None = event.data.get("failedStep")
    elif event.type == "pattern_enabled":
        description: str = event.data["pattern"]["description"]

with hub.register(name="LMS", transport="stdio", heartbeat_interval_ms=1000) as server:
    server.heartbeat(health="degraded", metrics={"queue": 3})
    claim = hub.workflow.claim("w", "s", **server.identity)
    try:
        hub.workflow.step("w", "s", status="completed", attempt=claim["attempt"], **server.identity)
    except HubError as error:
        print(error.problem["errors"])
    end: str | None = server.wait()
    hub.register(name="LMS", transport="telnet")  # type: ignore[arg-type]

ids: list[str | None] = hub.emit([{"type": "grades.synced", "data": {"count": 30}}])


async def main() -> None:
    async with AsyncHub() as hub, hub.events(type="workflow_completed") as events:
        async for event in events:
            sequence: int = event.sequence
        page = await hub.get_event_history(limit=10, order="desc")
        cursor: str | None = page.next_cursor

"""The measures: what each asks of the harness, and of which hubs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

EVERY = ("ours", "nchan", "mercure", "centrifugo", "ceiling-send", "ceiling-concat")
OURS = ("ours",)

# What one connection can be given of the history, where that is less than the 100,000 of the measure: Mercure ends a
# stream that is 1,000 messages behind, and nchan slows down so much that the first 20,000 are all there is time for.
REPLAY_OF = {"mercure": 1_000, "nchan": 20_000}
REPLAY = 100_000
REPLAY_FROM_DISK = 1_000_000


@dataclass(frozen=True)
class Measure:
    """One measure. `flags` gets the hub's name and the seconds of load; `setting` is what a hub must be started with.

    Where `load` is given, its flags fill the hub first, which is then started again on what it has stored.
    """

    name: str
    title: str
    flags: Callable[[str, float], list[str]]
    hubs: tuple[str, ...] = EVERY
    setting: dict[str, str] = field(default_factory=dict)
    load: Callable[[str, float], list[str]] | None = None


def replay(hub: str, _: float) -> list[str]:
    # One publisher keeps the order. Where arrays are taken they save time; so do several publishers where order is not what is told.
    wanted = REPLAY_OF.get(hub, REPLAY)
    preload = REPLAY if hub == "nchan" else wanted
    publishers = {"ours": ["-c", "1", "--batch", "100"], "nchan": ["-c", "1"], "mercure": ["-c", "1"]}.get(hub, ["-c", "16"])
    return ["replay", "--preload", str(preload), "--expect", str(wanted), *publishers]


MEASURES = [
    Measure(
        "W1",
        "1,000 subscribers, saturated",
        lambda _, s: ["fanout", "-n", "1000", "--secs", str(s), "-c", "32", "-w", "32", "--pause-us", "1000"],
    ),
    Measure(
        "W1ack",
        "1,000 subscribers, one publisher that waits for each ack",
        lambda _, s: ["fanout", "-n", "1000", "--secs", str(s), "-c", "1"],
    ),
    Measure(
        "W2m",
        "10,000 subscribers, saturated",
        lambda _, s: ["fanout", "-n", "10000", "--secs", str(s), "-c", "16", "-w", "16", "--pause-us", "1000"],
    ),
    Measure(
        "W2r",
        "10,000 subscribers, 20 messages/s",
        lambda _, s: ["fanout", "-n", "10000", "--secs", str(s), "-c", "4", "--rate", "20"],
    ),
    Measure("W3", "10,000 idle subscribers", lambda *_: ["connect", "-n", "10000"]),
    Measure("W4", "publishing, 64 connections, one event each", lambda _, s: ["publish", "-c", "64", "--secs", str(s)]),
    Measure(
        "W4b",
        "publishing, 8 connections, arrays of 100",
        lambda _, s: ["publish", "-c", "8", "--batch", "100", "--secs", str(s)],
        hubs=OURS,
    ),
    Measure(
        "W5",
        "one subscriber, 100 messages/s",
        lambda _, s: ["fanout", "-n", "1", "--secs", str(s), "-c", "1", "--rate", "100"],
    ),
    Measure("W6", "replay of 100,000 to one subscriber", replay, setting={"kept": str(REPLAY), "history": str(REPLAY)}),
    Measure(
        "W6disk",
        "replay of 1,000,000 from disk, after a restart",
        lambda *_: ["replay", "--expect", str(REPLAY_FROM_DISK)],
        hubs=OURS,
        load=lambda *_: ["publish", "-c", "8", "--batch", "100", "-m", str(REPLAY_FROM_DISK // 100)],
    ),
    Measure(
        "HB",
        "heartbeats of 1,000 servers, 64 connections",
        lambda _, s: ["heartbeats", "-c", "64", "--servers", "1000", "--secs", str(s)],
        hubs=OURS,
    ),
]

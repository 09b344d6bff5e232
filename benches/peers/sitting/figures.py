"""What the lines of a sitting say: the runs of one hub in one measure, and numbers as people read them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Value = Callable[[dict], float | None]


@dataclass
class Runs:
    """The runs of one hub in one measure: those that count, and how many others disturbed or failed."""

    taken: list[dict] = field(default_factory=list)
    noisy: list[dict] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def counted(self) -> list[dict]:
        """The undisturbed runs; if there is none, the least disturbed try of each round."""
        if self.taken:
            return self.taken
        rounds: dict[int, dict] = {}
        for run in self.noisy:
            best = rounds.get(run["round"])
            if best is None or run["others_cores"] < best["others_cores"]:
                rounds[run["round"]] = run
        return list(rounds.values())

    @property
    def doubtful(self) -> bool:
        """Whether there are only disturbed runs to show."""
        return not self.taken and bool(self.noisy)

    def values(self, value: Value) -> list[float]:
        return sorted(v for v in (value(run) for run in self.counted) if v is not None)

    def median(self, value: Value) -> float | None:
        values = self.values(value)
        return statistics.median(values) if values else None


@dataclass
class Sitting:
    """All lines of a file."""

    heads: list[dict]
    runs: dict[tuple[str, str], Runs]

    def of(self, measure: str, hub: str) -> Runs:
        return self.runs.get((measure, hub), Runs())


def read(path: Path) -> Sitting:
    heads: list[dict] = []
    runs: dict[tuple[str, str], Runs] = {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if entry.get("cmd") == "sitting":
            heads.append(entry)
            continue
        of = runs.setdefault((entry["measure"], entry["hub"]), Runs())
        if "error" in entry:
            of.failed.append(entry["error"])
        else:
            (of.noisy if entry["noisy"] else of.taken).append(entry)
    return Sitting(heads, runs)


def number(value: float) -> str:
    """Three or four digits that count: 2.48 M, 35,966, 91.4, 0.54."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.2f} M"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: list[float]) -> str:
    """The median, with the least and the most in brackets where they differ."""
    if not values:
        return "–"
    middle, least, most = (number(v) for v in (statistics.median(values), values[0], values[-1]))
    return middle if least == most else f"{middle} [{least}–{most}]"


def key(name: str, scale: float = 1.0) -> Value:
    """The value of a field, scaled."""

    def value(run: dict) -> float | None:
        found = run.get(name)
        return None if found is None else found * scale

    return value

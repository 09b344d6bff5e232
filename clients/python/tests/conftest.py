from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import HubProcess, Script, Scripted


@pytest.fixture
def start_hub(tmp_path: Path) -> Iterator[Callable[..., HubProcess]]:
    hubs: list[HubProcess] = []

    def start(**env: str) -> HubProcess:
        hub = HubProcess(tmp_path, **env)
        hubs.append(hub)
        hub.start()
        return hub

    yield start
    for hub in hubs:
        hub.kill()


@pytest.fixture
def script() -> Iterator[Callable[[Callable[[Scripted, int], None]], Script]]:
    scripts: list[Script] = []

    def start(handle: Callable[[Scripted, int], None]) -> Script:
        scripts.append(Script(handle))
        return scripts[-1]

    yield start
    for one in scripts:
        one.close()

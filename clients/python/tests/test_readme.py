"""The README's examples are typed, and do what they say, a second time too."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import HubProcess, needs_hub

from timeback_events import Hub

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)


def runs_here(code: str) -> bool:
    """An example for version 1 of the SDK, which has another module, is held against it by `clients/sdks/run`."""
    return "mcp.server.fastmcp" not in code


@pytest.mark.parametrize("code", BLOCKS)
def test_examples_are_typed(code: str, tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text(code)
    compile(code, str(example), "exec")
    if runs_here(code):
        mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(example)]
        checked = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_hub
def test_a_server_registers_takes_a_step_and_ends_it_twice_over(start_hub: Callable[..., HubProcess]) -> None:
    hub = Hub(start_hub().url)
    code = next(code for code in BLOCKS if "hub.register(" in code).replace("Hub()", f"Hub({hub.url!r})")
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    workflows = hub.workflow.list(status="completed")["workflows"]
    assert [workflow["steps"][0].get("result") for workflow in workflows] == [97, 97]

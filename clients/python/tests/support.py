"""A real hub on a port of its own, and one that follows a script for what a real one does only on a bad day."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

BINARY = Path(os.environ.get("TIMEBACK_EVENTS_BIN", Path(__file__).parents[3] / "target/debug/timeback-events"))
needs_hub = pytest.mark.skipif(not BINARY.exists(), reason=f"no hub at {BINARY}")


class HubProcess:
    def __init__(self, directory: Path, **env: str) -> None:
        self._directory = directory
        self._env = {"INTEGRATION_DATA_DIR": str(directory), "INTEGRATION_SSE_RETRY_MS": "50", **env}
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts, or starts again where it was."""
        env = {"PATH": os.environ["PATH"], **self._env, "INTEGRATION_SSE_PORT": self._port}
        self._process = subprocess.Popen([BINARY], cwd=self._directory, env=env, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        for line in self._process.stdout:
            if found := re.match(r"listening on http://.*:(\d+)$", line):
                self._port = found[1]
                threading.Thread(target=self._process.stdout.read, daemon=True).start()
                return
        raise RuntimeError(f"{BINARY} did not start")

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process:
            self._process.send_signal(how)
            self._process.wait()


class Script:
    """Answers each request by `handle(request, number)`; remembers them all."""

    def __init__(self, handle: Callable[[Scripted, int], None]) -> None:
        script = self
        self.requests: list[Scripted] = []

        class Handler(Scripted):
            def respond(self) -> None:
                # One handler serves all the requests of its connection.
                script.requests.append(copy.copy(self))
                handle(self, len(script.requests))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Scripted(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    body: Any = None
    text = ""

    def respond(self) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", 0))
        self.text = self.rfile.read(length).decode()
        self.body = json.loads(self.text) if length else None
        self.respond()

    do_POST = do_DELETE = do_GET

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        content = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def stream(self, *blocks: str) -> None:
        """A stream that ends when this returns; `hold()` keeps it open."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write("".join(blocks).encode())
        self.wfile.flush()

    def hold(self) -> None:
        self.connection.settimeout(10)
        try:
            self.connection.recv(1)
        except OSError:
            pass

    def drop(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def opened(**data: Any) -> str:
    content = {"verdict": "live", "keepAliveMs": 15_000, "oldestId": "e-0", "headId": "e-0", **data}
    return f"retry: 10\nid: e-0\nevent: stream_opened\ndata: {json.dumps(content)}\n\n"


def event(sequence: int, type: str = "grades.synced") -> str:
    content = {"id": f"e-{sequence}", "sequence": sequence, "type": type, "timestamp": 0, "data": {}}
    return f"id: e-{sequence}\ndata: {json.dumps(content)}\n\n"


def take(events: Iterator[T], count: int) -> list[T]:
    return [next(events) for _ in range(count)]


def eventually(probe: Callable[[], T], what: str = "it") -> T:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if value := probe():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within 30 s")

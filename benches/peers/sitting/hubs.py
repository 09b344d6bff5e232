"""The hubs: how each is found, started afresh, and ended.

Every hub listens on a loopback port of its own, keeps what it writes in a directory of its own below the work place,
and is ended by the process id that its start gave.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
# Guards a port of the loopback address while a measurement lasts, and nothing else.
SECRET = "only-for-a-benchmark-on-loopback-0123456789"
START_S = 30
STOP_S = 15
# The system takes a while to free thousands of connections of the hub before; without this pause the next one's
# first connections wait for it, several hundred milliseconds.
SETTLE_S = 2


class Missing(Exception):
    """A hub that this machine does not have, with what to do about it."""


@dataclass
class Places:
    """Where things are: `work` on a real disk, `bin` with what `build` made, the hub's own release binary."""

    work: Path
    hub: Path

    @property
    def bin(self) -> Path:
        return self.work / "bin"

    @property
    def harness(self) -> Path:
        return self.bin / "hubbench"

    def program(self, name: str, variable: str) -> Path:
        """A peer's program: named by a variable, built by `build`, or on the path."""
        for found in (os.environ.get(variable), self.bin / name, shutil.which(name)):
            if found and Path(found).is_file():
                return Path(found)
        raise Missing(f"{name}: not found; run `build`, or name the program in {variable}")


@dataclass
class Launch:
    """What starts a hub: the command, what its environment has in addition, and a path that answers once it serves."""

    command: list[str]
    port: int
    ready: str
    environment: dict[str, str] = field(default_factory=dict)


class Hub:
    """One kind of hub; `launch` and `version` differ."""

    name = ""
    profile = ""

    def __init__(self, places: Places):
        self.places = places
        self.directory = places.work / "run" / self.name
        self.process: subprocess.Popen[bytes] | None = None
        self.secrets: dict[str, str] = {}

    def launch(self, setting: dict[str, str]) -> Launch:
        raise NotImplementedError

    def version(self) -> str:
        raise NotImplementedError

    def start(self, setting: dict[str, str], fresh: bool = True) -> int:
        """Starts the hub, with an empty directory if `fresh`, and waits until it answers: its process id."""
        if fresh:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True, exist_ok=True)
        launch = self.launch(setting)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", launch.port)) == 0:
                raise RuntimeError(f"{self.name}: something listens on port {launch.port} already")
        # None of the surroundings' settings may reach a hub.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("INTEGRATION_", "CENTRIFUGO_", "MERCURE_"))}
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                launch.command,
                cwd=self.directory,
                env=kept | launch.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not answers(launch.port, launch.ready):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at its start: {self.last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer: {self.last_words()}")
            time.sleep(0.05)
        return self.process.pid

    def last_words(self) -> str:
        log = self.directory / "log"
        return log.read_text(errors="replace")[-500:] if log.is_file() else ""

    def stop(self) -> None:
        """Ends the hub and what it started, politely first."""
        if self.process is None:
            return
        process, self.process = self.process, None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
        try:
            # The session is the hub's own: workers that outlive their master are in it.
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        time.sleep(SETTLE_S)

    def remove(self) -> None:
        """Gives the disk back."""
        shutil.rmtree(self.directory, ignore_errors=True)


class Ours(Hub):
    name = "ours"
    profile = "timeback-events"

    def launch(self, setting: dict[str, str]) -> Launch:
        if not self.places.hub.is_file():
            raise Missing(f"no release binary at {self.places.hub}: cargo build --release, or TIMEBACK_EVENTS_BIN")
        # No limit of requests or streams is set by default; only what is kept has to hold the replay from disk.
        return Launch(
            [str(self.places.hub)],
            3001,
            "/readyz",
            {
                "INTEGRATION_SSE_PORT": "3001",
                "INTEGRATION_DATA_DIR": str(self.directory / "data"),
                "INTEGRATION_RETENTION_EVENTS": "100000000",
                "INTEGRATION_RETENTION_BYTES": "64GiB",
                "LOG_LEVEL": "warn",
            },
        )

    def version(self) -> str:
        return first_line([str(self.places.hub), "--version"])


class Nchan(Hub):
    name = "nchan"
    profile = "nchan"

    def launch(self, setting: dict[str, str]) -> Launch:
        nginx = self.places.program("nginx", "NGINX")
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        values = {
            "work": str(self.directory),
            "modules": self.modules(),
            "files": str(files if 0 < files < 1 << 20 else 1 << 20),
            "kept": setting.get("kept", "1000"),
        }
        text = (HERE / "nginx" / "nginx.conf").read_text()
        (self.directory / "nginx.conf").write_text(re.sub(r"@(\w+)@", lambda m: values[m[1]], text))
        return Launch(
            [str(nginx), "-p", str(self.directory), "-e", "error.log", "-c", str(self.directory / "nginx.conf")], 8081, "/healthz"
        )

    @staticmethod
    def modules() -> str:
        for place in (os.environ.get("NGINX_MODULES"), "/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"):
            if place and (Path(place) / "ngx_nchan_module.so").is_file():
                return place
        raise Missing("nchan: no ngx_nchan_module.so; on Debian: nginx-light and libnginx-mod-nchan, or NGINX_MODULES")

    def version(self) -> str:
        nginx = first_line([str(self.places.program("nginx", "NGINX")), "-v"]).removeprefix("nginx version: ")
        nchan = first_line(["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"])
        return f"{nginx}, nchan {nchan or 'of unknown version'}"


class Mercure(Hub):
    name = "mercure"
    profile = "mercure"

    def launch(self, setting: dict[str, str]) -> Launch:
        program = self.places.program("mercure", "MERCURE")
        self.secrets = {"MERCURE_JWT": publisher_token()}
        return Launch(
            [str(program), "run", "--config", str(HERE / "mercure" / "Caddyfile"), "--adapter", "caddyfile"],
            8084,
            "/healthz",
            {
                "MERCURE_PUBLISHER_JWT_KEY": SECRET,
                "MERCURE_DB": str(self.directory / "mercure.db"),
                "XDG_DATA_HOME": str(self.directory),
                "XDG_CONFIG_HOME": str(self.directory),
            },
        )

    def version(self) -> str:
        program = str(self.places.program("mercure", "MERCURE"))
        caddy = first_line([program, "version"]).split(" ")[0]
        listed = run([program, "list-modules", "--versions"])
        found = re.search(r"^http\.handlers\.mercure (\S+)", listed, re.MULTILINE)
        return f"mercure {found[1] if found else 'of unknown version'} in Caddy {caddy}"


class Centrifugo(Hub):
    name = "centrifugo"
    profile = "centrifugo"

    def launch(self, setting: dict[str, str]) -> Launch:
        program = self.places.program("centrifugo", "CENTRIFUGO")
        self.secrets = {"CENTRIFUGO_API_KEY": SECRET}
        return Launch(
            [str(program), "--config", str(HERE / "centrifugo" / "config.json")],
            8085,
            "/health",
            {"CENTRIFUGO_HTTP_API_KEY": SECRET},
        )

    def version(self) -> str:
        return first_line([str(self.places.program("centrifugo", "CENTRIFUGO")), "version"])


class Ceiling(Hub):
    """The minimal hub of the harness: what the kernel alone costs."""

    profile = "ceiling"
    mode = ""

    def launch(self, setting: dict[str, str]) -> Launch:
        return Launch(
            [str(self.places.harness), "ceiling-server", "--mode", self.mode, "--history", setting.get("history", "0")],
            7999,
            "",
        )

    def version(self) -> str:
        return first_line([str(self.places.harness), "--version"])


class CeilingSend(Ceiling):
    name = "ceiling-send"
    mode = "send"


class CeilingConcat(Ceiling):
    name = "ceiling-concat"
    mode = "concat"


ALL: list[type[Hub]] = [Ours, Nchan, Mercure, Centrifugo, CeilingSend, CeilingConcat]


def answers(port: int, path: str) -> bool:
    """Whether a GET of `path` is answered with 200; without a path, whether the port takes a connection."""
    if not path:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def publisher_token() -> str:
    """A JSON web token that lets its bearer publish on every topic of a Mercure hub."""

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = part(json.dumps({"mercure": {"publish": ["*"]}}).encode())
    signature = hmac.new(SECRET.encode(), head + b"." + body, hashlib.sha256).digest()
    return b".".join([head, body, part(signature)]).decode()


def run(command: list[str]) -> str:
    """What a short command prints; nothing if there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def first_line(command: list[str]) -> str:
    return run(command).strip().partition("\n")[0]

#!/usr/bin/env python3
"""A hub with a state of MEGABYTES (2048) in workflows' results and servers' metadata, within every limit: is the state kept, is the
log pruned, are streams told of a drain that ends in time, and does the next start have it all?

    TIMEBACK_EVENTS_BIN=target/release/timeback-events tests/large-state.py [MEGABYTES]

Needs Python 3.10, about four times that much disk and memory for twice. Prints what it saw; exit code 1 where something is wrong."""

import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

BINARY = os.environ["TIMEBACK_EVENTS_BIN"]
MEGABYTES = int(sys.argv[1]) if len(sys.argv) > 1 else 2048
RETENTION = 32 << 20
RESULT = 240_000
STEPS = 8
STREAMS = 20
# How long a drain may take (INTEGRATION_DRAIN_TIMEOUT_MS), and how much later the process may be gone.
DRAIN, LATE = 5.0, 1.0
# A snapshot takes one part in twenty of the time, so that the next one may be minutes away.
PATIENCE = 900
wrong = []


def check(is_so, what):
    print(("right: " if is_so else "WRONG: ") + what, flush=True)
    if not is_so:
        wrong.append(what)


class Hub:
    """A running hub, and how long it took to serve."""

    def __init__(self, directory):
        settings = {
            "INTEGRATION_SSE_PORT": "0",
            "INTEGRATION_DATA_DIR": directory + "/data",
            "INTEGRATION_RETENTION_BYTES": str(RETENTION),
            "INTEGRATION_HEARTBEAT_INTERVAL_MS": "300000",
            "LOG_LEVEL": "info",
        }
        began = time.monotonic()
        self.log = directory + "/log"
        self.child = subprocess.Popen(
            [BINARY], env=settings, cwd=directory, stdout=subprocess.PIPE, stderr=open(self.log, "ab"), text=True
        )
        self.port = int(self.child.stdout.readline().rsplit(":", 1)[1])
        self.opened = time.monotonic() - began

    def call(self, method, path, body=None, connection=None):
        connection = connection or self.connect()
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text[:500])
        return text

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def metric(self, name):
        found = re.search(rf"^{name} (\S+)$", self.call("GET", "/metrics").decode(), re.M)
        return float(found[1])

    def memory(self, of="VmRSS"):
        with open(f"/proc/{self.child.pid}/status") as status:
            return int(re.search(rf"{of}:\s+(\d+)", status.read())[1]) >> 10


def noise(*parts):
    """Text that doesn't compress away, the same for the same parts."""
    seed = hashlib.sha256(repr(parts).encode()).hexdigest()
    return (seed * (RESULT // len(seed) + 1))[:RESULT]


def fill(hub, workflows, servers, of, by):
    connection = hub.connect()
    for n in range(of, workflows, by):
        steps = [f"s{step}" for step in range(STEPS)] + ["last"]
        hub.call("POST", "/workflows", {"id": f"w{n}", "name": "large", "steps": steps}, connection)
        for step in range(STEPS):
            body = {"status": "completed", "result": {"x": noise(n, step)}}
            hub.call("POST", f"/workflows/w{n}/steps/s{step}", body, connection)
    for n in range(of, servers, by):
        body = {"id": f"s{n}", "name": "n", "transport": "http", "metadata": {"x": noise("server", n)}}
        hub.call("POST", "/servers", body, connection)


class Beside:
    """Somebody who posts small events meanwhile, and how long each took."""

    def __init__(self, hub):
        self.hub, self.waits, self.stopped = hub, [], False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        connection = self.hub.connect()
        while not self.stopped:
            began = time.monotonic()
            self.hub.call("POST", "/events", {"type": "custom_x", "data": {}}, connection)
            self.waits.append(time.monotonic() - began)
            time.sleep(0.01)

    def stop(self, when):
        self.stopped = True
        self.thread.join()
        waits = sorted(self.waits)
        print(f"beside {when}: a small POST took p50 {waits[len(waits) // 2] * 1000:.0f} ms, "
              f"p99 {waits[len(waits) * 99 // 100] * 1000:.0f} ms, {waits[-1] * 1000:.0f} ms at most of {len(waits)}", flush=True)


def read_stream(socket_, ends, at):
    got, ended = b"", None
    try:
        while piece := socket_.recv(1 << 16):
            got = (got + piece)[-4096:]
            if b"stream_closing" in got and ended is None:
                ended = time.monotonic()
    except OSError:
        pass
    ends[at] = ended


def main(directory):
    workflows = MEGABYTES * 9 // 10 * 1_000_000 // (RESULT * STEPS)
    servers = MEGABYTES // 10 * 1_000_000 // RESULT
    hub = Hub(directory)
    beside, began = Beside(hub), time.monotonic()
    threads = [threading.Thread(target=fill, args=(hub, workflows, servers, of, 4)) for of in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    beside.stop("the filling")
    print(f"{workflows} workflows of {STEPS} results and {servers} servers, {RESULT} bytes each, in "
          f"{time.monotonic() - began:.0f} s; resident {hub.memory()} MB", flush=True)

    # The state is kept once pruning has gone as far as the bound; it can't go beyond the newest snapshot.
    beside, began = Beside(hub), time.monotonic()
    filled = hub.metric("timeback_log_head_sequence")
    # So many of the last large events fit into what is kept.
    last = filled - 2 * RETENTION / RESULT
    while (floor := hub.metric("timeback_log_floor_sequence")) < last and time.monotonic() - began < PATIENCE:
        time.sleep(1)
    beside.stop("snapshots and pruning")
    check(floor >= last, f"kept and pruned after {time.monotonic() - began:.0f} s: of {filled:.0f} events the oldest is {floor:.0f}; "
          f"{hub.metric('timeback_log_bytes') / 1e6:.0f} MB on the disk, resident {hub.memory()} MB, {hub.memory('VmHWM')} MB at most")

    streams, ends = [], [None] * STREAMS
    for at in range(STREAMS):
        stream = socket.create_connection(("127.0.0.1", hub.port))
        stream.sendall(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        opened = b""
        while b"stream_opened" not in opened:
            opened += stream.recv(4096)
        streams.append(threading.Thread(target=read_stream, args=(stream, ends, at)))
        streams[-1].start()
    hub.call("POST", "/events", {"type": "custom_last", "data": {"n": 1}})
    head = json.loads(hub.call("GET", "/status"))
    began = time.monotonic()
    hub.child.send_signal(signal.SIGTERM)
    code = hub.child.wait(120)
    took = time.monotonic() - began
    for stream in streams:
        stream.join()
    told = [end - began for end in ends if end is not None]
    check(len(told) == STREAMS, f"{len(told)} of {STREAMS} streams were told stream_closing, "
          f"the last after {max(told, default=0):.2f} s")
    check(code == 0 and took < DRAIN + LATE, f"gone after {took:.2f} s with code {code}")

    hub = Hub(directory)
    again = json.loads(hub.call("GET", "/status"))
    check(again["activeWorkflows"] == workflows and again["connectedServers"] == servers,
          f"opened again after {hub.opened:.1f} s with {again['activeWorkflows']} workflows and {again['connectedServers']} servers; "
          f"resident {hub.memory()} MB, {hub.memory('VmHWM')} MB at most")
    same = again["lastEventId"].split("-")[1] == head["lastEventId"].split("-")[1]
    check(same, f"the log ends where it ended: {head['lastEventId']}, {again['lastEventId']}")
    bad = 0
    for n in range(0, workflows, max(1, workflows // 50)):
        view = json.loads(hub.call("GET", f"/workflows/w{n}"))
        bad += any(view["steps"][step]["result"]["x"] != noise(n, step) for step in range(STEPS))
    check(bad == 0, "each result of fifty workflows is what was said")
    hub.child.kill()
    hub.child.wait()
    began = time.monotonic()
    hub = Hub(directory)
    check(True, f"killed, it opens after {hub.opened:.1f} s")
    hub.child.terminate()
    hub.child.wait()


if __name__ == "__main__":
    place = tempfile.mkdtemp()
    try:
        main(place)
    finally:
        if wrong:
            with open(place + "/log") as log:
                print("".join(log.readlines()[-20:]), file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(1 if wrong else 0)

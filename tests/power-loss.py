#!/usr/bin/env python3
"""What a power cut leaves: the hub's writes and syncs are recorded while it is under load, its files are put together as a disk may have
them that lost what wasn't synced by then, and a hub is started on them. Every event that was acknowledged before the cut must be
there, as it was said and once, and nothing that nobody said.

    TIMEBACK_EVENTS_BIN=target/release/timeback-events tests/power-loss.py [CUTS] [SEED]

Needs Python 3.10 and strace. Of each cut (60) four disks are tried: all is lost that wasn't synced; nothing is; any of it is, write by
write; any of it is, sector by sector. Exit code 1 where something is wrong, 2 where it can't be tried here."""

import bisect
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BINARY = os.environ["TIMEBACK_EVENTS_BIN"]
CUTS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
# How long the load lasts: a snapshot is kept every five seconds.
SECONDS = 12
SECTOR = 512
FILES = re.compile(r"/data/(hub\.db[^/>]*)$")
CALL = re.compile(r"^(\d+)\s+(\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>")
ACKNOWLEDGED = re.compile(rb"last-event-id: (\S+?-(\d+))\r\n", re.I)
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class Hub:
    """A running hub on a directory."""

    def __init__(self, directory, wrapped=()):
        settings = {"INTEGRATION_SSE_PORT": "0", "INTEGRATION_DATA_DIR": directory + "/data", "LOG_LEVEL": "warn"}
        self.child = subprocess.Popen(
            [*wrapped, BINARY], env=settings, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError("it doesn't start: " + self.child.stderr.read())
        self.connection = http.client.HTTPConnection("127.0.0.1", int(line.rsplit(":", 1)[1]), timeout=60)

    def call(self, method, path, body=None, accept="application/json"):
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, {"content-type": "application/json", "accept": accept})
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text[:300])
        return text

    def end(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


def record(directory):
    """Loads a hub, and gives what it did to its files, in order."""
    trace = directory + "/trace"
    calls = "pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync,ftruncate,unlink"
    hub = Hub(directory, ["strace", "-f", "-y", "-xx", "-s", "400000", "-e", "trace=" + calls, "-o", trace])
    hub.call("POST", "/servers", {"id": "s", "name": "s", "transport": "http", "heartbeatIntervalMs": 300000})
    chance, ends, number = random.Random(SEED), time.monotonic() + SECONDS, 0
    while time.monotonic() < ends:
        many = chance.choice([1, 1, 1, 5])
        events = []
        for _ in range(many):
            number += 1
            events.append({"type": "custom_n", "data": {"n": number, "x": said(number)}})
        hub.call("POST", "/events", events)
    # The hub is strace's child: the whole goes.
    subprocess.run(["pkill", "-KILL", "-P", str(hub.child.pid)], check=False)
    hub.child.wait()
    return number, list(read_trace(trace))


def said(number):
    """What the event of that number says: some are large, and none is like another."""
    return random.Random(number).randbytes(random.Random(-number).choice([20, 200, 6000])).hex()


def unescaped(text):
    found = STRING.search(text)
    assert found and not found[2], "strace cut a text short"
    return bytes.fromhex(found[1].replace("\\x", ""))


def decoded(path):
    return bytes.fromhex(path.replace("\\x", "")).decode() if path.startswith("\\x") else path


def read_trace(trace):
    """(what, file, more) in the order in which they were begun; syncs in that in which they ended."""
    begun = {}
    with open(trace) as lines:
        for line in lines:
            if resumed := RESUMED.match(line):
                waiting = begun.pop((resumed[1], resumed[2]), None)
                if waiting:
                    yield waiting
                continue
            if not (call := CALL.match(line)):
                continue
            thread, name, rest = call[1], call[2], call[3]
            if name in ("write", "writev", "sendto", "sendmsg"):
                answers = b"".join(bytes.fromhex(text[0].replace("\\x", "")) for text in STRING.findall(rest))
                if found := ACKNOWLEDGED.search(answers):
                    yield ("told", None, int(found[2]))
                continue
            if name == "unlink":
                if found := FILES.search(decoded(STRING.search(rest)[1])):
                    yield ("unlink", found[1], None)
                continue
            path = decoded(re.match(r"\d+<([^>]*)>", rest)[1])
            if not (found := FILES.search(path)) or found[1].endswith("-shm"):
                continue
            file = found[1]
            if name == "pwrite64":
                numbers = re.search(r'"(?:\.\.\.)?, (\d+), (\d+)', rest)
                yield ("write", file, (int(numbers[2]), unescaped(rest)))
            elif name == "ftruncate":
                yield ("truncate", file, int(re.search(r">, (\d+)", rest)[1]))
            elif "unfinished" in rest:
                begun[(thread, name)] = ("sync", file, None)
            else:
                yield ("sync", file, None)


def put(content, what, more):
    if what == "truncate":
        del content[more:]
        content.extend(bytes(more - len(content)))
        return
    at, data = more
    content.extend(bytes(max(0, at - len(content))))
    content[at : at + len(data)] = data


def disks(calls, until, chance):
    """Each file as it is for sure, and what was done to it since its last sync."""
    sure, open_ = {}, {}
    for what, file, more in calls[:until]:
        if what == "told":
            continue
        content, pending = sure.setdefault(file, bytearray()), open_.setdefault(file, [])
        if what == "sync":
            for done in pending:
                put(content, *done)
            pending.clear()
        elif what == "unlink":
            sure.pop(file), open_.pop(file)
        else:
            pending.append((what, more))
    for kind in ("all lost", "nothing lost", "writes lost", "sectors lost"):
        disk = {}
        for file, content in sure.items():
            content = bytearray(content)
            for what, more in open_[file]:
                if kind == "all lost" or (kind == "writes lost" and chance.random() < 0.5):
                    continue
                if kind == "sectors lost" and what == "write":
                    at, data = more
                    for start in range(0, len(data), SECTOR):
                        if chance.random() < 0.5:
                            put(content, "write", (at + start, data[start : start + SECTOR]))
                    continue
                put(content, what, more)
            disk[file] = content
        yield kind, disk


def check(disk, told, number):
    """Starts a hub on these files; what is wrong, or nothing, and how many events there are beyond what was acknowledged."""
    directory = tempfile.mkdtemp()
    os.mkdir(directory + "/data")
    try:
        for file, content in disk.items():
            with open(f"{directory}/data/{file}", "wb") as out:
                out.write(content)
        try:
            hub = Hub(directory)
        except RuntimeError as refused:
            return str(refused), 0
        try:
            lines = hub.call("GET", "/events/history", accept="application/x-ndjson").decode().splitlines()
            events = [json.loads(line) for line in lines]
            if gaps := [event for event in events if event["type"] == "stream_gap"]:
                return f"it says that something is missing: {gaps}", 0
            sequences = [int(event["id"].split("-")[1]) for event in events]
            if sequences != list(range(1, len(sequences) + 1)):
                return f"the sequences aren't one after the other: {sequences[:5]}…", 0
            if len(sequences) < told:
                return f"{told} were acknowledged, and {len(sequences)} are there", 0
            own = [event["data"] for event in events if event["type"] == "custom_n"]
            if own != [{"n": n, "x": said(n)} for n in range(1, len(own) + 1)] or len(own) > number:
                return "what is there isn't what was said", 0
            if told and json.loads(hub.call("GET", "/servers/s"))["status"] != "connected":
                return "the state isn't what the log says", 0
            hub.call("POST", "/events", {"type": "custom_after", "data": {}})
            return None, len(sequences) - told
        finally:
            hub.end()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    if shutil.which("strace") is None:
        print("there is no strace here")
        return 2
    directory, chance, wrong, beyond = tempfile.mkdtemp(), random.Random(SEED), 0, 0
    os.mkdir(directory + "/data")
    try:
        number, calls = record(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    kinds = [what for what, _, _ in calls]
    acknowledged = [(at, more) for at, (what, _, more) in enumerate(calls) if what == "told"]
    into = [at for at, (what, file, _) in enumerate(calls) if what == "write" and file == "hub.db"]
    print(f"seed {SEED}: {number} events in {len(acknowledged)} answers; {kinds.count('write')} writes, {len(into)} of them into hub.db, "
          f"{kinds.count('sync')} syncs")
    if not into or not acknowledged:
        print("WRONG: nothing was recorded")
        return 1
    # A third of the cuts fall where the journal is brought over into the file.
    cuts = [chance.choice(into) + 1 if n % 3 == 0 else chance.randrange(len(calls)) for n in range(CUTS)]
    opened = next(at for at, what in enumerate(kinds) if what == "told")
    for cut in sorted(max(cut, opened) for cut in cuts):
        before = bisect.bisect_left(acknowledged, (cut, 0))
        told = max((more for _, more in acknowledged[:before]), default=0)
        for kind, disk in disks(calls, cut, chance):
            why, more = check(disk, told, number)
            beyond += more
            if why:
                wrong += 1
                print(f"WRONG: cut {cut}, {kind}: {why}")
    print(f"{CUTS} cuts, {4 * CUTS} disks, {wrong} wrong; {beyond} events were there that weren't acknowledged yet")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

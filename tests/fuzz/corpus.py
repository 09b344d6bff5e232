#!/usr/bin/env python3
"""The kept inputs as files, which libFuzzer wants, and back.

    corpus.py unpack TARGET.jsonl DIRECTORY    writes each line's bytes to a file of its own
    corpus.py add TARGET.jsonl DIRECTORY       adds the bytes of files that no line holds yet, in the order of their length;
                                               not of long ones, whose mutations seldom say anything new

A line is a JSON string; its characters U+0000 to U+00FF are the bytes.
"""

import hashlib
import json
import sys
from pathlib import Path

# Bytes of an input that is added, at most.
LONGEST = 400


def read(corpus):
    return [json.loads(line).encode("latin-1") for line in corpus.read_text().splitlines()]


def unpack(corpus, directory):
    directory.mkdir(parents=True, exist_ok=True)
    for data in read(corpus):
        (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def add(corpus, directory):
    kept = set(read(corpus))
    found = {file.read_bytes() for file in directory.iterdir()} - kept
    found = {data for data in found if len(data) <= LONGEST}
    with corpus.open("a") as lines:
        for data in sorted(found, key=lambda data: (len(data), data)):
            lines.write(json.dumps(data.decode("latin-1")) + "\n")
    print(f"{corpus.name}: {len(kept)} inputs, {len(found)} more")


if __name__ == "__main__":
    action = {"unpack": unpack, "add": add}.get(sys.argv[1] if len(sys.argv) == 4 else "")
    if action is None:
        sys.exit(__doc__)
    action(Path(sys.argv[2]), Path(sys.argv[3]))

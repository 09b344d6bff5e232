"""Follows a stream with one of the SSE clients of PyPI: client.py NAME URL."""
import asyncio
import json
import os
import sys

name, url = sys.argv[1:]
scenario, _, place = os.environ.get("SCENARIO", "plain").partition(":")
headers = {"Last-Event-ID": place} if scenario == "resume" else {}


def say(event, data):
    print(json.dumps([event, data]), flush=True)


def sseclient_py():
    import requests
    import sseclient

    class Bytes:
        """What a response holds as it comes: by itself it waits for blocks of 128 bytes, and the last event with it."""

        def __init__(self, response):
            self.response = response

        def __iter__(self):
            return iter(lambda: self.response.raw.read1(65536), b"")

        def close(self):
            self.response.close()

    with requests.get(url, stream=True, headers={"Accept": "text/event-stream", **headers}) as response:
        for event in sseclient.SSEClient(Bytes(response)).events():
            say(event.event, event.data)


def httpx_sse():
    import httpx
    from httpx_sse import connect_sse

    with httpx.Client(timeout=None) as client, connect_sse(client, "GET", url, headers=headers) as source:
        for event in source.iter_sse():
            say(event.event, event.data)


async def aiohttp_sse_client():
    from aiohttp_sse_client import client

    async with client.EventSource(url, headers=headers) as source:
        async for event in source:
            say(event.type, event.data)


follow = globals()[name.replace("-", "_")]
asyncio.run(follow()) if asyncio.iscoroutinefunction(follow) else follow()

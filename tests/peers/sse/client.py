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

    with requests.get(url, stream=True, headers={"Accept": "text/event-stream", **headers}) as response:
        for event in sseclient.SSEClient(response).events():
            say(event.event, event.data)


def requests_alone():
    import requests

    event, data = "message", []
    with requests.get(url, stream=True, headers={"Accept": "text/event-stream", **headers}) as response:
        for line in response.iter_lines(decode_unicode=True):
            field, _, value = line.partition(": ")
            if field == "event":
                event = value
            elif field == "data":
                data.append(value)
            elif not line and data:
                say(event, "\n".join(data))
                event, data = "message", []


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

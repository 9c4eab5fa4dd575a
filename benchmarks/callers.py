"""Callers that each wait for their reply before they ask again: over REST, and over MQTT beside it."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
import uuid
from collections.abc import Iterator, Sequence

from benchmarks.sender import Sender


def free_port() -> int:
    """Give a port of the loopback address that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def over_rest(port: int, tasks: Sequence[str], *, callers: int, seconds: float) -> list[float]:
    """
    Post requests on *callers* connections for *seconds*; give the milliseconds to each answer.

    An answer that does not start its task is an AssertionError.
    """
    return asyncio.run(_all(port, itertools.cycle(tasks), callers, time.monotonic() + seconds))


async def _all(port: int, tasks: Iterator[str], callers: int, end: float) -> list[float]:
    await _until_open(port)
    times = await asyncio.gather(*(_one(port, tasks, end) for _ in range(callers)))
    return [moment for each in times for moment in each]


async def _until_open(port: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert time.monotonic() < deadline, "the REST listener does not open"
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def _one(port: int, tasks: Iterator[str], end: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times = []
    while time.monotonic() < end:
        body = json.dumps({"taskId": next(tasks)}).encode()
        began = time.monotonic()
        writer.write(
            b"POST /v4/reloadtask/-/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        answer = await reader.readexactly(length)
        times.append((time.monotonic() - began) * 1000)
        assert b" 200 " in head.split(b"\r\n")[0], answer
        assert json.loads(answer)["status"] == "ok", answer
    writer.close()
    return times


def over_mqtt(sender: Sender, tasks: Sequence[str], *, callers: int, seconds: float) -> list[float]:
    """Keep *callers* requests under way for *seconds*; give the milliseconds to each reply."""
    names = (f"call-{uuid.uuid4().hex[:8]}-{number}" for number in itertools.count())
    asked: dict[str, float] = {}
    sender.answered = {}
    end = time.monotonic() + seconds
    for name, task in zip(names, itertools.cycle(tasks), strict=False):
        if time.monotonic() >= end:
            break
        before = len(asked) - callers + 1
        if before > 0:
            sender.wait_answered(before)
        asked[name] = sender.send({"requestId": name, "taskId": task}) / 1e9
    sender.wait_answered(len(asked))
    return [(sender.answered[name] - moment) * 1000 for name, moment in asked.items()]

"""What tests of following read from a sender: events, by request."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.acceptance.rig import Qlik
from tests.acceptance.sender import Sender
from tests.brokers import until

EVENT = "qliksense/task/event/"
ENDS = ("succeeded", "failed", "aborted", "skipped", "unknown", "expired", "cancelled")


def events(sender: Sender, request_id: str) -> list[dict[str, Any]]:
    """Give the events about a request so far, repetitions too."""
    published = [got.json for got in sender.all() if got.topic.startswith(EVENT)]
    return [event for event in published if request_id in event.get("requestIds", ())]


def kinds(sender: Sender, request_id: str) -> list[str]:
    """Give the names of a request's events in order."""
    return [str(event["event"]) for event in events(sender, request_id)]


def event(sender: Sender, request_id: str, *names: str, seconds: float = 60.0) -> dict[str, Any]:
    """Wait for an event with one of *names*, or for the end, and give it."""
    wanted = names or ENDS
    marks = [f'"event":"{name}"'.encode() for name in wanted]

    def is_it(payload: bytes) -> bool:
        return any(mark in payload for mark in marks) and request_id in json.loads(payload)["requestIds"]

    got = sender.wait(
        lambda got: got.topic.startswith(EVENT) and is_it(got.payload),
        seconds=seconds,
        what=f"{wanted} of {request_id}, got {kinds(sender, request_id)}",
    )
    found: dict[str, Any] = got.json
    return found


def soon(seconds: float) -> str:
    """Give the time in so many seconds as a request carries it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def until_begun(qlik: Qlik, task_id: str, executions: int = 1, *, seconds: float = 60.0) -> None:
    """Wait until so many executions of a task have begun."""
    until(
        lambda: qlik.executions(task_id) >= executions,
        seconds=seconds,
        what=f"{executions} executions of {task_id} have begun",
    )

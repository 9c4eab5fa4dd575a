"""Fills a journal with requests that were answered long ago, through its own tables."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from butler_mqtt.contract import validation
from butler_mqtt.journal import tables
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.journal.write_batch import WriteBatch

#: Requests of one transaction.
STEP = 5000


def fill(file: Path, count: int, tasks: Sequence[str]) -> None:
    """Add *count* closed requests, each with a delivery, a start and an ended run, at ids from 1 on."""
    journal = Journal(f"sqlite:///{file}")
    journal.open()
    try:
        now = int(time.time() * 1000)
        for first in range(1, count + 1, STEP):
            unit = WriteBatch()
            for identity in range(first, min(first + STEP, count + 1)):
                _add(unit, identity, tasks[identity % len(tasks)], now - (count - identity) * 10)
            journal.write(unit)
    finally:
        journal.close()


def _add(unit: WriteBatch, identity: int, task_id: str, moment: int) -> None:
    payload = json.dumps({"taskId": task_id}).encode()
    request = validation.parse(payload, max_bytes=1000)
    request_id, execution_id = str(uuid.uuid4()), str(uuid.uuid4())
    reply = json.dumps(
        {
            "requestId": request_id,
            "status": "ok",
            "tasksStarted": [
                {"taskId": task_id, "taskName": "Filler", "status": "started", "executionId": execution_id}
            ],
            "tasksNotFound": [],
            "totalTasksStarted": 1,
        }
    )
    unit.insert(
        tables.requests,
        {
            "id": identity,
            "request_id": request_id,
            "holds_id": True,
            "fingerprint": request.fingerprint,
            "document": request.document,
            "door": "mqtt",
            "state": "closed",
            "received_at": moment,
            "decided_at": moment + 2,
            "closed_at": moment + 5,
            "reply": reply,
        },
    )
    unit.insert(
        tables.deliveries,
        {
            "id": identity,
            "request": identity,
            "door": "mqtt",
            "received_at": moment,
            "payload": payload,
            "topic": "qliksense/task/start",
            "session": None,
            "packet_id": identity % 65535 + 1,
            "digest": identity.to_bytes(16, "big"),
            "reply_topic": "qliksense/task/start/reply",
            "wait": "started",
            "answered_at": moment + 5,
            "confirmed_at": moment + 6,
        },
    )
    unit.insert(
        tables.runs,
        {
            "id": identity,
            "task_id": task_id,
            "task_type": 0,
            "state": "ended",
            "intended_at": moment + 2,
            "attempts": 1,
            "server_date": moment,
            "execution_id": execution_id,
            "answered_at": moment + 4,
            "events": "started,succeeded",
            "result": "succeeded",
            "ended_at": moment + 1000,
        },
    )
    unit.insert(
        tables.starts,
        {
            "id": identity,
            "request": identity,
            "task_id": task_id,
            "task_name": "Filler",
            "task_type": 0,
            "kinds": "taskId",
            "state": "succeeded",
            "run": identity,
            "execution_id": execution_id,
            "adopted": False,
            "changed_at": moment + 1000,
        },
    )


def count_open(file: Path) -> int:
    """Count what is not done in a journal in use: requests, messages, executions."""
    query = (
        "SELECT (SELECT count(*) FROM requests WHERE state IN ('received', 'decided'))"
        " + (SELECT count(*) FROM outbox) + (SELECT count(*) FROM runs WHERE state = 'executing')"
    )
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        count: int = connection.execute(query).fetchone()[0]
    return count

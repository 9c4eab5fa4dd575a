"""Fills a journal with any number of finished requests, as they come from years of use."""

from __future__ import annotations

import json
import random
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from butler_mqtt.clock import now_ms
from tests.journals import put_empty

DAY = 86_400_000
#: The task of every thousandth request; the others have one of `TASKS`.
RARE = "ffffffff-0000-4000-8000-000000000000"
TASKS = [(f"{number:08x}-0000-4000-8000-000000000000", f"Task {number}") for number in range(500)]

_TABLES = ("requests", "deliveries", "runs", "starts")

Row = dict[str, Any]


def fill(file: Path, count: int, *, days: float, seed: int = 1) -> None:
    """
    Make the journal *file*, or add to it: *count* requests over the last *days* days.

    Of a thousand one is for the rare task, one failed, two were refused; a quarter ask for a tag.
    """
    if not file.exists():
        put_empty(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-200000")
        first = connection.execute("SELECT coalesce(max(id), 0) FROM requests").fetchone()[0] + 1
        chance = random.Random(seed)  # noqa: S311 -- the same rows each time
        rows = _rows(first, count, now_ms() - round(days * DAY), round(days * DAY), chance)
        while some := list(islice(rows, 10_000)):
            connection.execute("BEGIN")
            for table in _TABLES:
                _insert(connection, table, [row[table] for row in some if table in row])
            connection.execute("COMMIT")
        connection.execute("INSERT OR IGNORE INTO sessions (id, started_at) VALUES (1, ?)", (now_ms(),))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(connection: sqlite3.Connection, table: str, rows: list[Row]) -> None:
    if rows:
        names = ", ".join(rows[0])
        marks = ", ".join(f":{name}" for name in rows[0])
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608 -- own names


def _rows(first: int, count: int, begin: int, span: int, chance: random.Random) -> Iterator[dict[str, Row]]:
    for number in range(count):
        yield _request(first + number, begin + span * number // count, chance)


def _request(row: int, at: int, chance: random.Random) -> dict[str, Row]:
    request_id = str(uuid.UUID(int=chance.getrandbits(128)))
    execution = str(uuid.UUID(int=chance.getrandbits(128)))
    task, name = (RARE, "Rare") if row % 1000 == 0 else TASKS[row % 500]
    asked = {"tag": [f"tag {row % 300}"]} if row % 4 == 0 else {"taskId": [task]}
    document = json.dumps({"requestId": request_id, "sender": f"sender {row % 50}", **asked})
    started = {"taskId": task, "taskName": name, "status": "started", "executionId": execution}
    reply = {"requestId": request_id, "status": "ok", "tasksStarted": [started], "totalTasksStarted": 1}
    refused = row % 500 == 7
    made: dict[str, Row] = {
        "requests": {
            "id": row,
            "request_id": request_id,
            "holds_id": True,
            "fingerprint": "f" * 64,
            "document": document,
            "sender": f"sender {row % 50}",
            "door": "rest" if row % 10 == 0 else "mqtt",
            "state": "refused" if refused else "closed",
            "code": "expired" if refused else None,
            "received_at": at,
            "decided_at": at + 5,
            "closed_at": at + 40,
            "reply": json.dumps(reply),
        },
        "deliveries": {
            "id": row,
            "request": row,
            "door": "rest" if row % 10 == 0 else "mqtt",
            "received_at": at,
            "payload": document.encode(),
            "topic": "qliksense/task/start",
            "session": 1,
            "packet_id": row % 65535 + 1,
            "digest": chance.randbytes(16),
            "reply_topic": "qliksense/task/start/reply",
            "wait": "started",
            "answered_at": at + 40,
            "confirmed_at": at + 50,
        },
    }
    if not refused:
        result = "failed" if row % 1000 == 3 else "succeeded"
        made["runs"] = {
            "id": row,
            "task_id": task,
            "task_type": 0,
            "state": "ended",
            "intended_at": at + 6,
            "attempts": 1,
            "execution_id": execution,
            "answered_at": at + 35,
            "events": f"started,{result}",
            "result": result,
            "node": "Central",
            "started_at": at + 10,
            "stopped_at": at + 1000,
            "duration_ms": 990,
            "ended_at": at + 1500,
        }
        made["starts"] = {
            "id": row,
            "request": row,
            "task_id": task,
            "task_name": name,
            "task_type": 0,
            "kinds": "taskId:0",
            "state": result,
            "run": row,
            "execution_id": execution,
            "adopted": False,
            "changed_at": at + 1500,
        }
    return made

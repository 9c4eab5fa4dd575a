"""The calls, and what each start led to; bounded in memory."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Calls kept in memory.
CALLS_KEPT = 20_000


@dataclass(slots=True)
class CallRecord:
    """
    One call.

    `status` is None while it is being answered and 0 where the connection was cut.
    `task_ids` are the tasks that a start or stop named.
    """

    index: int
    time: str
    method: str
    path: str
    query: str
    user: str | None = None
    status: int | None = None
    task_ids: tuple[str, ...] = ()
    execution_ids: tuple[str, ...] = ()
    fault: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as the admin endpoint shows it."""
        return {
            "index": self.index,
            "time": self.time,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "user": self.user,
            "status": self.status,
            "taskId": self.task_ids[0] if self.task_ids else None,
            "taskIds": self.task_ids,
            "executionIds": self.execution_ids,
            "fault": self.fault,
        }


@dataclass(slots=True)
class StartCounts:
    """For one task: how often a start was requested, how many executions began, how often none did."""

    requests: int = 0
    executions: int = 0
    empty: int = 0
    foreign: int = 0

    def as_json(self) -> dict[str, int]:
        """Return it as the admin endpoint shows it."""
        return {
            "requests": self.requests,
            "executions": self.executions,
            "empty": self.empty,
            "foreign": self.foreign,
        }


@dataclass
class CallLog:
    """The newest calls, and counts per task of all calls."""

    records: deque[CallRecord] = field(default_factory=lambda: deque(maxlen=CALLS_KEPT))
    starts: dict[str, StartCounts] = field(default_factory=dict)
    total: int = 0

    def begin(self, time: str, method: str, path: str, query: str) -> CallRecord:
        """Record a call that has just arrived."""
        record = CallRecord(self.total, time, method, path, query)
        self.total += 1
        self.records.append(record)
        return record

    def counts(self, task_id: str) -> StartCounts:
        """Return the counts of one task."""
        return self.starts.setdefault(task_id, StartCounts())

    def since(self, index: int) -> Iterator[CallRecord]:
        """Yield the recorded calls from *index* on."""
        return (record for record in self.records if record.index >= index)


class StartLedger:
    """
    A file with one JSON line per execution, written before the caller gets its answer.

    Raises:
        OSError: The file cannot be opened or written.
    """

    def __init__(self, file: Path | None) -> None:
        self._stream = file.open("a", encoding="utf-8") if file is not None else None

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line; it is in the file even if the process is killed right afterwards."""
        if self._stream is not None:
            self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()

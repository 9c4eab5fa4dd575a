"""A task as its last starts show it, for `GET /v4/tasks` and the page. Pure; made of the journal's rows."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from butler_mqtt.contract.timestamps import stamp_ms

Row = Mapping[str, Any]

#: Runs that an entry shows.
SHOWN_RUNS = 10
#: Requests from which a rhythm is read at least, and how far a gap may be from the median one.
MIN_REQUESTS = 4
TOLERANCE = 0.2
#: Shorter gaps are no rhythm that a person waits for.
MIN_GAP_MS = 60_000

#: Columns of a run or its start, by the keys under which they are shown when they hold something.
_SHOWN = {
    "executionId": "execution_id",
    "code": "code",
    "result": "result",
    "durationMs": "duration_ms",
    "node": "node",
    "message": "message",
}


def task_status(task_id: str, name: str, starts: Sequence[Row]) -> dict[str, object]:
    """
    Return what is known of a task.

    Args:
        task_id: Its id.
        name: Its name when it was seen last.
        starts: Its last starts, the newest first, each with what its run and its request say.
    """
    those = runs(starts)
    return {
        "taskId": task_id,
        "taskName": name,
        "lastResult": next((start["result"] for start in those if start["result"]), None),
        "running": any(start["run_state"] == "executing" for start in those),
        "usualDurationMs": usual_duration_ms(starts),
        "nextExpectedAt": stamp_ms(next_expected_ms(starts)),
        "lastRuns": [_entry(start) for start in those[:SHOWN_RUNS]],
    }


def runs(starts: Sequence[Row]) -> list[Row]:
    """Return the starts that led to a run or should have, one for each run: several may share it."""
    seen: set[int] = set()
    found = []
    for start in starts:
        if start["state"] in {"wouldStart", "skipped", "denied", "cancelled", "waiting"}:
            continue
        if start["run"] is not None:
            if start["run"] in seen:
                continue
            seen.add(start["run"])
        found.append(start)
    return found


def usual_duration_ms(starts: Sequence[Row]) -> int | None:
    """Return the median duration of the executions that succeeded; None when none did."""
    durations = [
        start["duration_ms"]
        for start in runs(starts)
        if start["result"] == "succeeded" and start["duration_ms"] is not None
    ]
    return round(statistics.median(durations)) if durations else None


def next_expected_ms(starts: Sequence[Row]) -> int | None:
    """
    Return when the next request for the task is to be expected, in milliseconds since 1970.

    None unless the last ones came at regular intervals: three of four gaps near the median.
    """
    arrived = sorted({start["received_at"] for start in starts if start["state"] != "wouldStart"})
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrived)]
    if len(arrived) < MIN_REQUESTS:
        return None
    usual = statistics.median(gaps)
    near = sum(abs(gap - usual) <= usual * TOLERANCE for gap in gaps)
    if usual < MIN_GAP_MS or near * 4 < len(gaps) * 3:
        return None
    return int(arrived[-1] + usual)


def _entry(start: Row) -> dict[str, object]:
    entry: dict[str, object] = {
        "requestId": start["request_id"],
        "receivedAt": stamp_ms(start["received_at"]),
        "state": start["state"],
    }
    entry |= {key: start[column] for key, column in _SHOWN.items() if start[column] is not None}
    times = (("startedAt", "started_at"), ("stoppedAt", "stopped_at"))
    return entry | {key: stamp_ms(start[column]) for key, column in times if start[column] is not None}

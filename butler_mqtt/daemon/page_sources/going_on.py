"""What goes on, from its rows in the journal to what the page shows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from butler_mqtt.audit.requests_summary import origin_of
from butler_mqtt.contract.task_status import usual_duration_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.http.page.page_backend import GoingOn, RunningTask, UndecidedRequest, WaitingTask
from butler_mqtt.journal import going_on_rows
from butler_mqtt.journal.going_on_rows import GoingOnRows
from butler_mqtt.journal.queries import Row


def read(journal: Path) -> GoingOn:
    """Read what goes on; raises JournalError."""
    rows = going_on_rows.read(journal)
    return GoingOn(
        _running(rows),
        [_waiting(rows, start) for start in rows.waiting],
        [_opened(request) for request in rows.opened],
        rows.running_count,
        rows.waiting_count,
        rows.opened_count,
    )


def _running(rows: GoingOnRows) -> list[RunningTask]:
    by_run: dict[int, list[Row]] = defaultdict(list)
    for start in rows.running:
        by_run[start["run"]].append(start)
    shown = []
    for starts in by_run.values():
        first = starts[0]
        of_task = rows.tasks.get(first["task_id"])
        shown.append(
            RunningTask(
                first["task_id"],
                first["task_name"],
                # By this machine's clock: that of the node may differ by minutes.
                first["intended_at"],
                usual_duration_ms(of_task.starts) if of_task else None,
                tuple(dict.fromkeys(start["request_id"] for start in starts)),
                origin(first, [first["principal"]]),
            )
        )
    return shown


def origin(request: Row, tokens: Iterable[str | None]) -> str:
    """Write where a request is from, with the door as people write it."""
    door = request["door"]
    shown = door.upper() if door in {"mqtt", "rest"} else door
    return origin_of({**request, "door": shown}, tokens)


def _waiting(rows: GoingOnRows, start: Row) -> WaitingTask:
    request_id, other = rows.behind.get(start["behind"] or "", (None, None))
    return WaitingTask(
        start["task_id"],
        start["task_name"],
        start["changed_at"],
        _reason(start, other),
        start["request_id"],
        request_id,
    )


def _reason(start: Row, other: str | None) -> str:
    reason = start["reason"]
    if reason == "capacity":
        return "for a free place: maxConcurrentReloads executions run"
    if reason == "notBefore":
        document: dict[str, Any] = json.loads(start["document"] or "{}")
        return f"for its notBefore, {document.get('notBefore', 'a later time')}"
    if reason == "stage":
        return f"for the stage before its own ({start['stage']})"
    if other is not None and other != start["task_name"]:
        return f"for {other}, a task of the same app, to end"
    return "for the execution of it that runs already"


def _opened(request: Row) -> UndecidedRequest:
    document: dict[str, Any] = json.loads(request["document"] or "{}")
    asked = {key: document[key] for key in document if key not in {"requestId", "sender"}}
    reason = "its tasks are being looked up on the Qlik server"
    if request["state"] == "decided":
        reason = "its tasks are being started"
    if request["expires_at"] is not None:
        reason += f"; it expires at {stamp_ms(request['expires_at'])}"
    return UndecidedRequest(
        request["request_id"], request["received_at"], json.dumps(asked, ensure_ascii=False)[:300], reason
    )

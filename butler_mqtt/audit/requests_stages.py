"""The stages of a request in its timeline, from their rows in the journal. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from butler_mqtt.audit.requests_steps import Step
from butler_mqtt.journal.queries import Row
from butler_mqtt.journal.request_rows import RequestRows


def steps(request_rows: RequestRows) -> Iterator[Step]:
    """Yield when each stage began and ended, and which will not begin."""
    last = max([stage["ended_at"] or 0 for stage in request_rows.stages], default=0)
    for stage in request_rows.stages:
        name = f"stage {stage['number']}" + (f" ({stage['name']})" if stage["name"] else "")
        starts = [start for start in request_rows.starts if start["stage"] == stage["number"]]
        if stage["began_at"] is not None:
            names = ", ".join(start["task_name"] for start in starts if start["state"] != "denied") or "none"
            yield Step(stage["began_at"], "stageBegan", f"{name} began: tasks: {names}")
        if stage["ended_at"] is not None:
            text = f"{name} {stage['state']}{_not_good(stage, starts)}"
            yield Step(stage["ended_at"], "stageEnded", text)
        if stage["state"] == "notStarted":
            at = last or request_rows.request["decided_at"] or request_rows.request["received_at"]
            yield Step(at, "stageNotStarted", f"{name} is not started")


def _not_good(stage: Row, starts: list[Row]) -> str:
    """Say what kept a stage from succeeding."""
    if stage["state"] != "failed":
        return ""
    reasons = [
        f"{start['task_name']} {start['skipped_result'] or start['state']}"
        for start in starts
        if (start["skipped_result"] or start["state"]) not in {"succeeded", "running", "skipped"}
    ]
    missing = json.loads(stage["not_found"] or "[]")
    reasons += [f"not found: {json.dumps(one, ensure_ascii=False)}" for one in missing]
    return ": " + ", ".join(reasons) if reasons else ""

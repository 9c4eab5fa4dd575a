"""One request as a JSON object: a line of `requests --json` and of the audit log. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from butler_mqtt.audit import requests_summary
from butler_mqtt.audit.requests_timeline import SCRIPT_LOG
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.journal.request_rows import RequestRows

Row = Mapping[str, Any]


def record(request_rows: RequestRows) -> dict[str, object]:
    """Return who asked what, when, through which door, for which tasks, with which result."""
    request = request_rows.request
    logs = {note["run"]: note["text"] for note in request_rows.notes if note["kind"] == SCRIPT_LOG}
    return {
        "requestId": request["request_id"],
        "holdsId": bool(request["holds_id"]),
        "receivedAt": stamp_ms(request["received_at"]),
        "door": request["door"],
        "rule": request["rule"],
        "sender": request["sender"],
        "identity": request["identity"],
        "principals": sorted({row["principal"] for row in request_rows.deliveries if row["principal"]}),
        "request": json.loads(request["document"]) if request["document"] else None,
        "state": request["state"],
        "code": request["code"],
        "decidedAt": stamp_ms(request["decided_at"]),
        "closedAt": stamp_ms(request["closed_at"]),
        "expiresAt": stamp_ms(request["expires_at"]),
        "tasks": [
            _task(start, request_rows.runs.get(start["run"]), logs.get(start["run"]))
            for start in request_rows.starts
        ],
        **_stages(request_rows),
        "outcome": requests_summary.outcome(request_rows),
        "tasksNotFound": json.loads(request["not_found"] or "[]"),
        "deliveries": [_delivery(row) for row in request_rows.deliveries],
        "totalDeliveries": request_rows.deliveries[0]["total"] if request_rows.deliveries else 0,
        "held": request_rows.held,
        "messagesSetAside": len(request_rows.dead_letters),
        "reply": json.loads(request["reply"]) if request["reply"] else None,
    }


def _stages(request_rows: RequestRows) -> dict[str, object]:
    """Return where each stage stands; nothing for a request without."""
    stages = [
        {
            "stage": stage["number"],
            "name": stage["name"],
            "status": stage["state"],
            "startedAt": stamp_ms(stage["began_at"]),
            "endedAt": stamp_ms(stage["ended_at"]),
        }
        for stage in request_rows.stages
    ]
    return {"stages": stages} if stages else {}


def _task(start: Row, run: Row | None, script_log: str | None) -> dict[str, object]:
    entry: dict[str, object] = {
        "taskId": start["task_id"],
        "taskName": start["task_name"],
        "state": start["state"],
    }
    for key, column in (("code", "code"), ("details", "details"), ("executionId", "execution_id")):
        if start[column] is not None:
            entry[key] = start[column]
    if start["stage"] is not None:
        entry["stage"] = start["stage"]
    if start["adopted"]:
        entry["adopted"] = True
    if run is not None and run["result"] is not None:
        entry |= {
            "startedAt": stamp_ms(run["started_at"]),
            "stoppedAt": stamp_ms(run["stopped_at"]),
            "durationMs": run["duration_ms"],
            "node": run["node"],
            "message": run["message"],
        }
    if script_log is not None:
        entry["scriptLog"] = script_log.split("\n")
    return entry


def _delivery(row: Row) -> dict[str, object]:
    return {
        "door": row["door"],
        "principal": row["principal"],
        "receivedAt": stamp_ms(row["received_at"]),
        "bytes": row["size"],
        "topic": row["topic"],
        "replyTopic": row["reply_topic"],
        "wait": row["wait"],
        "answeredAt": stamp_ms(row["answered_at"]),
        "confirmedAt": stamp_ms(row["confirmed_at"]),
    }

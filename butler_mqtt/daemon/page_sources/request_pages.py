"""Requests for the page: lines of a list, one whole, and what failed; made of the journal's rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from butler_mqtt.audit import requests_choice, requests_summary
from butler_mqtt.audit.requests_again import FAILED
from butler_mqtt.audit.requests_timeline import SCRIPT_LOG, steps
from butler_mqtt.daemon.page_sources.going_on import origin
from butler_mqtt.domain.senders import Senders
from butler_mqtt.http.page.failure_views import FAILURES
from butler_mqtt.http.page.page_backend import (
    FailedRequest,
    Place,
    RequestLine,
    RequestPage,
    TaskOutcome,
    TimelineStep,
)
from butler_mqtt.journal import retry_rows, task_rows
from butler_mqtt.journal.queries import Row
from butler_mqtt.journal.request_rows import RequestRows
from butler_mqtt.journal.search import Filters, Search
from butler_mqtt.journal.sqlite import reading
from butler_mqtt.journal.task_rows import TaskRows

#: Requests with one id that are shown, the newest; and repetitions that are named.
MAX_SHOWN = 20
MAX_RETRIES = 5

#: A line of a script log that names an error, from there on; `Execution Failed` ends every one that failed.
_ERROR = re.compile(r"((?i:\berror\b|\bexception\b|\bfailed to\b).*)")

_TONES = {"green": "good", "yellow": "busy", "red": "bad"}
_GOOD = frozenset({"succeeded", "wouldStart", "skipped"})
_BUSY = frozenset({"planned", "waiting", "running"})


def lines(
    journal: Path, filters: Filters, limit: int, before: Place | None
) -> list[tuple[Place, RequestLine]]:
    """Read the newest requests that fit; raises JournalError."""
    with Search(journal) as search:
        rows = search.requests_rows(search.find(filters, limit, before=before))
    return [(_place(one), _line(one)) for one in _newest_first(rows)]


def whole(journal: Path, request_id: str, senders: Senders) -> list[RequestPage]:
    """Read the requests with an id, the newest first; *senders* are those of now; raises JournalError."""
    with Search(journal) as search:
        named = search.requests_rows(search.named(request_id))
    retries = _retries(journal, named, named)
    return [
        _page(number, one, retries[one.request["id"]], senders)
        for number, one in reversed([*enumerate(named, 1)][-MAX_SHOWN:])
    ]


def failures(
    journal: Path, limit: int, before: Place | None, senders: Senders
) -> list[tuple[Place, FailedRequest]]:
    """Read the newest requests of which something failed; raises JournalError."""
    with Search(journal) as search:
        rows = search.requests_rows(search.find(Filters(states=FAILURES), limit, before=before))
    retried = _retries(journal, rows, ())
    wrong = {start["task_id"] for one in rows for start in one.starts if _is_wrong(start)}
    with reading(journal) as connection:
        known = task_rows.of_tasks(connection, sorted(wrong))
    return [
        (_place(one), _failed(one, known, retried[one.request["id"]], senders)) for one in _newest_first(rows)
    ]


def _newest_first(rows: Sequence[RequestRows]) -> list[RequestRows]:
    return sorted(rows, key=_place, reverse=True)


def _place(one: RequestRows) -> Place:
    return one.request["received_at"], one.request["id"]


def _line(one: RequestRows) -> RequestLine:
    state, style = requests_summary.state(one, names=False)
    return RequestLine(
        one.request["request_id"],
        one.request["received_at"],
        origin(one.request, (row["principal"] for row in one.deliveries)),
        requests_summary.asked(one),
        requests_summary.tasks(one),
        state,
        _TONES.get(style, "busy"),
    )


def _page(number: int, one: RequestRows, retries: Sequence[str], senders: Senders) -> RequestPage:
    logs = _logs(one)
    document = json.loads(one.request["document"] or "null")
    return RequestPage(
        _line(one),
        number,
        json.dumps(document, indent=2, ensure_ascii=False) if document else "",
        [_outcome(one, start, logs, None) for start in one.starts],
        [TimelineStep(step.time, step.step, step.text) for step in steps(one) if step.step != SCRIPT_LOG],
        _refusal(one),
        one.request["closed_at"] is None or any(start["state"] in _BUSY for start in one.starts),
        _can_retry(one),
        one.held,
        [f"{row['kind']} for {row['topic']}: {row['reason']}" for row in one.dead_letters],
        retries,
        _barred(one, senders),
    )


def _failed(
    one: RequestRows, known: Mapping[str, TaskRows], retries: Sequence[str], senders: Senders
) -> FailedRequest:
    logs = _logs(one)
    return FailedRequest(
        _line(one),
        _refusal(one),
        [json.dumps(missing, ensure_ascii=False) for missing in json.loads(one.request["not_found"] or "[]")],
        [_outcome(one, start, logs, known.get(start["task_id"])) for start in one.starts if _is_wrong(start)],
        retries,
        _can_retry(one),
        _barred(one, senders),
    )


def _barred(one: RequestRows, senders: Senders) -> str:
    """Return why what failed of a request cannot be asked for again, empty if it can or nothing failed."""
    return (senders.bars_again(one.request["identity"]) or "") if _can_retry(one) else ""


def _is_wrong(start: Row) -> bool:
    return start["state"] not in _GOOD | _BUSY


def _can_retry(one: RequestRows) -> bool:
    document: dict[str, Any] = json.loads(one.request["document"] or "{}")
    if one.held or one.request["closed_at"] is None or not document or "cancel" in document:
        return False
    if any(start["state"] in FAILED for start in one.starts):
        return True
    return one.request["state"] == "refused" and not one.starts


def _outcome(
    one: RequestRows, start: Row, logs: Mapping[int, tuple[str, ...]], known: TaskRows | None
) -> TaskOutcome:
    run = one.runs.get(start["run"]) or {}
    state = start["state"]
    ended_at = run.get("ended_at") or start["changed_at"]
    tone = "good" if state in _GOOD else "busy" if state in _BUSY else "bad"
    return TaskOutcome(
        start["task_id"],
        start["task_name"],
        state,
        tone,
        _reason(start, run) if tone == "bad" else "",
        run.get("duration_ms"),
        run.get("node"),
        ended_at,
        start["stage"],
        logs.get(start["run"], ()),
        _error_line(logs.get(start["run"], ())),
        _recovered(known, ended_at),
    )


def _reason(start: Row, run: Mapping[str, Any]) -> str:
    if start["state"] == "denied":
        return "startTaskFilter, or allowTask of the sender, does not let this task be started"
    if run.get("message"):
        return str(run["message"])
    because = ": ".join(str(start[key]) for key in ("code", "details") if start[key])
    return because or "the Qlik server names no reason"


def _error_line(log: Sequence[str]) -> str:
    """Return the first line of a script log that names an error: the ones after it follow from that."""
    return next((found[1].strip() for line in log if (found := _ERROR.search(line))), "")


def _recovered(known: TaskRows | None, ended_at: int) -> int | None:
    succeeded = [
        start["ended_at"]
        for start in (known.starts if known else ())
        if start["result"] == "succeeded" and start["ended_at"] is not None and start["ended_at"] > ended_at
    ]
    return max(succeeded, default=None)


def _logs(one: RequestRows) -> dict[int, tuple[str, ...]]:
    return {
        note["run"]: tuple(note["text"].split("\n"))
        for note in one.notes
        if note["kind"] == SCRIPT_LOG and note["run"] is not None
    }


def _refusal(one: RequestRows) -> str:
    if one.request["state"] != "refused":
        return ""
    reply = json.loads(one.request["reply"] or "{}")
    return ": ".join(part for part in (reply.get("error", ""), reply.get("details", "")) if part)


def _retries(
    journal: Path, rows: Sequence[RequestRows], named: Sequence[RequestRows]
) -> dict[int, Sequence[str]]:
    """Return the ids of the requests that asked again for each, by its row; *named* had the same id."""
    if not rows:
        return {}
    senders = {one.request["id"]: requests_choice.retry_sender(one, named or [one]) for one in rows}
    since = min(one.request["received_at"] for one in rows)
    ids = retry_rows.by_sender(journal, set(senders.values()), since)
    return {row: ids.get(sender, [])[:MAX_RETRIES] for row, sender in senders.items()}

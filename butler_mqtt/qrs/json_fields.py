"""
JSON of the server -> words of `model`.

Everything but an id and a name may be missing or of another shape: models
differ between releases, so absence is a value here and never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from butler_mqtt.domain.model import EMPTY_GUID, Execution, ExecutionStatus, Task, TaskType

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: Beyond it a JSON number is not exact (RFC 8259, 6).
_LARGEST = 2**53
_OLDEST = datetime.min.replace(tzinfo=UTC)
#: Longest text taken from the server into a reply.
MAX_MESSAGE = 500
#: By kind of task the key under which an execution session names it; of other kinds none is known.
SESSION_TASKS: Mapping[int | None, str] = {
    TaskType.RELOAD: "reloadTask",
    TaskType.EXTERNAL_PROGRAM: "externalProgramTask",
    TaskType.USER_SYNC: "userSyncTask",
}
#: Status of a result that shows none: counts as active, since nothing shows that it ended.
UNKNOWN_STATUS = -1


def objects(value: object) -> list[Mapping[str, object]]:
    """Return the JSON objects of a list; anything else is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def part(value: object, *path: str) -> object:
    """Walk down the keys of nested objects; None where one is missing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: object, limit: int = MAX_MESSAGE) -> str:
    """Return a string on one line without control characters, at most *limit* long; "" for anything else."""
    if not isinstance(value, str):
        return ""
    if len(value) <= limit and value.isprintable():
        return " ".join(value.split())
    # Bounded first: a body may be megabytes of one line.
    line = "".join(c if c.isprintable() else " " for c in value[: 4 * limit])
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def guid(value: object) -> str | None:
    """Return a GUID in lower case, None for anything else."""
    return value.lower() if isinstance(value, str) and _GUID.fullmatch(value) else None


def reference(value: object) -> str | None:
    """Return a GUID that points to something: the empty one does not."""
    found = guid(value)
    return None if found == EMPTY_GUID else found


def number(value: object) -> int | None:
    """Return an integer, None for anything else, infinity and what no database holds among it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST <= value <= _LARGEST:
        return None
    return int(value)


def time(value: object) -> datetime | None:
    """Return a UTC time; None for none: years before 1900 mean never, 9999 means no end."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 1900 <= moment.year < 9999 else None


def task(raw: Mapping[str, object]) -> Task | None:
    """Return the task, None when it lacks an id or a name."""
    identity, name = guid(raw.get("id")), raw.get("name")
    if identity is None or not isinstance(name, str):
        return None
    enabled = raw.get("enabled")
    kind = number(raw.get("taskType"))
    last = part(raw, "operational", "lastExecutionResult")
    return Task(
        id=identity,
        # Half a character, which JSON can carry and UTF-8 cannot, must not keep a reply from being written.
        name=name if name.isascii() else name.encode("utf-8", "replace").decode(),
        task_type=kind,
        enabled=enabled if isinstance(enabled, bool) else None,
        tags=tuple(tag for item in objects(raw.get("tags")) if isinstance(tag := item.get("name"), str)),
        custom_properties=tuple(
            (property_name, value)
            for item in objects(raw.get("customProperties"))
            if isinstance(property_name := part(item, "definition", "name"), str)
            and isinstance(value := item.get("value"), str)
        ),
        last=_last(last),
        app_available=_app_available(raw, kind),
        last_shown=isinstance(last, dict),
        app_id=reference(part(raw, "app", "id")),
        app_name=text(part(raw, "app", "name")),
    )


#: Messages of one result that are kept.
MAX_DETAILS = 20


def shows_everything(raw: Mapping[str, object]) -> bool:
    """Return whether a task is in its concrete form: the documented common form has no custom properties."""
    return "customProperties" in raw and "tags" in raw


def _app_available(raw: Mapping[str, object], kind: int | None) -> bool | None:
    if "app" in raw and raw["app"] is None and kind == TaskType.RELOAD:
        return False
    status = number(part(raw, "app", "availabilityStatus"))
    # 0 NotApplicable says nothing; 1 Available; 2-5 name what is missing.
    return None if not status else status == 1


def _last(raw: object) -> Execution | None:
    if not isinstance(raw, dict):
        return None
    execution = result({**raw, "details": None})  # its messages are of no use here, and slow to read
    # A task that never ran carries a result of status 0 without a time.
    never = execution.status == ExecutionStatus.NEVER_STARTED and execution.started is None
    return None if never else execution


def result(raw: Mapping[str, object]) -> Execution:
    """Return one execution result; `id` is its execution's, where it names it."""
    started = time(raw.get("startTime"))
    status = number(raw.get("status"))
    message, details = _messages(raw.get("details"))
    return Execution(
        id=reference(raw.get("executionID")),
        result_id=reference(raw.get("id")),
        began=time(raw.get("createdDate")) or started,
        status=UNKNOWN_STATUS if status is None else status,
        node=text(raw.get("executingNodeName")),
        started=started,
        stopped=time(raw.get("stopTime")),
        duration_ms=number(raw.get("duration")),
        message=message,
        details=details,
        task_id=reference(raw.get("taskID")),
    )


def _messages(details: object) -> tuple[str, tuple[str, ...]]:
    """Return the most relevant message, the last error or else the last of all; and the newest ones."""
    rows = sorted(
        (time(item.get("detailCreatedDate")) or _OLDEST, place, message, number(item.get("detailsType")) == 0)
        for place, item in enumerate(objects(details))
        if (message := text(item.get("message")))
    )
    messages = [message for _, _, message, _ in rows]
    errors = [message for _, _, message, is_error in rows if is_error]
    return (errors or messages or [""])[-1], tuple(messages[-MAX_DETAILS:])


def executions(sessions: object, results: object) -> tuple[Execution, ...]:
    """
    Merge sessions and results of `/full` lists into executions, newest first.

    A retry adds a result to its execution: the one started last has the
    state, the oldest creation is when the execution began. A session shows
    that the execution is active, whatever its result shows.
    """
    by_execution: dict[str, list[Execution]] = {}
    of_result: dict[str, str] = {}
    alive: dict[str, Mapping[str, object]] = {}
    rows = [result(raw) for raw in objects(results)]
    for raw in objects(sessions):
        session_id = reference(raw.get("id"))
        if session_id is None:
            continue
        alive[session_id] = raw
        by_execution[session_id] = []
        shown = raw.get("executionResult")
        if isinstance(shown, dict):
            row = result({**shown, "executionID": session_id})
            if row.result_id is not None:
                of_result[row.result_id] = session_id
            # First, so that the list's own row of the same result wins where times are equal.
            by_execution[session_id].append(row)
    for row in rows:
        owner = row.id or of_result.get(row.result_id or "")
        by_execution.setdefault(owner or f"result {row.result_id}", []).append(row)
    merged = [_merge(rows, alive.get(owner), owner) for owner, rows in by_execution.items()]
    return tuple(sorted(merged, key=_age, reverse=True))


def _age(execution: Execution) -> datetime:
    return execution.began or _OLDEST


def _merge(rows: Iterable[Execution], session: Mapping[str, object] | None, owner: str) -> Execution:
    rows = list(rows)
    # max() keeps the first of equals: pass the later rows first.
    newest = max(reversed(rows), key=lambda row: row.started or row.began or _OLDEST, default=None)
    task_id = next((row.task_id for row in rows if row.task_id is not None), None)
    began = [moment for moment in (row.began for row in rows) if moment is not None]
    if session is not None and (created := time(session.get("createdDate"))) is not None:
        began.append(created)
    user = session.get("user") if session is not None else None
    return Execution(
        id=guid(owner),
        result_id=newest.result_id if newest else None,
        began=min(began, default=None),
        status=newest.status if newest else ExecutionStatus.TRIGGERED,
        session=session is not None,
        user=text(user),
        node=newest.node if newest else "",
        started=newest.started if newest else None,
        stopped=newest.stopped if newest else None,
        duration_ms=newest.duration_ms if newest else None,
        message=newest.message if newest else "",
        details=newest.details if newest else (),
        abort_reason=(number(session.get("abortReason")) or 0) if session is not None else 0,
        earlier_results=tuple(
            {row.result_id: None for row in rows if row.result_id and row.result_id != newest.result_id}
        )
        if newest
        else (),
        task_id=task_id or _task_of(session),
    )


def _task_of(session: Mapping[str, object] | None) -> str | None:
    """Return the id of the task that a session names, whatever kind it is of."""
    named = (reference(part(session, kind, "id")) for kind in SESSION_TASKS.values())
    return next((one for one in named if one is not None), None)

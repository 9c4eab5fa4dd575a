"""One request in a few words: from where it came, what it asks for, what became of it. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from butler_mqtt.contract import replies
from butler_mqtt.domain.states import StartState
from butler_mqtt.journal.request_rows import MAX_BEGIN, RequestRows
from butler_mqtt.printable import counted

Row = Mapping[str, Any]

#: Names and selectors that are written out; of more only the number.
_SHOWN = 2
#: Characters that a list shows of what was not understood.
_SHOWN_RECEIVED = 40
#: Keys of a request that select tasks, in the order in which they are shown.
_SELECTORS = ("taskId", "taskName", "tag", "customProperty")
#: States of starts that nobody asked for.
_WRONG = frozenset(
    {
        StartState.FAILED,
        StartState.ABORTED,
        StartState.SKIPPED_BY_QLIK,
        StartState.DENIED,
        StartState.NOT_STARTED,
        StartState.EXPIRED,
        StartState.CANCELLED,
        StartState.UNKNOWN,
    }
)
#: Of these, the states of starts for which nothing began, as far as is known.
_NOTHING = _WRONG - {StartState.FAILED, StartState.ABORTED, StartState.SKIPPED_BY_QLIK}


def origin(request_rows: RequestRows) -> str:
    """Return the door with the rule if one made it, the token shown, whose it is, what it calls itself."""
    return origin_of(request_rows.request, (row["principal"] for row in request_rows.deliveries))


def origin_of(request: Row, tokens: Iterable[str | None]) -> str:
    """Return the same of a request's row and the names of the *tokens* shown, None where none was."""
    door = request["door"] if request["rule"] is None else f"{request['door']} {request['rule']}"
    parts = [door, *(f"token {name}" for name in dict.fromkeys(tokens) if name)]
    identity, stated = request["identity"], request["sender"]
    if identity:
        parts.append(identity)
    if stated and stated != identity:
        parts.append(f"calls itself {stated}" if identity else stated)
    return ", ".join(parts)


def asked(request_rows: RequestRows, as_id: Callable[[str], str] = str) -> str:
    """Return what selects the tasks; ids as the names of their tasks if these are known, else by *as_id*."""
    document = json.loads(request_rows.request["document"] or "{}")
    names = {start["task_id"]: start["task_name"] for start in request_rows.starts}
    selectors = [
        _selector(kind, value, names, as_id)
        for holder in (document, *document.get("stages", ()))
        for kind in _SELECTORS
        for value in _listed(holder.get(kind, []))
    ]
    if "cancel" in document:
        return f"cancel {as_id(document['cancel'])}"
    if not selectors:
        return ", ".join(sorted(document)) or received(request_rows, _SHOWN_RECEIVED)
    return _some(selectors) + (" (dry run)" if document.get("dryRun") else "")


def received(request_rows: RequestRows, length: int = MAX_BEGIN) -> str:
    """Return what came in place of a request, as one line: the first *length* characters of it."""
    if not request_rows.deliveries:
        return "-"
    first = request_rows.deliveries[0]
    # SQLite has NULL for the beginning of an empty payload.
    text = " ".join(bytes(first["begin"] or b"").decode(errors="replace").split())
    if not text:
        return "nothing" if not first["size"] else f"{first['size']} blanks"
    whole = len(text) <= length and first["size"] <= MAX_BEGIN
    return text if whole else text[: length - 1] + "…"


def tasks(request_rows: RequestRows) -> str:
    """Return the tasks that the request means."""
    return _some([start["task_name"] for start in request_rows.starts]) if request_rows.starts else "-"


def state(request_rows: RequestRows, *, names: bool = True) -> tuple[str, str]:
    """Return what became of a request, with *names* of the tasks that went wrong, and the colour for it."""
    text, style = _state(request_rows, names=names)
    if request_rows.dead_letters:
        text += f"; {counted(len(request_rows.dead_letters), 'dead letter')}"
    return text + ("; held" if request_rows.held else ""), style


def outcome(request_rows: RequestRows) -> str | None:
    """Return the `outcome` of a reply at the end; None while something goes on, and for a refusal."""
    request = request_rows.request
    states = [
        (start["state"], start["execution_id"], start["skipped_result"]) for start in request_rows.starts
    ]
    if request["state"] != "closed" or any(replies.goes_on(*one[:2]) for one in states):
        return None
    if any(stage["state"] in {"waiting", "running"} for stage in request_rows.stages):
        return None
    return replies.outcome(states, _missing(request))


def _state(request_rows: RequestRows, *, names: bool) -> tuple[str, str]:
    request, parts = request_rows.request, []
    by_state: dict[str, list[Row]] = defaultdict(list)
    for start in request_rows.starts:
        by_state[start["state"]].append(start)
    for name, starts in by_state.items():
        failed = name in _WRONG
        parts.append(f"{len(starts)} {name}" + (_which(starts, names=names) if failed else ""))
    missing = len(_missing(request))
    if missing:
        parts.append(f"{missing} not found")
    text = ", ".join(parts)
    if request["state"] == "refused":
        return f"refused: {request['code']}", "red"
    if request["state"] != "closed":
        return (f"open: {text}" if text else "open"), "yellow"
    if not by_state and (cancelled := _cancelled(request)) is not None:
        return cancelled, "green"
    if _NOTHING.issuperset(by_state):
        return f"failed: {text or 'no task'}", "red"
    if missing or _WRONG.intersection(by_state):
        return text, "red"
    return text, "green" if outcome(request_rows) else "yellow"


def _cancelled(request: Row) -> str | None:
    """Return what a cancel has done, by its reply; None where the request is none."""
    reply: dict[str, Any] = json.loads(request["reply"] or "{}")
    if "cancelled" not in reply:
        return None
    counts = [
        f"{len(reply[key])} {word}"
        for key, word in (("tasksStopped", "stopped"), ("tasksRunning", "went on"))
        if reply.get(key)
    ]
    return ", ".join([f"{len(reply['tasksCancelled'])} cancelled", *counts])


def _which(starts: Sequence[Row], *, names: bool) -> str:
    codes = ", ".join(sorted({start["code"] for start in starts if start["code"]}))
    which = _some([start["task_name"] for start in starts]) if names else ""
    shown = ": ".join(part for part in (codes, which) if part)
    return f" ({shown})" if shown else ""


def _missing(request: Row) -> list[Any]:
    missing: list[Any] = json.loads(request["not_found"] or "[]")
    return missing


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _selector(kind: str, value: Any, names: Mapping[str, str], as_id: Callable[[str], str]) -> str:
    if kind == "taskId":
        name = names.get(str(value).lower())
        return f"task {name}" if name is not None else f"task {as_id(str(value))}"
    if kind == "customProperty":
        return f"{value['name']}={value['value']}"
    return f"{'task' if kind == 'taskName' else kind} {value}"


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")

"""The present state of a request, as `GET /v4/requests/{id}` shows it. Pure; made of the journal's rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from butler_mqtt.contract import replies, stage_summary, validation
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.model import Selector
from butler_mqtt.domain.states import RequestState, StartState

Row = Mapping[str, Any]

#: Columns of a start and its run that are shown when they hold something, by their key.
_SHOWN: Mapping[str, str] = {
    "stage": "stage",
    "executionId": "execution_id",
    "runningTaskId": "running_task",
    "code": "code",
    "details": "details",
    "reason": "reason",
    "behind": "behind",
    "result": "result",
    "durationMs": "duration_ms",
    "node": "node",
    "message": "message",
}
#: Those that say something only while it waits.
_OF_WAITING = frozenset({"reason", "behind"})


def request_status(
    request: Row,
    deliveries: Sequence[Row],
    starts: Sequence[Row],
    stages: Sequence[Row] = (),
    *,
    held: bool = False,
    places: Mapping[int, int] | None = None,
) -> dict[str, object]:
    """
    Return the present state of a request.

    Args:
        request: Its row in `journal.tables.requests`.
        deliveries: Its deliveries, oldest first.
        starts: Its starts as decided, each with the columns of its run that say how that ended.
        stages: Its stages in their order, if it has any.
        held: Nothing of it goes on until an operator resumes it, since a backup was restored.
        places: Of starts that wait for capacity, by their ids: those that come first have 1.

    Returns:
        The reply (docs/replies.md) as it would be now, and with it `state` (of
        `RequestState`), the times of the request, its deliveries, and for each
        start its own `state` and the `selectors` that matched it. `status` is
        `pending` until everything is decided, `finished` true when no execution
        is active or still to come; then `outcome` says what became of them.
        `held` is there, and true, for a request that is held.
    """
    state = request["state"]
    lists = _lists(request, starts, places or {})
    missing = json.loads(request["not_found"]) if request["not_found"] else []
    answer: dict[str, object] = {"requestId": request["request_id"]}
    if state == RequestState.REFUSED and request["reply"]:
        # The error that was replied, with the lists it came with.
        answer |= json.loads(request["reply"])
        missing = answer.get("tasksNotFound", missing)
    cancel = _cancel_reply(request)
    refused = "failed" if state == RequestState.REFUSED else replies.status(lists, missing)
    answer["status"] = "pending" if state in replies.OPEN else refused
    states = [(start["state"], start["execution_id"], start.get("skipped_result")) for start in starts]
    goes_on = any(replies.goes_on(*one[:2]) for one in states) or _have_open(stages)
    if cancel:
        answer |= cancel
    elif state == RequestState.CLOSED and not goes_on:
        answer["outcome"] = replies.outcome(states, missing)
    if stages:
        answer["stages"] = [_stage(stage, starts) for stage in stages]
    answer |= replies.in_order(lists, missing)
    answer |= {
        "state": state,
        "finished": state not in replies.OPEN and not goes_on,
        **({"held": True} if held else {}),
        **_origin(request),
        "receivedAt": stamp_ms(request["received_at"]),
        "expiresAt": stamp_ms(request["expires_at"]),
        "decidedAt": stamp_ms(request["decided_at"]),
        "closedAt": stamp_ms(request["closed_at"]),
        "deliveries": [_delivery(delivery) for delivery in deliveries],
    }
    return answer


def _origin(request: Row) -> dict[str, object]:
    """Return the door, the rule that made the request if one did, and whose it is, or says it is."""
    made_by = {} if request.get("rule") is None else {"rule": request["rule"]}
    return {"door": request["door"], **made_by, "sender": request["identity"] or request["sender"]}


def _have_open(stages: Sequence[Row]) -> bool:
    return any(stage["state"] in {"waiting", "running"} for stage in stages)


def _delivery(delivery: Row) -> dict[str, object]:
    return {
        "door": delivery["door"],
        "principal": delivery["principal"],
        "receivedAt": stamp_ms(delivery["received_at"]),
        "answeredAt": stamp_ms(delivery["answered_at"]),
    }


def _stage(stage: Row, starts: Sequence[Row]) -> dict[str, object]:
    tasks = sum(start["stage"] == stage["number"] and start["state"] != StartState.DENIED for start in starts)
    entry = stage_summary.entry(stage["number"], stage["name"], stage["state"], tasks)
    times = (("startedAt", "began_at"), ("endedAt", "ended_at"))
    return entry | {key: stamp_ms(stage[column]) for key, column in times if stage[column] is not None}


def _cancel_reply(request: Row) -> dict[str, Any]:
    """Return the reply of a cancel that has one; nothing of any other request."""
    if request["state"] != RequestState.CLOSED or not request["document"]:
        return {}
    if validation.reread(request["document"]).cancel is None:
        return {}
    reply: dict[str, Any] = json.loads(request["reply"])
    return reply


def _lists(request: Row, starts: Sequence[Row], places: Mapping[int, int]) -> replies.Lists:
    document = request["document"]
    selectors = validation.reread(document).selectors if document else ()
    lists: replies.Lists = {"tasksStarted": []}
    for start in starts:
        name, status = replies.place(start["state"])
        entry = _entry(start, status, selectors)
        if start["state"] == StartState.WAITING and start["reason"] == "capacity" and start["id"] in places:
            entry["place"] = places[start["id"]]
        lists.setdefault(name, []).append(entry)
    return lists


def _entry(start: Row, status: str, selectors: tuple[Selector, ...]) -> dict[str, object]:
    entry: dict[str, object] = {
        "taskId": start["task_id"],
        "taskName": start["task_name"],
        "status": status,
        "state": start["state"],
    }
    waits = start["state"] == StartState.WAITING
    entry |= {
        key: start[column]
        for key, column in _SHOWN.items()
        if start.get(column) is not None and (waits or key not in _OF_WAITING)
    }
    entry |= {
        key: stamp_ms(start[column])
        for key, column in (("startedAt", "started_at"), ("stoppedAt", "stopped_at"))
        if start[column] is not None
    }
    if start.get("skipped_result") is not None:
        entry["result"] = start["skipped_result"]
    if start["adopted"]:
        entry["adopted"] = True
    entry["selectors"] = [one.as_json() for one in _matched(start["kinds"], selectors)]
    return entry


def _matched(kinds: str, selectors: tuple[Selector, ...]) -> list[Selector]:
    """Return the selectors that *kinds* names as `kind:position`, or `kind` for all, separated by commas."""
    matched = []
    for one in filter(None, kinds.split(",")):
        kind, _, position = one.partition(":")
        if position:
            matched.append(selectors[int(position)])
        else:
            matched += [selector for selector in selectors if selector.kind == kind]
    return matched

"""From a request in memory to what its senders are told. Pure."""

from __future__ import annotations

from butler_mqtt.contract import replies
from butler_mqtt.domain.open_work import OpenRequest, OpenStart
from butler_mqtt.domain.states import StartState
from butler_mqtt.errors import RequestError

#: A request all of whose starts ended with one of these is refused as a whole.
_WHOLE = {
    "expired": "Request expired",
    "qrs_unavailable": "Qlik Sense cannot be reached",
    "cancelled": "Request cancelled",
}

#: Start states in which an execution may still come or go on.
_UNFINISHED = frozenset({StartState.PLANNED, StartState.WAITING, StartState.RUNNING})


def goes_on(start: OpenStart) -> bool:
    """Tell whether an execution may still come or end; one without an id cannot be followed."""
    if start.state is StartState.RUNNING:
        return start.execution_id is not None
    return start.state in _UNFINISHED


def whole_refusal(opened: OpenRequest) -> RequestError | None:
    """Give the refusal of a request for which nothing at all was begun, for one common reason."""
    codes = {start.code for start in opened.starts}
    if len(codes) != 1 or opened.not_found:
        return None
    code = codes.pop()
    if code not in _WHOLE:
        return None
    return RequestError(code, _WHOLE[code], opened.starts[0].details or _WHOLE[code])


def reply(opened: OpenRequest) -> dict[str, object]:
    """Compose the reply from what has become of the starts so far."""
    return replies.reply(opened.request_id, map(_report, opened.starts), opened.not_found)


def _report(start: OpenStart) -> replies.StartReport:
    result: dict[str, object] = {}
    outcome = start.outcome
    if outcome is not None and start.state is not StartState.RUNNING:
        result = {
            "result": start.state.value,
            "durationMs": outcome.duration_ms,
            "node": outcome.node,
            "message": outcome.message,
        }
    return replies.StartReport(
        start.task.id,
        start.task.name,
        start.state,
        start.execution_id,
        start.adopted,
        start.code,
        start.details,
        start.reason,
        start.behind,
        result,
    )

"""
Which request is meant where several had one id.

One that is refused with `request_id_conflict` does not hold the id it came with,
and an id that was freed may be used again. Two requests with the same fingerprint
are the same to an operator, two with different ones are not.
"""

from __future__ import annotations

from collections.abc import Sequence

from butler_mqtt.clock import from_ms, local
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.journal.request_rows import RequestRows

#: Limit of `sender`.
MAX_SENDER = 128
#: Requests listed for a choice: the newest.
MAX_LISTED = 20


class Declined(Exception):
    """Nothing is done; the text says why, and what to do."""


def choose(
    request_id: str, requests_rows: Sequence[RequestRows], candidates: Sequence[RequestRows]
) -> RequestRows:
    """
    Return the newest of *candidates*, all of which ask for the same.

    Args:
        request_id: The id of all of them.
        requests_rows: All requests with the id, oldest first; their numbers are those of `requests ID`.
        candidates: Those that may be meant; at least one.

    Raises:
        Declined: They ask for different things.
    """
    if len({one.request["fingerprint"] for one in candidates}) > 1:
        raise Declined(
            f"several requests had the id {request_id}; name one with --number:\n"
            + "\n".join(_line(requests_rows.index(one) + 1, one) for one in candidates[-MAX_LISTED:])
        )
    return candidates[-1]


def numbered(request_id: str, requests_rows: Sequence[RequestRows], number: int) -> RequestRows:
    """Return the request with that number; raises Declined when there is none."""
    if number > len(requests_rows):
        raise Declined(f"{len(requests_rows)} requests had the id {request_id}, there is no number {number}")
    return requests_rows[number - 1]


def owner(requests_rows: Sequence[RequestRows]) -> int | None:
    """Return the number of the request that holds the id."""
    return next((number for number, one in enumerate(requests_rows, 1) if one.request["holds_id"]), None)


def retry_sender(request_rows: RequestRows, requests_rows: Sequence[RequestRows]) -> str:
    """Return the `sender` of a retry; it names the time of arrival too where others had the id."""
    name = f"retry of {request_rows.request['request_id']}"
    if len({one.request["fingerprint"] for one in requests_rows if one.request["document"] is not None}) > 1:
        name += f" arrived {stamp_ms(request_rows.request['received_at'])}"
    return name[:MAX_SENDER]


def _line(number: int, request_rows: RequestRows) -> str:
    request = request_rows.request
    arrived = from_ms(request["received_at"])
    when = "" if arrived is None else local(arrived).isoformat(" ", "milliseconds")
    code = f", {request['code']}" if request["code"] else ""
    asked = request["document"] or "a body that could not be parsed"
    return f"  --number {number}  arrived {when}  {request['state']}{code}  asked: {asked[:200]}"

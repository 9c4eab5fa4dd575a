"""`GET /v4/requests`: the newest requests that fit some filters, a page at a time."""

from __future__ import annotations

import asyncio
import difflib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from butler_mqtt.contract import schema_errors
from butler_mqtt.contract.timestamps import FILTER_TIMES, filter_time
from butler_mqtt.errors import JournalError
from butler_mqtt.http.backend import Backend, ListQuery
from butler_mqtt.http.error_responses import HttpRefusal, json_response

#: Requests of a page, by default and at most.
LIMIT, MAX_LIMIT = 50, 500
#: Values of `state`.
STATES = ("open", "succeeded", "failed", "refused", "cancelled")

_Value = TypeVar("_Value")

_NAMES = ("state", "task", "tag", "sender", "since", "code", "limit", "after")
_PLACE = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")
_MAX_TEXT = 256


class RequestList:
    """
    Answers with a page.

    Args:
        backend: Reads it from the journal, and knows who sees what.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def __call__(self, request: Request) -> Response:
        """Answer one call; raises RequestError `invalid_request` for a filter that is none."""
        query = replace(_query(request), caller=self._backend.caller(request.scope["state"]))
        try:
            found = await asyncio.to_thread(self._backend.listing, query)
        except JournalError as error:
            raise HttpRefusal("not_recorded", "Journal cannot be read", str(error)) from error
        # One more than asked for tells whether there are more.
        page = found[: query.limit]
        place = page[-1][0] if len(found) > query.limit else None
        return json_response(
            {
                "requests": [state for _, state in page],
                "next": None if place is None else f"{place[0]}-{place[1]}",
            }
        )


def _query(request: Request) -> ListQuery:
    parameters = request.query_params
    for name in parameters:
        if name not in _NAMES:
            near = difflib.get_close_matches(name.lower(), _NAMES, n=1)
            hint = f", did you mean '{near[0]}'?" if near else f"; known are {', '.join(_NAMES)}"
            raise _invalid(f"unknown parameter {schema_errors.shown(name)}{hint}")
        if len(parameters.getlist(name)) > 1:
            raise _invalid(f"{name} is given twice")
    state = parameters.get("state")
    if state is not None and state not in STATES:
        raise _invalid(f"state is {schema_errors.shown(state)}, not one of {', '.join(STATES)}")
    texts = {name: parameters.get(name) for name in ("task", "tag", "sender", "code")}
    for name, text in texts.items():
        if text is not None and not 0 < len(text) <= _MAX_TEXT:
            raise _invalid(f"{name} must have 1 to {_MAX_TEXT} characters")
    return ListQuery(
        state=state,
        task=texts["task"],
        tag=texts["tag"],
        sender=texts["sender"],
        code=texts["code"],
        since=_read(parameters.get("since"), "since", filter_time, f"neither {FILTER_TIMES}"),
        limit=_read(parameters.get("limit"), "limit", _limit, f"not a whole number, 1 to {MAX_LIMIT}")
        or LIMIT,
        before=_read(parameters.get("after"), "after", _place, "not what `next` of a page was"),
    )


def _read(text: str | None, name: str, read: Callable[[str], _Value], wrong: str) -> _Value | None:
    if text is None:
        return None
    try:
        return read(text)
    except ValueError:
        raise _invalid(f"{name} is {schema_errors.shown(text)}, {wrong}") from None


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise ValueError(text)
    return int(text)


def _place(text: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(found[1]), int(found[2])


def _invalid(details: str) -> HttpRefusal:
    return HttpRefusal("invalid_request", "Invalid request", details)

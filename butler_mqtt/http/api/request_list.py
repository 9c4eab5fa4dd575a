"""`GET /v4/requests`: the newest requests that fit some filters, a page at a time."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from butler_mqtt.contract.timestamps import FILTER_TIMES, filter_time
from butler_mqtt.errors import JournalError
from butler_mqtt.http.api.query_parameters import QueryParameters
from butler_mqtt.http.backend import Backend, ListQuery
from butler_mqtt.http.error_responses import HttpRefusal, json_response

#: Values of `state`.
STATES = ("open", "succeeded", "failed", "refused", "cancelled")

_NAMES = ("state", "task", "tag", "sender", "since", "code", "limit", "after")
_PLACE = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")


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
        caller = self._backend.caller(request.scope["state"])
        query = replace(read_query(request.query_params), caller=caller)
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
                "next": None if place is None else written_place(place),
            }
        )


def read_query(given: QueryParams) -> ListQuery:
    """Read the filters of a list; raises HttpRefusal `invalid_request`, naming the fault."""
    parameters = QueryParameters(given, _NAMES)
    return ListQuery(
        state=parameters.one_of("state", STATES),
        task=parameters.text("task"),
        tag=parameters.text("tag"),
        sender=parameters.text("sender"),
        code=parameters.text("code"),
        since=parameters.read("since", filter_time, f"neither {FILTER_TIMES}"),
        limit=parameters.limit(),
        before=parameters.read("after", _place, "not what `next` of a page was"),
    )


def written_place(place: tuple[int, int]) -> str:
    """Write a place in the list, as `after` takes it."""
    return f"{place[0]}-{place[1]}"


def _place(text: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(found[1]), int(found[2])

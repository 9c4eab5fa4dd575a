"""`GET /v4/tasks`: the tasks that the journal knows with their last runs, a page at a time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from butler_mqtt.contract import schema_errors
from butler_mqtt.errors import JournalError
from butler_mqtt.http.api.query_parameters import QueryParameters, invalid
from butler_mqtt.http.backend import Backend, TaskQuery
from butler_mqtt.http.error_responses import HttpRefusal, json_response

_NAMES = ("tag", "limit", "after")


class TaskList:
    """
    Answers with a page.

    Args:
        backend: Reads it from the journal, and knows who sees what.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def __call__(self, request: Request) -> Response:
        """Answer one call; raises RequestError `invalid_request` for a parameter that is none."""
        parameters = QueryParameters(request.query_params, _NAMES)
        query = TaskQuery(
            parameters.limit(),
            parameters.text("tag"),
            parameters.text("after"),
            self._backend.caller(request.scope["state"]),
        )
        try:
            found = await asyncio.to_thread(self._backend.tasks, query)
        except JournalError as error:
            raise HttpRefusal("not_recorded", "Journal cannot be read", str(error)) from error
        if found is None:
            raise invalid(f"after is {schema_errors.shown(query.after)}, not what `next` of a page was")
        page = found[: query.limit]
        # One more than asked for tells whether there are more.
        after = page[-1][0] if len(found) > query.limit else None
        return json_response({"tasks": [state for _, state in page], "next": after})

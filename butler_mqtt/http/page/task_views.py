"""*Tasks*: those that requests meant, with their last runs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from butler_mqtt.clock import now_ms
from butler_mqtt.http.api.query_parameters import QueryParameters, invalid
from butler_mqtt.http.backend import TaskQuery
from butler_mqtt.http.page.page_backend import PageBackend
from butler_mqtt.http.page.view import PageView, ViewCall
from butler_mqtt.http.page.wording import local

_NAMES = ("tag", "limit", "after")


def views(backend: PageBackend) -> list[PageView]:
    """Return the view."""

    def read(call: ViewCall) -> dict[str, Any]:
        given = {name: value.strip() for name, value in call.query.items() if value.strip()}
        parameters = QueryParameters(QueryParams(given), _NAMES)
        query = TaskQuery(parameters.limit(), parameters.text("tag"), parameters.text("after"))
        found = backend.tasks(query)
        if found is None:
            raise invalid("the list has changed since; begin again with its first page")
        after = None
        if len(found) > query.limit:
            after = "?" + urlencode({**given, "after": found[query.limit - 1][0]})
        return {
            "title": "Tasks",
            "tasks": [_shown(dict(task)) for _, task in found[: query.limit]],
            "tag": given.get("tag", ""),
            "later": "after" in given,
            "next": after,
            "operates": call.operates,
        }

    return [PageView("tasks", "/ui/tasks", read, "tasks_live.html", "tasks_still.html")]


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    expected = task["nextExpectedAt"]
    late = expected is not None and local(expected).timestamp() * 1000 < now_ms()
    return {**task, "late": late, "last": next(iter(task["lastRuns"]), None)}

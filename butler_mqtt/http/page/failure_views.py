"""*Failures*: what did not succeed, why, the end of the script log, and the way to start it again."""

from __future__ import annotations

from typing import Any

from butler_mqtt.http.api.query_parameters import QueryParameters
from butler_mqtt.http.api.request_list import read_query, written_place
from butler_mqtt.http.page.page_backend import PageBackend
from butler_mqtt.http.page.view import PageView, ViewCall

#: What counts as a failure: of a start, of a request without starts, and refusals as a whole.
FAILURES = ("failed", "aborted", "skippedByQlik", "notStarted", "unknown", "denied", "refused")
#: Requests of a page.
_LIMIT = 25


def views(backend: PageBackend) -> list[PageView]:
    """Return the view."""

    def read(call: ViewCall) -> dict[str, Any]:
        QueryParameters(call.query, ("after",))
        found = backend.failures(_LIMIT, read_query(call.query).before)
        page = found[:_LIMIT]
        return {
            "title": "Failures",
            "failures": [one for _, one in page],
            "later": "after" in call.query,
            "next": f"?after={written_place(page[-1][0])}" if len(found) > _LIMIT else None,
            "operates": call.operates,
        }

    return [PageView("failures", "/ui/failures", read, "failures_live.html")]

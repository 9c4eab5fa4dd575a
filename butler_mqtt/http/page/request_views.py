"""*Requests*: the list with its filters, and one request whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from butler_mqtt.contract import schema_errors
from butler_mqtt.http.api.query_parameters import LIMIT
from butler_mqtt.http.api.request_list import STATES, read_query, written_place
from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.page.page_backend import PageBackend
from butler_mqtt.http.page.view import PageView, ViewCall

#: Filters that the form has, besides `limit` and `after`.
_FIELDS = ("state", "task", "tag", "sender", "since", "code")
#: What stands above a request after something was done with it.
NOTICES: Mapping[str, str] = {
    "started": "The request is sent. This page shows what becomes of it.",
    "retried": "What failed is asked for again in this request. This page shows what becomes of it.",
    "cancelled": "The request is taken back: what had not begun does not begin.",
    "discarded": "Its dead letters are discarded.",
}


def views(backend: PageBackend) -> list[PageView]:
    """Return the two views."""

    def listed(call: ViewCall) -> dict[str, Any]:
        # A form sends its empty fields too.
        given = {name: value.strip() for name, value in call.query.items() if value.strip()}
        query = read_query(QueryParams(given))
        found = backend.requests(query)
        page = found[: query.limit]
        after = None
        if len(found) > query.limit:
            after = "?" + urlencode({**given, "after": written_place(page[-1][0])})
        return {
            "title": "Requests",
            "lines": [line for _, line in page],
            "filters": {name: given.get(name, "") for name in _FIELDS},
            "filtered": any(given.get(name) for name in _FIELDS),
            "later": "after" in given,
            "states": STATES,
            "next": after,
            "limit": query.limit if query.limit != LIMIT else None,
        }

    def one(call: ViewCall) -> dict[str, Any]:
        request_id = call.path["request_id"]
        pages = backend.request(request_id) if schema_errors.REQUEST_ID.match(request_id) else []
        if not pages:
            shown = schema_errors.shown(request_id)
            details = f"no request {shown} is known; it may be older than retentionDays"
            raise HttpRefusal("not_found", "No such request", details)
        notice = NOTICES.get(call.query.get("notice", ""))
        return {
            "title": f"Request {request_id}",
            "request_id": request_id,
            "pages": pages,
            "notice": notice,
            "operates": call.operates,
        }

    return [
        PageView("requests", "/ui/requests", listed, "requests_live.html", "requests_still.html"),
        PageView("requests", "/ui/requests/{request_id}", one, "request_live.html"),
    ]

"""*Now*: what runs, what waits and what for."""

from __future__ import annotations

from typing import Any

from butler_mqtt.clock import now_ms
from butler_mqtt.http.page.page_backend import PageBackend
from butler_mqtt.http.page.view import PageView, ViewCall


def views(backend: PageBackend) -> list[PageView]:
    """Return the view."""

    def read(_call: ViewCall) -> dict[str, Any]:
        return {"title": "Now", "now": now_ms(), "going_on": backend.going_on()}

    return [PageView("now", "/ui/", read, "now_live.html")]

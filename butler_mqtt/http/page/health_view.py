"""*Health*: the daemon, what it talks to, what it keeps, and what ends soon."""

from __future__ import annotations

from typing import Any

from butler_mqtt.http.page.page_backend import PageBackend
from butler_mqtt.http.page.view import PageView, ViewCall


def views(backend: PageBackend) -> list[PageView]:
    """Return the view."""

    def read(_call: ViewCall) -> dict[str, Any]:
        facts = backend.health()
        return {
            "title": "Health",
            "facts": facts,
            "bad": sum(fact.tone == "bad" for fact in facts),
            "soon": sum(fact.tone == "busy" for fact in facts),
        }

    return [PageView("health", "/ui/health", read, "health_live.html")]

"""*Rules*, where there are some: where their messages come from, and what became of these."""

from __future__ import annotations

from typing import Any

from butler_mqtt.http.page.page_backend import PageBackend
from butler_mqtt.http.page.view import PageView, ViewCall


def views(backend: PageBackend) -> list[PageView]:
    """Return the view."""

    def read(_call: ViewCall) -> dict[str, Any]:
        return {"title": "Rules", "rules": backend.rules()}

    return [PageView("rules", "/ui/rules", read, "rules_live.html")]

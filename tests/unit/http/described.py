"""The API's description as tests read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from butler_mqtt.http.api import openapi_completion

DOCUMENT = openapi_completion.document()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def bodies(kind: str) -> dict[str, Any]:
    """Return the examples of the request body *kind*, `Start` or `StartOfPath`, by name."""
    content = DOCUMENT["components"]["requestBodies"][kind]["content"]["application/json"]
    return {name: example["value"] for name, example in content["examples"].items()}

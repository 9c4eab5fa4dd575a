"""The API's description, OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0): the file, completed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from butler_mqtt import __version__


@cache
def document() -> dict[str, Any]:
    """
    Return the description as a JSON object; not to be changed.

    `schemas/openapi.json` lacks what has its home elsewhere: the version, the schemas of
    requests and replies, and the `PUT` that is identical to each `POST` that starts.
    """
    described: dict[str, Any] = json.loads(_text("openapi.json"))
    described["info"]["version"] = __version__
    described["components"]["schemas"] |= {
        name: _component(name, file)
        for name, file in (("Request", "request.schema.json"), ("Reply", "reply.schema.json"))
    }
    for path, operations in described["paths"].items():
        if path.startswith("/v4/reloadtask/") and (post := operations.get("post")):
            operations["put"] = post | {"operationId": f"{post['operationId']}Put"}
    return described


def resolved(described: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of *described* that *value* refers to, *value* itself when it is no reference."""
    if "$ref" not in value:
        return value
    part: Any = described
    for key in value["$ref"].removeprefix("#/").split("/"):
        part = part[key]
    return resolved(described, part)


def _component(name: str, file: str) -> dict[str, Any]:
    """Return the schema of *file* with its references as they are within the description."""
    text = _text(file).replace('"#/', f'"#/components/schemas/{name}/')
    # Here the dialect of regular expressions is ECMAScript's, in which $ has no exception to be closed.
    schema: dict[str, Any] = json.loads(text.replace(r"(?!\\n)", ""))
    del schema["$schema"], schema["$id"]  # its references are to the description
    return schema


def _text(name: str) -> str:
    return resources.files("butler_mqtt").joinpath("schemas", name).read_text("utf-8")

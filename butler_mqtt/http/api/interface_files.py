"""The schemas of requests, replies and events, and the AsyncAPI document, as they are served."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import butler_mqtt
from butler_mqtt.contract import schema_errors
from butler_mqtt.http.error_responses import HttpRefusal

_SCHEMAS = ("request", "reply", "event")
#: Where the document finds the schemas in the sources and in an installation.
_BESIDE = "../butler_mqtt/schemas/"
_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}


def routes() -> list[Route]:
    """Return the paths; what is at them changes with the program only."""

    async def schema(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _SCHEMAS:
            details = (
                f"there is no schema {schema_errors.shown(name)}; /schemas/NAME.schema.json has "
                + ", ".join(_SCHEMAS)
            )
            raise HttpRefusal("not_found", "Not found", details)
        return Response(_schema(name), headers=_HEADERS, media_type="application/schema+json")

    async def asyncapi(_request: Request) -> Response:
        return Response(_asyncapi(), headers={**_HEADERS, "Content-Type": "application/yaml"})

    return [
        Route("/schemas/{name}.schema.json", schema, methods=["GET"]),
        Route("/asyncapi.yaml", asyncapi, methods=["GET"]),
    ]


@cache
def _schema(name: str) -> str:
    return resources.files("butler_mqtt").joinpath("schemas", f"{name}.schema.json").read_text("utf-8")


@cache
def _asyncapi() -> str:
    """Return the document with its references as paths of this server."""
    package = Path(butler_mqtt.__file__).parent
    installed = package / "schemas" / "asyncapi.yaml"
    file = installed if installed.exists() else package.parent / "docs" / "asyncapi.yaml"
    return file.read_text("utf-8").replace(_BESIDE, "schemas/")

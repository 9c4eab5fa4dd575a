"""The API's description, OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0), made from the request schema."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from butler_mqtt import __version__
from butler_mqtt.contract import request_schema
from butler_mqtt.http.api import examples

_INTRODUCTION = (
    "Starts Qlik Sense tasks when other systems ask, once, and tells them what happened.\n\n"
    "`POST` and `PUT` are identical. An object, or no body, gets the daemon's own answer; an array is "
    "Butler's form and gets Butler's answer. A request that takes longer than `restWaitSeconds`, or is "
    "sent with `Prefer: respond-async`, gets 202 and a `Location`. Send the header `Idempotency-Key` (or "
    "`requestId` in the body) and repeat a request as often as needed: it has its effect once."
)
_GUID = {"type": "string", "format": "uuid", "examples": [examples.TASK]}
_REQUEST_ID = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}


@cache
def document() -> dict[str, Any]:
    """Give the description as a JSON object; not to be changed."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "butler-mqtt",
            "version": __version__,
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {}],
        "tags": [
            {"name": "tasks", "description": "Start tasks and ask what became of a request"},
            {"name": "monitoring", "description": "Health and metrics; /healthz and /readyz need no token"},
            {"name": "description", "description": "This description"},
        ],
        "paths": {
            "/v4/reloadtask/start": _start("start", "Start the tasks that the body names", examples.BODIES),
            "/v4/reloadtask/-/start": _start(
                "startDash", "As /v4/reloadtask/start, Butler's spelling", examples.BODIES
            ),
            "/v4/reloadtask/{taskId}/start": _start(
                "startTask",
                "Start the task of the path and those that the body names",
                examples.PATH_BODIES,
                [{"name": "taskId", "in": "path", "required": True, "schema": _GUID}],
            ),
            "/v4/requests/{requestId}": {"get": _state()},
            "/healthz": {"get": _check("healthz", "Whether the daemon turns")},
            "/readyz": {"get": _check("readyz", "Whether requests are taken and can be carried out")},
            "/metrics": {"get": _page("metrics", "Metrics for Prometheus", "text/plain", "monitoring")},
            "/openapi.json": {
                "get": _page("openapi", "This description as JSON", "application/json", "description")
            },
            "/docs": {"get": _page("docs", "This description as a page", "text/html", "description")},
        },
        "components": {
            "schemas": {
                "Request": _request_schema(),
                "ButlerItems": _butler_items(),
                "Reply": _reply(),
                "ButlerReply": _butler_reply(),
                "Accepted": _object({"requestId": _REQUEST_ID, "status": {"const": "accepted"}}),
                "Refusal": _refusal(),
                "State": {
                    "description": "The reply as it would be now, with the states behind it",
                    "type": "object",
                    "required": ["requestId", "status", "state", "tasksStarted", "deliveries"],
                },
                "Checks": _object(
                    {
                        "status": {"enum": ["ok", "failed"]},
                        "checks": {"type": "object", "additionalProperties": {"type": "string"}},
                    }
                ),
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `butler-mqtt token add`",
                }
            },
        },
    }


def _start(
    operation: str,
    summary: str,
    bodies: Mapping[str, tuple[str, Any]],
    parameters: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    described = {
        "tags": ["tasks"],
        "summary": summary,
        "parameters": [
            *parameters,
            {
                "name": "allTaskIdsMustExist",
                "in": "query",
                "description": "For Butler's array: start no task by id unless every id exists",
                "schema": {"type": "boolean", "default": False},
            },
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The requestId: the request has its effect once, however often it is sent",
                "schema": _REQUEST_ID,
                "example": "erp-4711",
            },
            {
                "name": "Prefer",
                "in": "header",
                "description": "`respond-async`: answer 202 as soon as the request is recorded",
                "schema": {"type": "string"},
                "example": "respond-async",
            },
        ],
        "requestBody": {
            "required": operation != "startTask",
            "content": {
                "application/json": {
                    "schema": {"anyOf": [_ref("Request"), _ref("ButlerItems")]},
                    "examples": _named(bodies),
                }
            },
        },
        "responses": {
            "200": {
                "description": "What became of each task, Butler's answer to Butler's array",
                "headers": {"Content-Location": {"schema": {"type": "string"}}},
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [_ref("Reply"), _ref("ButlerReply")]},
                        "examples": _named(examples.REPLIES),
                    }
                },
            },
            "202": {
                "description": "Recorded; what becomes of it is told at `Location`",
                "headers": {"Location": {"schema": {"type": "string"}, "example": "/v4/requests/erp-4711"}},
                "content": {"application/json": {"schema": _ref("Accepted"), "example": examples.ACCEPTED}},
            },
            **_refusals(examples.REFUSALS),
        },
    }
    return {
        "post": {**described, "operationId": operation},
        "put": {**described, "operationId": f"{operation}Put"},
    }


def _state() -> dict[str, Any]:
    return {
        "tags": ["tasks"],
        "summary": "Tell where a request is",
        "operationId": "request",
        "parameters": [
            {
                "name": "requestId",
                "in": "path",
                "required": True,
                "schema": _REQUEST_ID,
                "example": "erp-4711",
            },
            {
                "name": "wait",
                "in": "query",
                "description": "Seconds to wait for its end, before it is told all the same",
                "schema": {"type": "integer", "minimum": 0, "maximum": 60, "default": 0},
                "example": 30,
            },
        ],
        "responses": {
            "200": {
                "description": "Its present state; `status` is `pending` until everything is decided",
                "content": {"application/json": {"schema": _ref("State"), "example": examples.STATE}},
            },
            "404": {
                "description": "No such request",
                "content": {
                    "application/json": {
                        "schema": _ref("Refusal"),
                        "example": {
                            "error": "Not found",
                            "details": "no request 'erp-4799' is known; it may be older than retentionDays",
                            "code": "not_found",
                        },
                    }
                },
            },
            **_refusals({status: examples.REFUSALS[status] for status in (400, 401, 413, 429, 503)}),
            **_forbidden(),
        },
    }


def _check(operation: str, summary: str) -> dict[str, Any]:
    def answer(description: str, example: object) -> dict[str, Any]:
        return {
            "description": description,
            "content": {"application/json": {"schema": _ref("Checks"), "example": example}},
        }

    return {
        "tags": ["monitoring"],
        "summary": summary,
        "operationId": operation,
        "security": [],
        "responses": {
            "200": answer("All is well", examples.HEALTHY),
            "503": answer("Something is not", examples.UNWELL),
            **_refusals({status: examples.REFUSALS[status] for status in (413, 429)}),
            **_forbidden(),
        },
    }


def _page(operation: str, summary: str, media_type: str, tag: str) -> dict[str, Any]:
    schema = {"type": "object"} if media_type == "application/json" else {"type": "string"}
    return {
        "tags": [tag],
        "summary": summary,
        "operationId": operation,
        "responses": {
            "200": {"description": summary, "content": {media_type: {"schema": schema}}},
            **_refusals({status: examples.REFUSALS[status] for status in (401, 413, 429)}),
            **_forbidden(),
        },
    }


def _refusals(wanted: Mapping[int, tuple[str, Mapping[str, object]]]) -> dict[str, Any]:
    return {
        str(status): {
            "description": meaning,
            "content": {
                "application/json": {
                    "schema": _ref("Refusal"),
                    "examples": {code: {"value": value} for code, value in by_code.items()},
                }
            },
        }
        for status, (meaning, by_code) in wanted.items()
    }


def _forbidden() -> dict[str, Any]:
    return _refusals({403: ("A page in a browser may have sent it", {"forbidden": examples.FORBIDDEN})})


def _named(found: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    return {name: {"summary": summary, "value": value} for name, (summary, value) in found.items()}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


# ---- schemas


def _request_schema() -> dict[str, Any]:
    """Give the request schema with its references as they are within this document."""
    schema = copy.deepcopy(request_schema.SCHEMA)
    schema.pop("$schema", None)
    schema["description"] = "What a sender asks, the same through every door; at least one selector is needed"
    return {key: _rooted(value) for key, value in schema.items()}


def _rooted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rooted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rooted(one) for one in value]
    if isinstance(value, str):
        # Here the dialect of regular expressions is ECMAScript's, in which $ has no exception to be closed.
        return value.replace("#/properties/", "#/components/schemas/Request/properties/").removesuffix(
            "(?!\\n)"
        )
    return value


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


def _array(*required: str) -> dict[str, Any]:
    return {
        "type": "array",
        "items": {
            "type": "object",
            "required": list(required),
            "properties": {key: {} if key == "taskId" else {"type": "string"} for key in required},
        },
    }


def _butler_items() -> dict[str, Any]:
    def item(kind: str, *keys: str) -> dict[str, Any]:
        payload = _object({key: {"type": "string", "minLength": 1, "maxLength": 256} for key in keys})
        return _object({"type": {"const": kind}, "payload": payload})

    return {
        "description": "Butler's array body",
        "type": "array",
        "items": {
            "anyOf": [
                item("starttaskid", "taskId"),
                item("starttasktag", "tag"),
                item("starttaskcustomproperty", "customPropertyName", "customPropertyValue"),
                item("keyvaluestore"),
            ]
        },
    }


def _reply() -> dict[str, Any]:
    entries = _array("taskId", "taskName", "status")
    return {
        "type": "object",
        "required": ["requestId", "status", "tasksStarted", "tasksNotFound", "totalTasksStarted"],
        "properties": {
            "requestId": {"type": "string"},
            "status": {"enum": ["ok", "partial", "failed"]},
            **dict.fromkeys(
                (
                    "tasksStarted",
                    "tasksWouldStart",
                    "tasksQueued",
                    "tasksSkipped",
                    "tasksDenied",
                    "tasksFailed",
                ),
                entries,
            ),
            "tasksNotFound": {"type": "array", "items": {"type": "object"}},
            "totalTasksStarted": {"type": "integer", "minimum": 0},
        },
    }


def _butler_reply() -> dict[str, Any]:
    return _object(
        {
            "tasksId": _object(
                {
                    "started": _array("taskId", "taskName"),
                    "invalid": _array("taskId"),
                    "denied": _array("taskId"),
                }
            ),
            "tasksTag": _array("taskId", "taskName"),
            "tasksTagDenied": _array("tag"),
            "tasksCP": _array("taskId", "taskName"),
            "tasksCPDenied": _array("name", "value"),
        }
    )


def _refusal() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["error", "details", "code"],
        "properties": {
            "requestId": {"type": "string"},
            **{key: {"type": "string"} for key in ("error", "details", "code")},
            "tasksNotFound": {"type": "array"},
            "tasksDenied": {"type": "array"},
        },
    }

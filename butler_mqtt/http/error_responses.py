"""HTTP responses: the error object of a refusal and the status of every code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import Response

from butler_mqtt.errors import RequestError

#: Status of every code that refuses a request as a whole.
STATUS: Mapping[str, int] = {
    "ambiguous_task_name": 400,
    "cancelled": 400,
    "invalid_json": 400,
    "invalid_request": 400,
    "invalid_task_id": 400,
    "not_supported": 400,
    "rule_failed": 400,
    "too_many_tasks": 400,
    "unauthorized": 401,
    "all_denied": 403,
    "forbidden": 403,
    "all_must_exist": 404,
    "not_found": 404,
    "unknown_request": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "request_id_conflict": 409,
    "request_held": 409,
    "expired": 410,
    "too_large": 413,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "headers_too_large": 431,
    "internal_error": 500,
    "qrs_forbidden": 502,
    "qrs_rejected": 502,
    "qrs_unavailable": 503,
    "not_recorded": 503,
    "shutting_down": 503,
}
#: Seconds for `Retry-After` by code, where the refusal has none of its own.
RETRY_AFTER: Mapping[str, int] = {
    "rate_limited": 1,
    "qrs_unavailable": 30,
    "not_recorded": 5,
    "shutting_down": 10,
}

#: Paths whose errors have Butler's form: clients that read it need no change.
_IN_BUTLERS_FORM = ("/v4/keyvaluesnamespaces", "/v4/keyvalues/", "/v4/keylist/")
#: What Node.js calls a status where Python has another name for it, which changes between its versions.
_NAMES = {413: "Payload Too Large"}

#: Answers are for the caller alone, and no browser may guess another type than theirs.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class HttpRefusal(RequestError):
    """A request that the door itself refuses; `headers` go with the answer, `challenges` a line each."""

    def __init__(
        self,
        code: str,
        error: str,
        details: str,
        *,
        request_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        challenges: Sequence[str] = (),
    ) -> None:
        self.headers = dict(headers or {})
        self.challenges = tuple(challenges)
        super().__init__(code, error, details, request_id)


def status_of(reply: Mapping[str, object]) -> int:
    """Return the status of a reply: 200 unless the request was refused as a whole."""
    code = reply.get("code")
    return STATUS.get(code, 400) if isinstance(code, str) else 200


def json_response(
    content: Mapping[str, object] | str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response with a JSON object, or with one that is text already."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return Response(text, status, {**_HEADERS, **(headers or {})}, "application/json")


def reply_response(reply: str, headers: Mapping[str, str]) -> Response:
    """Return a response with the pipeline's reply *reply*, unchanged."""
    read = json.loads(reply)
    code = read.get("code")
    seconds = read.get("retryAfterSeconds", RETRY_AFTER.get(code))
    extra = {} if seconds is None else {"Retry-After": str(seconds)}
    return json_response(reply, status_of(read), {**headers, **extra})


def butlers_error(status: int, message: str, code: str | None = None) -> dict[str, object]:
    """
    Return an error object as Fastify makes it for Butler.

    Fastify puts a code of its own there for what it refuses itself; *code* is ours.
    """
    name = _NAMES.get(status) or HTTPStatus(status).phrase
    coded: dict[str, object] = {} if code is None else {"code": code}
    return {"statusCode": status} | coded | {"error": name, "message": message}


def refusal_response(refusal: RequestError, path: str) -> Response:
    """Return a response with the error object of *refusal*, in the form that *path* has."""
    status = STATUS.get(refusal.code, 400)
    if path.startswith(_IN_BUTLERS_FORM):
        content = butlers_error(status, refusal.details, refusal.code)
    else:
        content = {} if refusal.request_id is None else {"requestId": refusal.request_id}
        content |= {"error": refusal.error, "details": refusal.details, "code": refusal.code}
    headers = dict(refusal.headers) if isinstance(refusal, HttpRefusal) else {}
    if refusal.code in RETRY_AFTER:
        headers.setdefault("Retry-After", str(RETRY_AFTER[refusal.code]))
    response = json_response(content, status, headers)
    if isinstance(refusal, HttpRefusal):
        for challenge in refusal.challenges:
            response.headers.append("WWW-Authenticate", challenge)
    return response

"""One call of a start path, read from HTTP; nothing of it is judged that the pipeline judges."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from butler_mqtt.contract import schema_errors, shell_quoting, strict_json
from butler_mqtt.domain.model import WebhookCall
from butler_mqtt.errors import RequestError
from butler_mqtt.http.api import butler_form
from butler_mqtt.http.api.butler_form import ButlerRequest
from butler_mqtt.http.error_responses import HttpRefusal
from butler_mqtt.http.origins import content_length

#: Charsets whose text is UTF-8 (RFC 8259 allows no other encoding).
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})
#: Charsets that clients name by habit, in which ASCII is ASCII.
_LIKE_ASCII = re.compile(r"(?:iso-?8859-\d{1,2}|latin-?1|windows-125\d|cp125\d)")


@dataclass(frozen=True, slots=True)
class StartCall:
    """
    What a caller sends.

    `path_task_id` is None for `-` and for a path without one, `key` the id in
    `Idempotency-Key`. `respond_async` stands for `Prefer: respond-async`.
    `butler` is the body where it is Butler's array, `webhook` what came with it where a rule is to judge it.
    """

    body: bytes
    path_task_id: str | None
    key: str | None
    respond_async: bool
    butler: ButlerRequest | None = None
    webhook: WebhookCall | None = None


def idempotency_key(request: Request) -> str | None:
    """
    Return the id in the header `Idempotency-Key`, without the quotes of a structured field.

    Raises:
        HttpRefusal: `invalid_request`: it is no request id, or there are different ones.
    """
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    # Joined as a proxy may do it: which of them counts would be anybody's guess.
    value = ", ".join(dict.fromkeys(values))
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not schema_errors.REQUEST_ID.match(key):
        raise HttpRefusal(
            "invalid_request",
            "Invalid request",
            f"Idempotency-Key is {schema_errors.shown(value)}: 1 to 128 of A-Z a-z 0-9 . _ : - are allowed",
        )
    return key


async def read(request: Request, key: str | None, max_body_bytes: int) -> StartCall:
    """
    Read the call and its body, of at most *max_body_bytes*; *key* is its `idempotency_key`.

    Raises:
        RequestError: The call contradicts itself, its body is too long, incomplete or encoded, or Butler's
            array is invalid.
    """
    refuse_encoding(request)
    path_task_id = request.path_params.get("task_id")
    path_task_id = None if path_task_id == "-" else path_task_id
    body = await read_body(request, max_body_bytes)
    foreign = _foreign_charset(request.headers.get("content-type", ""), body)
    all_ids = _flag(request.query_params.get("allTaskIdsMustExist"))
    butler = None
    if _begins_with(body, b"["):
        butler = butler_form.read(_array(body, foreign), path_task_id, all_ids=all_ids)
    elif foreign is not None:
        raise foreign
    elif all_ids and body.strip(b" \t\r\n\0"):
        raise RequestError(
            "invalid_request",
            "Invalid request",
            'allTaskIdsMustExist goes with Butler\'s array body; an object says "allMustExist": true',
        )
    elif key is not None and (b'"requestId"' in body or b"\\u" in body):  # no other escape writes a letter
        _check_same_id(body, key)
    return StartCall(body, path_task_id, key, prefers_async(request), butler)


async def read_cancel(request: Request, key: str | None, max_body_bytes: int) -> StartCall:
    """
    Read the call that cancels the request of its path, as the request that says so.

    Raises:
        RequestError: As `read`; `unknown_request`: what the path names is no request id.
    """
    refuse_encoding(request)
    cancelled = request.path_params["request_id"]
    if not schema_errors.REQUEST_ID.match(cancelled):
        details = f"no request {schema_errors.shown(cancelled)} is known: that is no request id"
        raise HttpRefusal("unknown_request", "Unknown request", details)
    body = await read_body(request, max_body_bytes)
    foreign = _foreign_charset(request.headers.get("content-type", ""), body)
    if foreign is not None:
        raise foreign
    asked: object = {}
    if body.strip(b" \t\r\n\0"):
        try:
            asked = strict_json.loads(strict_json.decode(body))
        except strict_json.JsonError as error:
            raise RequestError("invalid_json", "Invalid JSON", str(error)) from None
    if not isinstance(asked, dict):
        details = 'the body is absent or an object, as {"stopRunning": true}'
        raise RequestError("invalid_request", "Invalid request", details)
    if asked.get("cancel", cancelled) != cancelled:
        details = f"the path cancels {schema_errors.shown(cancelled)} and the body another request"
        raise RequestError("invalid_request", "Invalid request", details)
    if key is not None:
        _check_same_id(body, key)
    text = json.dumps({**asked, "cancel": cancelled}).encode()
    return StartCall(text, None, key, prefers_async(request))


async def read_body(request: Request, limit: int) -> bytes:
    """
    Read the body, but not beyond *limit* bytes.

    Raises:
        RequestError: It is longer, or ended too early.
    """
    size = content_length(request)
    chunks: list[bytes] = []
    read = 0
    try:
        if size <= limit:
            async for chunk in request.stream():
                chunks.append(chunk)
                read += len(chunk)
                if read > limit:
                    break
    except ClientDisconnect:
        raise HttpRefusal("request_timeout", "Request incomplete", "the body ended too early") from None
    if max(size, read) > limit:
        raise RequestError(
            "too_large",
            "Request too large",
            f"the body has {f'{size}' if size else f'more than {limit}'} bytes, {limit} are allowed",
        )
    return b"".join(chunks)


def _array(body: bytes, foreign: HttpRefusal | None) -> list[Any]:
    """Read Butler's array; as Butler does not read a `charset`, a *foreign* one is named only as a cause."""
    try:
        read = shell_quoting.loads(strict_json.decode(body), repeated_keys=True)
    except strict_json.JsonError as error:
        if foreign is not None:
            raise foreign from None
        raise RequestError("invalid_json", "Invalid JSON", str(error)) from None
    assert isinstance(read, list)  # noqa: S101 -- narrows the type: the text begins with [
    return read


def _check_same_id(body: bytes, key: str) -> None:
    try:
        read = strict_json.loads(strict_json.decode(body))
    except strict_json.JsonError:
        return  # the pipeline answers it, with the place
    given = read.get("requestId") if isinstance(read, dict) else None
    if isinstance(given, str) and given != key:
        raise HttpRefusal(
            "invalid_request",
            "Invalid request",
            f"the header Idempotency-Key is {schema_errors.shown(key)} and requestId in the body is "
            f"{schema_errors.shown(given)}; send one of them, or the same in both",
        )


def _begins_with(body: bytes, sign: bytes) -> bool:
    return body.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").startswith(sign)


def prefers_async(request: Request) -> bool:
    """Return whether the caller wants no more than to know that the request is recorded."""
    wishes = ",".join(request.headers.getlist("prefer"))
    return any(wish.strip().lower() == "respond-async" for wish in wishes.replace(";", ",").split(","))


def _flag(value: str | None) -> bool:
    if value is None or value == "false":
        return False
    if value == "true":
        return True
    raise RequestError(
        "invalid_request",
        "Invalid request",
        f"allTaskIdsMustExist is {schema_errors.shown(value)}, not true or false",
    )


def refuse_encoding(request: Request) -> None:
    """Refuse a body that is compressed; raises HttpRefusal `unsupported_media_type`."""
    for value in request.headers.getlist("content-encoding"):
        for coding in value.split(","):
            if coding.strip().lower() not in {"", "identity"}:
                raise _unsupported(
                    f"Content-Encoding is {schema_errors.shown(value)}; send the body as it is, uncompressed"
                )


def _foreign_charset(content_type: str, body: bytes) -> HttpRefusal | None:
    """Return the refusal of a `charset` in which *body* is not UTF-8; ASCII is the same in many."""
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() != "charset" or charset in _CHARSETS:
            continue
        if not (body.isascii() and _LIKE_ASCII.fullmatch(charset)):
            return _unsupported(
                f"Content-Type names the charset {schema_errors.shown(charset)}; JSON is UTF-8: "
                "send it so, with charset=utf-8 or without"
            )
    return None


def _unsupported(details: str) -> HttpRefusal:
    # RFC 9110, 15.5.16: the header says which codings are taken.
    headers = {"Accept-Encoding": "identity"}
    return HttpRefusal("unsupported_media_type", "Unsupported encoding", details, headers=headers)

"""`POST` and `PUT` to the three start paths: from HTTP to an arrival, and from the reply to HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from butler_mqtt.clock import now_ms
from butler_mqtt.contract import request_schema, strict_json
from butler_mqtt.domain.model import Arrival
from butler_mqtt.errors import RequestError
from butler_mqtt.http.api import butler_form
from butler_mqtt.http.api.waiting_caller import WaitingCaller
from butler_mqtt.http.dependencies import Dependencies
from butler_mqtt.http.origins import announced
from butler_mqtt.http.responses import RefusalResponse, json_answer, reply_answer, status_of

#: Seconds within which a request must be on disk; a commit takes milliseconds.
STORE_SECONDS = 10.0
#: Seconds for which even `respond-async` waits: what is wrong with a request shows as it is stored.
AT_ONCE_SECONDS = 0.05

#: Charsets of which UTF-8 text is made (RFC 8259 allows no other than UTF-8).
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})

#: Refusals for which the Qlik server was asked; the others show in the request itself.
_DECIDED = frozenset(
    {
        "ambiguous_task_name",
        "all_must_exist",
        "all_denied",
        "qrs_unavailable",
        "qrs_forbidden",
        "qrs_rejected",
    }
)

_log = logging.getLogger("butler_mqtt.http")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One HTTP request, read; `butler` is there when its body is Butler's array."""

    body: bytes
    path_task_id: str | None
    key: str | None
    at_once: bool
    butler: butler_form.Asked | None = None


class StartCalls:
    """
    The start endpoints.

    Args:
        core: The way into the pipeline.
        max_body_bytes: The longest body read.
        wait_seconds: How long a caller waits for the reply before it gets 202.
        ending: Set when the listener ends: nobody waits any longer.
        store_seconds: Within which a request must be on disk.
    """

    def __init__(
        self,
        core: Dependencies,
        max_body_bytes: int,
        wait_seconds: float,
        ending: asyncio.Event,
        *,
        store_seconds: float = STORE_SECONDS,
    ) -> None:
        self._store_seconds = store_seconds
        self._core = core
        self._max_body_bytes = max_body_bytes
        self._wait_seconds = wait_seconds
        self._ending = ending

    async def __call__(self, request: Request) -> Response:
        """Answer one request; raises RequestError for what the door turns down."""
        began = time.monotonic()
        received_at = now_ms()
        key = None
        try:
            key = _idempotency_key(request)
            asked = await self._read(request, key)
            self._refuse_when_blocked()
            if asked.butler is not None:
                return await self._start_butlers(request, asked, asked.butler, received_at, began)
            request_id, reply = await self._hand_in(request, asked, asked.body, received_at, began)
            return _accepted(request_id, asked) if reply is None else reply_answer(reply, _place(request_id))
        except RequestError as refusal:
            refusal.request_id = refusal.request_id or key or str(uuid.uuid4())
            raise

    async def _start_butlers(
        self, request: Request, asked: _Asked, wanted: butler_form.Asked, received_at: int, began: float
    ) -> Response:
        if wanted.key_values:
            _log.warning(
                "%d keyvaluestore items of a request were ignored: there is no key-value store here",
                wanted.key_values,
                extra={"action": "rest_key_values_ignored"},
            )
        body = wanted.request()
        if body is None:
            return json_answer(butler_form.answer(wanted, None))
        request_id, reply = await self._hand_in(request, asked, body.encode(), received_at, began)
        if reply is None:
            return _accepted(request_id, asked)
        read = strict_json.loads(reply)
        if not isinstance(read, dict) or (
            status_of(read) != 200 and read["code"] not in {"all_denied", "all_must_exist"}
        ):
            return reply_answer(reply, _place(request_id))
        state = await asyncio.to_thread(self._core.inquire, request_id)
        return json_answer(butler_form.answer(wanted, state), headers=_place(request_id))

    async def _hand_in(
        self, request: Request, asked: _Asked, body: bytes, received_at: int, began: float
    ) -> tuple[str, str | None]:
        """Give the request to the pipeline; give its id and the reply, None when that takes longer."""
        delivery = WaitingCaller()
        self._core.emit(
            Arrival(
                "rest",
                body,
                received_at,
                path_task_id=None if asked.butler is not None else asked.path_task_id,
                # An id of our own makes a transaction that is repeated meet the request it may have written.
                request_id=asked.key or str(uuid.uuid4()),
                principal=request.scope["state"].get("principal"),
                on_stored=delivery.on_stored,
                on_reply=delivery.on_reply,
                given_up=delivery.given_up,
            )
        )
        request_id = await delivery.stored(self._store_seconds)
        if request_id is None:
            raise _not_recorded(self._store_seconds, certain=delivery.give_up())
        left = self._wait_seconds - (time.monotonic() - began)
        seconds = min(left, AT_ONCE_SECONDS) if asked.at_once else left
        reply = await delivery.reply(max(0.0, seconds), self._ending)
        if asked.at_once and reply is not None and _was_decided(reply):
            reply = None
        return request_id, reply

    def _refuse_when_blocked(self) -> None:
        if self._ending.is_set():
            raise RefusalResponse(
                "shutting_down", "Shutting down", "the daemon is being stopped; nothing was started"
            )
        obstacle = self._core.obstacle()
        if obstacle is not None:
            raise RefusalResponse(
                "not_recorded", "Request cannot be recorded", f"{obstacle}; nothing was started"
            )

    # ---- reading

    async def _read(self, request: Request, key: str | None) -> _Asked:
        _check_charset(request.headers.get("content-type", ""))
        path_task_id = request.path_params.get("task_id")
        path_task_id = None if path_task_id == "-" else path_task_id
        body = await _body(request, self._max_body_bytes)
        asked = _Asked(body, path_task_id, key, _prefers_async(request))
        all_ids = _flag(request.query_params.get("allTaskIdsMustExist"))
        array = _begins_with(body, b"[")
        if array:
            return _Asked(
                body,
                path_task_id,
                key,
                asked.at_once,
                butler_form.read(_array(body), path_task_id, all_ids=all_ids),
            )
        if all_ids and body.strip():
            raise RequestError(
                "invalid_request",
                "Invalid request",
                'allTaskIdsMustExist goes with Butler\'s array body; an object says "allMustExist": true',
            )
        if key is not None and b'"requestId"' in body:
            _check_same_id(body, key)
        return asked


async def _body(request: Request, limit: int) -> bytes:
    """Read the body, but not beyond *limit* bytes."""
    size = announced(request)
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
        raise RefusalResponse("request_timeout", "Request incomplete", "the body ended too early") from None
    if max(size, read) > limit:
        raise RequestError(
            "too_large",
            "Request too large",
            f"the body has {f'{size}' if size else f'more than {limit}'} bytes, {limit} are allowed",
        )
    return b"".join(chunks)


def _array(body: bytes) -> list[Any]:
    try:
        read = strict_json.loads(strict_json.decode(body))
    except strict_json.JsonError as error:
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
        raise RefusalResponse(
            "invalid_request",
            "Invalid request",
            f"the header Idempotency-Key is {request_schema.shown(key)} and requestId in the body is "
            f"{request_schema.shown(given)}; send one of them, or the same in both",
        )


def _begins_with(body: bytes, sign: bytes) -> bool:
    return body.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").startswith(sign)


def _idempotency_key(request: Request) -> str | None:
    """Give the request id of the header, without the quotes of a structured field."""
    value = request.headers.get("idempotency-key")
    if value is None:
        return None
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not request_schema.REQUEST_ID.match(key):
        raise RefusalResponse(
            "invalid_request",
            "Invalid request",
            f"Idempotency-Key is {request_schema.shown(value)}: 1 to 128 of A-Z a-z 0-9 . _ : - are allowed",
        )
    return key


def _prefers_async(request: Request) -> bool:
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
        f"allTaskIdsMustExist is {request_schema.shown(value)}, not true or false",
    )


def _check_charset(content_type: str) -> None:
    for part in content_type.split(";")[1:]:
        name, _, value = part.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in _CHARSETS:
            raise RequestError(
                "invalid_request",
                "Invalid request",
                f"Content-Type names the charset {request_schema.shown(charset)}; JSON is UTF-8",
            )


# ---- answering


def _was_decided(reply: str) -> bool:
    """Tell whether the request was taken, so that how fast it was decided does not choose the status."""
    read = strict_json.loads(reply)
    return isinstance(read, dict) and (status_of(read) == 200 or read["code"] in _DECIDED)


def _place(request_id: str) -> Mapping[str, str]:
    return {"Content-Location": f"/v4/requests/{request_id}"}


def _accepted(request_id: str, asked: _Asked) -> Response:
    headers = {"Location": f"/v4/requests/{request_id}", "Retry-After": "1"}
    if asked.at_once:
        headers["Preference-Applied"] = "respond-async"
    return json_answer({"requestId": request_id, "status": "accepted"}, 202, headers)


def _not_recorded(seconds: float, *, certain: bool) -> RefusalResponse:
    if certain:
        details = f"the journal did not take it within {seconds:g} s; nothing was started"
    else:
        details = (
            f"the journal has not confirmed it within {seconds:g} s and may still have taken it; "
            "repeat it with the same Idempotency-Key"
        )
    return RefusalResponse("not_recorded", "Request cannot be recorded", details)

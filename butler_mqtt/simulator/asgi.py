"""The ASGI application: the QRS endpoints with injected faults, and the admin endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from butler_mqtt.simulator import endpoints
from butler_mqtt.simulator.call import Answer, Call, read_query
from butler_mqtt.simulator.call_log import CallRecord
from butler_mqtt.simulator.faults import BODIES, Fault, Faults
from butler_mqtt.simulator.site import Site

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_HTML = b"<!DOCTYPE html><html><head><title>Qlik Sense</title></head><body><h1>Please wait</h1></body></html>"
_GARBAGE = b'{"value": \xff\xfe\x00[[["'


class Wire(Protocol):
    """The connection that a call came on."""

    def cut(self, *, reset: bool) -> None:
        """Close it at once, by a TCP reset or without."""


class Application:
    """Answers every call of the main listener; `/admin` goes to *admin*."""

    def __init__(self, site: Site, faults: Faults, admin: Asgi) -> None:
        self._site = site
        self._faults = faults
        self._admin = admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        path: str = scope["path"].lower()
        if path.startswith("/admin"):
            await self._admin(scope, receive, send)
            return
        site = self._site
        body = await _body(receive) if scope["method"] in ("POST", "PUT") else b""
        site.agenda.run()
        method: str = scope["method"]
        record = site.calls.begin(
            site.clock.stamp(), method, scope["path"], scope["query_string"].decode("latin-1")
        )
        fault = self._faults.strike(method, path)
        if fault is None:
            answer = self._answer(scope, path, body, record)
            record.status = answer.status
            await self._send(send, answer)
        else:
            record.fault = fault.id
            await self._strike(fault, scope, send, body=body, record=record)

    def _answer(self, scope: Scope, path: str, body: bytes, record: CallRecord) -> Answer:
        if not path.startswith("/qrs/"):
            return Answer.text(404, endpoints.NO_ENDPOINT)
        parameters, complete = read_query(record.query)
        call = Call(
            method=record.method,
            segments=tuple(path[5:].rstrip("/").split("/")),
            parameters=parameters,
            complete=complete,
            headers=dict(scope["headers"]),
            body=body,
            record=record,
        )
        return endpoints.answer(self._site, call)

    async def _send(self, send: Send, answer: Answer, *, promised: int | None = None) -> None:
        date = self._site.clock.date_header()
        headers = [*([(b"date", date)] if date is not None else []), *answer.headers]
        if answer.content_type is not None:
            headers.append((b"content-type", answer.content_type))
        if answer.status != 204:
            length = len(answer.body) if promised is None else promised
            headers.append((b"content-length", str(length).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": promised is not None})

    async def _strike(
        self, fault: Fault, scope: Scope, send: Send, *, body: bytes, record: CallRecord
    ) -> None:
        """Apply *fault*: the call takes effect unless the fault comes before it, or is only slow."""
        wire: Wire = scope["state"]["wire"]
        if fault.kind == "slow" and fault.before:
            await asyncio.sleep(fault.seconds)
            self._site.agenda.run()
        real: Answer | None = None
        if not fault.before or fault.kind in ("slow", "truncate"):
            real = self._answer(scope, scope["path"].lower(), body, record)
        if fault.kind == "hang" or (fault.kind == "slow" and not fault.before):
            await asyncio.sleep(fault.seconds)
        if fault.kind in ("cut", "hang"):
            record.status = 0
            wire.cut(reset=fault.reset)
        elif fault.kind == "truncate" and real is not None:
            record.status = 0
            half = Answer(real.status, real.body[: len(real.body) // 2], real.content_type)
            await self._send(send, half, promised=len(real.body) + 1)
            await asyncio.sleep(0)
            wire.cut(reset=False)
        else:
            answer = real if fault.kind == "slow" and real is not None else _faulty(fault, real)
            record.status = answer.status
            await self._send(send, answer)


def _faulty(fault: Fault, real: Answer | None) -> Answer:
    """Return the wrong answer of *fault*, in place of *real*."""
    status = fault.status or (real.status if real is not None and real.status != 204 else 200)
    if fault.kind == "xsrf":
        return Answer.text(403, endpoints.XSRF)
    if fault.kind == "status":
        status = fault.status or 500
        body = fault.body if fault.body is not None else BODIES.get(status, f"Status {status}")
        answer = Answer.text(status, body)
    elif fault.kind == "html":
        answer = Answer(status, _HTML, b"text/html; charset=utf-8")
    elif fault.kind == "garbage":
        answer = Answer(status, _GARBAGE)
    elif fault.kind == "empty":
        answer = Answer(status, b"")
    else:
        answer = Answer(status, b'{"unexpected":["shape"]}' if fault.body is None else fault.body.encode())
    if fault.retry_after is not None:
        answer.headers.append((b"retry-after", fault.retry_after.encode()))
    return answer


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)

"""`POST` and `PUT` to the start paths, and to cancel: each call becomes an arrival, its reply a response."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from butler_mqtt.clock import now_ms
from butler_mqtt.contract import strict_json
from butler_mqtt.domain.model import Arrival, Parameter
from butler_mqtt.errors import JournalError, RequestError
from butler_mqtt.http.api import butler_form, start_call, webhook_call
from butler_mqtt.http.api.butler_form import ButlerRequest
from butler_mqtt.http.api.pending_response import PendingResponse, accepted
from butler_mqtt.http.api.start_call import StartCall
from butler_mqtt.http.backend import Backend
from butler_mqtt.http.error_responses import HttpRefusal, json_response, reply_response, status_of
from butler_mqtt.printable import counted

#: Seconds within which a request must be on disk; a commit takes milliseconds.
STORE_SECONDS = 10.0
#: Seconds for which even `respond-async` waits: an invalid request is refused as it is stored.
ASYNC_SECONDS = 0.05
#: Items of an array that a log line names.
_NAMED_ITEMS = 5

#: Refusals that depend on what the Qlik server answered; the others depend on the request alone.
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

_Read = Callable[[Request, str | None, int], Awaitable[StartCall]]

_log = logging.getLogger("butler_mqtt.http")


class StartEndpoint:
    """
    What the three start paths do, the one that cancels, and the webhooks of rules.

    Args:
        backend: The pipeline and the journal.
        max_body_bytes: The longest body that is read.
        wait_seconds: Seconds for which a caller waits for the reply before it gets 202.
        ending: Set when the listener stops: callers get what there is.
        store_seconds: Seconds within which a request must be on disk.
        store: Stores a parameter of Butler's array, with the milliseconds for which it is kept; raises
            RequestError. None while there is no key-value store.
    """

    def __init__(
        self,
        backend: Backend,
        max_body_bytes: int,
        wait_seconds: float,
        ending: asyncio.Event,
        *,
        store_seconds: float = STORE_SECONDS,
        store: Callable[[Parameter, int], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._store_seconds = store_seconds
        self._backend = backend
        self._max_body_bytes = max_body_bytes
        self._wait_seconds = wait_seconds
        self._ending = ending

    async def __call__(self, request: Request) -> Response:
        """Answer one call; raises RequestError for what the door refuses itself."""
        return await self._answer(request, start_call.read)

    async def cancel(self, request: Request) -> Response:
        """Answer a call that cancels the request of its path; raises as `__call__`."""
        return await self._answer(request, start_call.read_cancel)

    async def webhook(self, request: Request) -> Response:
        """Answer a call of the webhook of a rule; raises as `__call__`."""

        async def read(request: Request, key: str | None, max_body_bytes: int) -> StartCall:
            call = await webhook_call.read(
                request, self._backend.webhook, key, max_body_bytes, self._backend.refused_calls
            )
            if not request.scope["state"]["signed"]:
                caller = self._backend.caller(request.scope["state"])
                refusal = self._backend.senders().forbids_webhook(caller, request.path_params["rule"])
                if refusal is not None:
                    raise refusal
            return call

        return await self._answer(request, read)

    async def _answer(self, request: Request, read: _Read) -> Response:
        began = time.monotonic()
        received_at = now_ms()
        key = None
        try:
            key = start_call.idempotency_key(request)
            call = await read(request, key, self._max_body_bytes)
            self._refuse_when_blocked()
            if call.butler is not None:
                return await self._answer_butler(request, call, call.butler, received_at, began)
            request_id, reply = await self._submit(request, call, call.body, received_at, began)
            if reply is None:
                return accepted(request_id, respond_async=call.respond_async)
            if call.webhook is not None and (judged := _without_request(reply)) is not None:
                return judged
            return reply_response(reply, _location(request_id))
        except RequestError as refusal:
            refusal.request_id = refusal.request_id or key or str(uuid.uuid4())
            raise

    async def _answer_butler(
        self, request: Request, call: StartCall, butler: ButlerRequest, received_at: int, began: float
    ) -> Response:
        if butler.key_values and self._store is None:
            _log.warning(
                "%s ignored: keyValueStore.enable is false",
                counted(
                    len(butler.key_values),
                    "keyvaluestore item of a request was",
                    "keyvaluestore items of a request were",
                ),
                extra={"action": "rest_key_values_ignored"},
            )
        elif self._store is not None and not await self._was_recorded(call.key):
            if butler.key_values:
                self._refuse_storing(request, starts=butler.request() is not None)
            for parameter, ttl_ms in butler.key_values:
                await self._store(parameter, ttl_ms)
        if butler.unusable:
            _log.warning(
                "%s nothing to start or store: %s",
                counted(
                    len(butler.unusable),
                    "item of an array in Butler's form was ignored, since it names",
                    "items of an array in Butler's form were ignored, since they name",
                ),
                "; ".join(butler.unusable[:_NAMED_ITEMS])
                + ("; …" if len(butler.unusable) > _NAMED_ITEMS else ""),
                extra={"action": "rest_items_ignored"},
            )
        body = butler.request()
        if body is None:
            return json_response(butler_form.answer(butler, None))
        request_id, reply = await self._submit(request, call, body.encode(), received_at, began)
        if reply is None:
            return accepted(request_id, respond_async=call.respond_async)
        read = strict_json.loads(reply)
        if not isinstance(read, dict) or (
            status_of(read) != 200 and read["code"] not in {"all_denied", "all_must_exist"}
        ):
            return reply_response(reply, _location(request_id))
        state = await asyncio.to_thread(self._backend.inquire, request_id)
        return json_response(butler_form.answer(butler, state), headers=_location(request_id))

    def _refuse_storing(self, request: Request, *, starts: bool) -> None:
        """Refuse an array of which a sender may not do everything, before anything of it is stored."""
        caller = self._backend.caller(request.scope["state"])
        wanted = ["parameters", *(["start"] if starts else [])]
        refusal = self._backend.senders().forbids(caller, *wanted)
        if refusal is not None:
            raise refusal

    async def _was_recorded(self, key: str | None) -> bool:
        """Return whether a request holds the id *key*: its repetition stores nothing again."""
        try:
            state = None if key is None else await asyncio.to_thread(self._backend.inquire, key)
        except JournalError as error:
            raise HttpRefusal("not_recorded", "Journal cannot be read", str(error)) from error
        return state is not None and state["state"] != "refused"

    async def _submit(
        self, request: Request, call: StartCall, body: bytes, received_at: int, began: float
    ) -> tuple[str, str | None]:
        """Submit the request to the pipeline; return its id and the reply, None if that takes longer."""
        pending = PendingResponse()
        self._backend.emit(
            Arrival(
                "rest" if call.webhook is None else "rule",
                body,
                received_at,
                path_task_id=None if call.butler is not None else call.path_task_id,
                # With an id from here, a transaction that is repeated finds the request it may have written.
                request_id=call.key or str(uuid.uuid4()),
                principal=request.scope["state"].get("principal"),
                certified=request.scope["state"].get("certified", False),
                role=request.scope["state"].get("role", "sender"),
                on_stored=pending.on_stored,
                on_reply=pending.on_reply,
                given_up=pending.given_up,
                webhook=call.webhook,
            )
        )
        request_id = await pending.stored(self._store_seconds)
        if request_id is None:
            raise _not_recorded(self._store_seconds, certain=pending.give_up())
        left = self._wait_seconds - (time.monotonic() - began)
        seconds = min(left, ASYNC_SECONDS) if call.respond_async else left
        reply = await pending.reply(max(0.0, seconds), self._ending)
        if call.respond_async and reply is not None and _was_decided(reply):
            reply = None
        return request_id, reply

    def _refuse_when_blocked(self) -> None:
        if self._ending.is_set():
            raise HttpRefusal(
                "shutting_down", "Shutting down", "the daemon is being stopped; nothing was started"
            )
        obstacle = self._backend.obstacle()
        if obstacle is not None:
            raise HttpRefusal(
                "not_recorded", "Request cannot be recorded", f"{obstacle}; nothing was started"
            )


def _was_decided(reply: str) -> bool:
    """Return whether the request got as far as a decision: how fast that came must not choose the status."""
    read = strict_json.loads(reply)
    if not isinstance(read, dict) or "matched" in read:
        return False  # a rule made no request of it
    return status_of(read) == 200 or read["code"] in _DECIDED


def _without_request(reply: str) -> Response | None:
    """Return the response for a message that became no request, or none yet: a rule says `matched`."""
    read = strict_json.loads(reply)
    if not isinstance(read, dict) or "matched" not in read:
        return None
    return json_response(reply, 202 if read["matched"] else 200)


def _location(request_id: str) -> Mapping[str, str]:
    return {"Content-Location": f"/v4/requests/{request_id}"}


def _not_recorded(seconds: float, *, certain: bool) -> HttpRefusal:
    if certain:
        details = f"the journal did not record it within {seconds:g} s; nothing was started"
    else:
        details = (
            f"the journal has not confirmed it within {seconds:g} s and may have recorded it; "
            "repeat it with the same Idempotency-Key"
        )
    return HttpRefusal("not_recorded", "Request cannot be recorded", details)

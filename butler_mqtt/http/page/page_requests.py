"""Requests that an operator sends from the page: they go the way of every other one."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Arrival
from butler_mqtt.http.api.pending_response import PendingResponse
from butler_mqtt.http.backend import Backend
from butler_mqtt.http.error_responses import HttpRefusal

#: Seconds within which a request must be on disk, and for which its reply is waited for.
STORE_SECONDS = 10.0
REPLY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that is on disk: its id, and its reply unless that takes longer."""

    request_id: str
    reply: Mapping[str, Any] | None


def new_id() -> str:
    """Make an id for a form, so that sending it twice has its effect once."""
    return f"page-{secrets.token_hex(8)}"


async def send(
    backend: Backend, document: Mapping[str, object], principal: str, ending: asyncio.Event
) -> Sent:
    """
    Send a request in the name of the token *principal*, and wait for its reply.

    Raises:
        HttpRefusal: It cannot be recorded.
    """
    obstacle = "the daemon is being stopped" if ending.is_set() else backend.obstacle()
    if obstacle is not None:
        raise HttpRefusal("not_recorded", "Nothing can be recorded now", f"{obstacle}; nothing was started")
    pending = PendingResponse()
    backend.emit(
        Arrival(
            "rest",
            json.dumps(document).encode(),
            now_ms(),
            request_id=str(document["requestId"]),
            principal=principal,
            role="operator",
            on_stored=pending.on_stored,
            on_reply=pending.on_reply,
            given_up=pending.given_up,
        )
    )
    request_id = await pending.stored(STORE_SECONDS)
    if request_id is None:
        certain = pending.give_up()
        details = "nothing was started" if certain else "look at Requests before you send it again"
        raise HttpRefusal("not_recorded", "The journal did not record it in time", details)
    reply = await pending.reply(REPLY_SECONDS, ending)
    return Sent(request_id, None if reply is None else json.loads(reply))

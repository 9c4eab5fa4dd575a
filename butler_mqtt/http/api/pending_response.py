"""One request submitted to the pipeline, and the response that its caller waits for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from enum import Enum
from typing import Literal

from starlette.responses import Response

from butler_mqtt.http.error_responses import json_response

#: After which a caller that got 202 may look again.
RETRY_AFTER_SECONDS = 1


class _Progress(Enum):
    #: Submitted; the pipeline has not read it yet.
    SUBMITTED = "submitted"
    #: The pipeline writes it into the journal.
    WRITING = "writing"
    #: On disk.
    STORED = "stored"
    #: Its caller got the answer that it was not recorded; the pipeline leaves it out.
    GIVEN_UP = "given_up"


class PendingResponse:
    """
    Joins the event loop, on which the caller waits, to the pipeline's thread.

    To be made on the event loop. `on_stored`, `on_reply` and `given_up` are
    for the pipeline: they return at once and never raise.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._progress = _Progress.SUBMITTED
        self._stored: asyncio.Future[str] = self._loop.create_future()
        self._reply: asyncio.Future[str] = self._loop.create_future()

    # ---- the pipeline's side

    def on_stored(self, request_id: str) -> None:
        """Record that the request is on disk under *request_id*."""
        with self._lock:
            self._progress = _Progress.STORED
        self._soon(lambda: _resolve(self._stored, request_id))

    def on_reply(self, reply: str) -> None:
        """Record the reply, JSON text."""
        self._soon(lambda: _resolve(self._reply, reply))

    def given_up(self) -> bool:
        """Return whether the caller gave up; else the request counts as being written."""
        with self._lock:
            if self._progress is _Progress.SUBMITTED:
                self._progress = _Progress.WRITING
            return self._progress is _Progress.GIVEN_UP

    def _soon(self, act: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the caller's connection with it
            self._loop.call_soon_threadsafe(act)

    # ---- the caller's side

    async def stored(self, seconds: float) -> str | None:
        """Wait until the request is on disk; return its id, None when it is not by then."""
        return await _within(self._stored, seconds)

    async def reply(self, seconds: float, ending: asyncio.Event) -> str | None:
        """Wait for the reply, for *seconds* and not beyond *ending*; return None when it has not come."""
        if self._reply.done():
            return self._reply.result()
        end = asyncio.create_task(ending.wait())
        try:
            waiting: set[asyncio.Future[str] | asyncio.Future[Literal[True]]] = {self._reply, end}
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
        return self._reply.result() if self._reply.done() else None

    def give_up(self) -> bool:
        """Withdraw the request; return whether it certainly has not been and will not be recorded."""
        with self._lock:
            certain = self._progress is _Progress.SUBMITTED
            if self._progress is not _Progress.STORED:
                self._progress = _Progress.GIVEN_UP
            return certain


async def _within(future: asyncio.Future[str], seconds: float) -> str | None:
    await asyncio.wait({future}, timeout=seconds)
    return future.result() if future.done() else None


def _resolve(future: asyncio.Future[str], value: str) -> None:
    if not future.done():
        future.set_result(value)


def accepted(request_id: str, *, respond_async: bool) -> Response:
    """Return the response to a caller that waits no longer: where its request stands, and when to look."""
    headers = {"Location": f"/v4/requests/{request_id}", "Retry-After": str(RETRY_AFTER_SECONDS)}
    if respond_async:
        headers["Preference-Applied"] = "respond-async"
    return json_response({"requestId": request_id, "status": "accepted"}, 202, headers)

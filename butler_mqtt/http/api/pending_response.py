"""One request handed to the pipeline, and the caller who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from enum import Enum
from typing import Literal


class _Taking(Enum):
    #: Handed in; the pipeline has not looked at it.
    OFFERED = "offered"
    #: The pipeline writes it into the journal.
    CLAIMED = "claimed"
    #: On disk.
    STORED = "stored"
    #: Its caller was told that it was not taken; the pipeline leaves it out.
    GIVEN_UP = "given_up"


class WaitingCaller:
    """
    The meeting point of the event loop, where the caller waits, and the pipeline's thread.

    To be made on the event loop. `on_stored`, `on_reply` and `given_up` are
    for the pipeline: they return at once and never raise.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._taking = _Taking.OFFERED
        self._stored: asyncio.Future[str] = self._loop.create_future()
        self._reply: asyncio.Future[str] = self._loop.create_future()

    # ---- the pipeline's side

    def on_stored(self, request_id: str) -> None:
        """Note that the request is on disk under *request_id*."""
        with self._lock:
            self._taking = _Taking.STORED
        self._soon(lambda: _settle(self._stored, request_id))

    def on_reply(self, reply: str) -> None:
        """Note the reply, JSON text."""
        self._soon(lambda: _settle(self._reply, reply))

    def given_up(self) -> bool:
        """Tell whether the caller was told that it was not taken; else it counts as being written."""
        with self._lock:
            if self._taking is _Taking.OFFERED:
                self._taking = _Taking.CLAIMED
            return self._taking is _Taking.GIVEN_UP

    def _soon(self, settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the caller's connection
            self._loop.call_soon_threadsafe(settle)

    # ---- the caller's side

    async def stored(self, seconds: float) -> str | None:
        """Wait until the request is on disk; give its id, None when it is not by then."""
        return await _within(self._stored, seconds)

    async def reply(self, seconds: float, ending: asyncio.Event) -> str | None:
        """Wait for the reply, for *seconds* and not beyond *ending*; None when it has not come."""
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
        """Leave the request out; give whether it is certain that it has not been and will not be recorded."""
        with self._lock:
            certain = self._taking is _Taking.OFFERED
            if self._taking is not _Taking.STORED:
                self._taking = _Taking.GIVEN_UP
            return certain


async def _within(future: asyncio.Future[str], seconds: float) -> str | None:
    await asyncio.wait({future}, timeout=seconds)
    return future.result() if future.done() else None


def _settle(future: asyncio.Future[str], value: str) -> None:
    if not future.done():
        future.set_result(value)

"""
Says to open pages when something has changed, as server-sent events.

One poll of the journal serves all pages, and there is none while nobody looks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from butler_mqtt.errors import JournalError
from butler_mqtt.http.error_responses import HttpRefusal

#: Seconds between two polls of the journal, the same after a change, since pages then read it again, and
#: after which a page hears from here in any case.
POLL_SECONDS = 1.0
REST_SECONDS = 2.0
TICK_SECONDS = 15.0
#: Pages that get events; each holds a connection of the listener, whose other callers need some too.
MOST_PAGES = 120
#: Milliseconds after which a browser connects again.
RETRY_MS = 2000


class LiveUpdates:
    """
    Changes of the journal, for any number of pages; made and used on the event loop.

    Args:
        version: A number that changes whenever the journal was written; called in a thread.
        ending: Set when the listener stops.
        poll_seconds: Between two polls.
        rest_seconds: The same after a change.
        tick_seconds: After which a page hears in any case, since some things are not in the journal.
    """

    def __init__(
        self,
        version: Callable[[], int],
        ending: asyncio.Event,
        *,
        poll_seconds: float = POLL_SECONDS,
        rest_seconds: float = REST_SECONDS,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self._version = version
        self._ending = ending
        self._poll_seconds = poll_seconds
        self._rest_seconds = rest_seconds
        self._tick_seconds = tick_seconds
        self._news = asyncio.Event()
        self._pages = 0
        self._poller: asyncio.Task[None] | None = None
        #: Counts the changes seen; meaningful while `watching`.
        self.changes = 0

    @property
    def watching(self) -> bool:
        """Whether the journal is polled."""
        return self._poller is not None

    def refuse_when_full(self) -> None:
        """Raise HttpRefusal `rate_limited` when as many pages get events as may."""
        if self._pages >= MOST_PAGES:
            raise HttpRefusal(
                "rate_limited",
                "Too many pages",
                f"{MOST_PAGES} pages are live already; reload this one by hand",
            )

    async def events(self, goes_on: Callable[[], bool]) -> AsyncIterator[str]:
        """Yield events until the listener stops or *goes_on*, asked before each, says no."""
        self._pages += 1
        if self._poller is None:
            self._poller = asyncio.create_task(self._poll())
        try:
            seen = self.changes
            yield f"retry: {RETRY_MS}\nevent: begin\ndata: {seen}\n\n"
            while not self._ending.is_set():
                # It may have changed while a slow page took the last event in.
                if self.changes == seen:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), self._tick_seconds)
                event = "tick" if self.changes == seen else "change"
                seen = self.changes
                if self._ending.is_set():
                    return
                if not goes_on():
                    yield "event: end\ndata: 0\n\n"
                    return
                yield f"event: {event}\ndata: {seen}\n\n"
        finally:
            self._pages -= 1
            if not self._pages and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    async def _poll(self) -> None:
        seen: int | None = None
        while not self._ending.is_set():
            try:
                version = await asyncio.to_thread(self._version)
            except JournalError:
                version = -1  # the pages say so themselves
            changed = seen not in {None, version}
            seen = version
            if changed:
                self._announce()
            pause = self._rest_seconds if changed else self._poll_seconds
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause)
        self._announce()

    def _announce(self) -> None:
        self.changes += 1
        self._news.set()
        self._news = asyncio.Event()

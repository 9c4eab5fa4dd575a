"""Gives up what is too late: starts, requests that wait for their tasks, replies at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from butler_mqtt import clock
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.pipeline.backlog import Backlog
from butler_mqtt.pipeline.loop_timings import LoopTimings
from butler_mqtt.pipeline.standstill import Standstill
from butler_mqtt.resolving.resolver import Resolver
from butler_mqtt.starting.dispatcher import Dispatcher


class Expiry:
    """
    Checks all deadlines now and then.

    Args:
        ledger: The open requests.
        resolver: The requests whose tasks are not known yet.
        dispatcher: The starts.
        backlog: The requests on disk only.
        server_time: The Qlik server's clock as last read.
        timings: How often.
    """

    def __init__(
        self,
        ledger: Ledger,
        resolver: Resolver,
        dispatcher: Dispatcher,
        backlog: Backlog,
        *,
        server_time: Callable[[], datetime | None],
        timings: LoopTimings,
    ) -> None:
        self._ledger = ledger
        self._resolver = resolver
        self._dispatcher = dispatcher
        self._backlog = backlog
        self._server_time = server_time
        self._timings = timings
        self._standstill = Standstill(timings.paused_seconds, resolver.resumed, dispatcher.resumed)
        #: Monotonic time of the last check.
        self.checked = 0.0

    def due(self, *, hurried: bool) -> bool:
        """Return whether it is time for a check; *hurried*: requests arrive, which go before it."""
        timings = self._timings
        since = time.monotonic() - self.checked
        return since >= (timings.latest_tidy_seconds if hurried else timings.tidy_seconds)

    def step(self, transaction: Transaction) -> None:
        """Give up what is too late."""
        before, self.checked = self.checked, time.monotonic()
        self._standstill.check(before)
        clock.STEADY.confirm(self._server_time())
        self._dispatcher.drop_late()
        self._finish()
        self._backlog.expire(transaction)
        self._resolver.give_up()

    def _finish(self) -> None:
        """Answer those that wait for the end of a request that has expired."""
        now = clock.now_ms()
        for opened in list(self._ledger.requests.finishing.values()):
            if opened.expires_at is not None and opened.expires_at <= now:
                self._ledger.requests.finish_if_ended(opened, anyway=True)

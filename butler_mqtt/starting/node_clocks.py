"""Whether the clocks of the nodes that stamp executions agree with the clock of the repository."""

from __future__ import annotations

import logging
from datetime import datetime

from butler_mqtt.domain.model import Execution
from butler_mqtt.domain.reconciliation import SERVER_CLOCK_SLACK

_log = logging.getLogger("butler_mqtt.node_clocks")


class NodeClocks:
    """Compares the stamps of our executions with the server's `Date` around their POST."""

    def __init__(self) -> None:
        #: Whether an execution of ours was stamped at another time than the server's clock showed.
        self.differ = False

    def compare(self, execution: Execution, window: tuple[datetime, datetime]) -> None:
        """Compare the stamp of an execution with the server's times between which it certainly began."""
        if self.differ or execution.began is None:
            return
        earliest, latest = window[0] - SERVER_CLOCK_SLACK, window[1] + SERVER_CLOCK_SLACK
        if not earliest <= execution.began <= latest:
            self.differ = True
            _log.warning(
                "execution %s is stamped %s and began about %s by the Qlik server's Date: the clocks of this"
                " site differ (check the time service of its nodes); tasks are read again before each start",
                execution.id,
                execution.began.isoformat(timespec="seconds"),
                window[1].isoformat(timespec="seconds"),
                extra={"action": "clocks_differ"},
            )

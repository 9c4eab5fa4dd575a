"""
From the journal back into memory: after a start, after a fault, and when a backlog is worked off.

Only so many requests are kept in memory; a longer backlog stays in the journal
and is read in order of arrival.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from butler_mqtt import validation
from butler_mqtt.clock import from_ms, now_ms
from butler_mqtt.errors import RequestError
from butler_mqtt.finder import Finder
from butler_mqtt.journal import reading
from butler_mqtt.journal.reading import Row
from butler_mqtt.ledger import Ledger
from butler_mqtt.model import Task
from butler_mqtt.records import Delivery, OpenRequest, OpenStart, Run
from butler_mqtt.settlement import Baseline
from butler_mqtt.starter import Starter
from butler_mqtt.states import RequestState, RunState, StartState

#: Expired requests refused in one turn.
MAX_EXPIRED = 200

_log = logging.getLogger("butler_mqtt.recovery")


class Recovery:
    """Fills the finder and the starter from the journal."""

    def __init__(self, ledger: Ledger, finder: Finder, starter: Starter) -> None:
        self._ledger = ledger
        self._finder = finder
        self._starter = starter
        self._last_read = 0
        self._more = False

    def load(self, connection: Connection, limit: int) -> None:
        """Replace what is in memory by what the journal says is open."""
        ledger = self._ledger
        self._finder.reset()
        self._starter.reset()
        ledger.open.clear()
        ledger.open_count = reading.open_count(connection)
        decided = reading.decided(connection)
        runs = {row["id"]: row for row in reading.open_runs(connection)}
        opened = self._opened(connection, decided)
        starts = reading.starts_of(connection, [row["id"] for row in decided])
        under_way: dict[int, list[OpenStart]] = defaultdict(list)
        planned: list[OpenStart] = []
        for row in starts:
            start = _start(row, opened[row["request"]])
            if start.state is StartState.PLANNED:
                if start.run is not None and start.run in runs:
                    under_way[start.run].append(start)
                else:
                    planned.append(start)
        for identity, waiting in under_way.items():
            self._starter.load(_run(runs[identity], waiting))
        self._starter.add(planned)
        self._last_read = 0
        self._more = True
        self.refill(connection, limit)
        if ledger.open_count:
            _log.info(
                "%s requests are open: %s starts wait, %s are being settled",
                ledger.open_count,
                len(planned),
                len(under_way),
                extra={"action": "journal_read"},
            )

    def arrived(self, requests: Sequence[OpenRequest], limit: int) -> None:
        """Pass new requests on, or leave them to the journal while there are too many in memory."""
        for opened in requests:
            if self._more or len(self._finder) >= limit:
                self._more = True
                self._ledger.open.pop(opened.id, None)
            else:
                self._last_read = opened.id
                self._finder.add([opened])

    def refill(self, connection: Connection, limit: int) -> None:
        """Read further requests when few are left in memory."""
        if not self._more or len(self._finder) > limit // 2:
            return
        rows = reading.received(connection, after=self._last_read, limit=limit)
        if rows:
            self._last_read = rows[-1]["id"]
            self._finder.add(self._opened(connection, rows).values())
        self._more = len(rows) == limit

    def expire(self, connection: Connection) -> None:
        """Refuse requests of the backlog whose time is over."""
        if not self._more:
            return
        rows = [
            row
            for row in reading.expired(connection, now=now_ms(), limit=MAX_EXPIRED)
            if row["id"] not in self._ledger.open
        ]
        for opened in self._opened(connection, rows).values():
            self._ledger.refused(
                opened,
                RequestError(
                    "expired", "Request expired", "its tasks had not been found when its time was over"
                ),
            )

    def _opened(self, connection: Connection, rows: Iterable[Row]) -> dict[int, OpenRequest]:
        opened = {row["id"]: _request(row) for row in rows}
        for row in reading.unanswered(connection, list(opened)) if opened else ():
            opened[row["request"]].deliveries.append(
                Delivery(row["id"], row["reply_topic"], row["correlation"])
            )
        self._ledger.open.update(opened)
        return opened


def _request(row: Row) -> OpenRequest:
    request = validation.reread(row["document"])
    age = max(0, now_ms() - row["received_at"]) / 1000
    return OpenRequest(
        row["id"],
        row["request_id"],
        request,
        RequestState(row["state"]),
        row["received_at"],
        time.monotonic() - age,
        row["expires_at"],
        not_found=json.loads(row["not_found"] or "[]"),
    )


def _start(row: Row, owner: OpenRequest) -> OpenStart:
    start = OpenStart(
        row["id"],
        owner,
        Task(row["task_id"], row["task_name"], row["task_type"]),
        StartState(row["state"]),
        row["run"],
        row["execution_id"],
        row["adopted"],
        row["code"],
        row["details"],
    )
    owner.starts.append(start)
    owner.undecided += start.state is StartState.PLANNED
    return start


def _run(row: Row, starts: list[OpenStart]) -> Run:
    return Run(
        row["id"],
        starts[0].task,
        starts,
        RunState(row["state"]),
        Baseline(row["baseline_result"], from_ms(row["baseline_began"]), from_ms(row["server_date"])),
        row["intended_at"],
        time.monotonic(),
        row["attempts"],
    )

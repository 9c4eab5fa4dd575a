"""
Windows: messages of one rule and key that come close together, and become one request.

A window is a row of the journal from its first message on, with the rule as it was
then; in memory is only what tells when it ends. Each message that joins it is on
disk before its PUBACK.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from butler_mqtt import clock
from butler_mqtt.clock import now_ms
from butler_mqtt.journal import rule_rows, tables
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.journal.write_batch import Value
from butler_mqtt.ledger.rule_records import RuleRecords
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.settings import Coalesce, RuleSettings
from butler_mqtt.steady_clock import elapsed_ms

if TYPE_CHECKING:
    from butler_mqtt.rules.message import RuleMessage

#: Windows of one rule that are open at one time; with one more, that which would end first ends at once.
MAX_WINDOWS = 1000
#: Characters of a key that is kept as it is; of a longer one, its digest is.
_MAX_KEY = 200


class WindowClock:
    """The time of windows: that since the machine was started, which nobody can set."""

    def seconds(self) -> float:
        """Return the present time."""
        return elapsed_ms() / 1000

    def moment(self) -> int:
        """Return the present time for the journal."""
        return clock.moment()

    def age(self, moment: int, at: int) -> float:
        """Return the seconds since a `moment`; after a reboot since *at*, milliseconds since 1970."""
        return clock.seconds_since(moment) or max(0, now_ms() - at) / 1000


@dataclass(slots=True, eq=False)
class Window:
    """One open window; `first` and `last` are when its first and last message came, by `WindowClock`."""

    row: int
    rule: str
    key: str | None
    settings: str
    first: float
    last: float
    count: int
    coalesce: Coalesce

    @property
    def due(self) -> float:
        """When it ends."""
        return min(self.last + self.coalesce.quiet_seconds, self.first + self.coalesce.max_seconds)


class EndedWindow(NamedTuple):
    """
    What a window has become: the rule under which it began, its last message, how many there were.

    `owner` is the identity whose rule it was then, None where nobody was told apart.
    """

    rule: RuleSettings
    message: RuleMessage
    messages: int
    topic: str | None
    owner: str | None


class RuleWindows:
    """
    Opens, fills and ends windows.

    Args:
        turn: Knows what is written in this turn.
        records: Writes windows.
        timer: Their clock.
        most: `MAX_WINDOWS`.
    """

    def __init__(
        self,
        turn: UnitOfWork,
        records: RuleRecords,
        *,
        timer: WindowClock | None = None,
        most: int = MAX_WINDOWS,
    ) -> None:
        self._turn = turn
        self._records = records
        self._clock = timer or WindowClock()
        self._most = most
        #: By rule, then by key.
        self._open: dict[str, dict[str | None, Window]] = {}
        #: When each may end at the earliest, and its row; a window that has grown since is put back.
        self._ends: list[tuple[float, int]] = []
        self._by_row: dict[int, Window] = {}

    def __len__(self) -> int:
        return len(self._by_row)

    @property
    def next_end(self) -> float | None:
        """Return in how many seconds a window may end, None without any."""
        return self._ends[0][0] - self._clock.seconds() if self._ends else None

    def load(self, transaction: Transaction) -> None:
        """Read the open windows."""
        self._open.clear()
        self._by_row.clear()
        self._ends.clear()
        now = self._clock.seconds()
        for row in rule_rows.windows(transaction):
            self._keep(
                Window(
                    row["id"],
                    row["rule"],
                    row["key"],
                    row["settings"],
                    now - self._clock.age(row["first_moment"], row["first_at"]),
                    now - self._clock.age(row["last_moment"], row["last_at"]),
                    row["count"],
                    _read(row["settings"]).coalesce or Coalesce(0, 0),
                )
            )

    def add(
        self,
        transaction: Transaction,
        rule: RuleSettings,
        key: str | None,
        message: RuleMessage,
        *,
        owner: str | None = None,
    ) -> tuple[Window, list[EndedWindow]]:
        """
        Add a message to the window of its rule and key; *owner* is the identity whose rule it is.

        Returns:
            That window, and those that end for it: that of the same key under an
            earlier text or owner of the rule, so that the order of a key is kept, and
            that of another key where too many are open.
        """
        ended: list[EndedWindow] = []
        key = _short(key)
        text = _written(rule, owner)
        windows = self._open.get(rule.name, {})
        window = windows.get(key)
        if window is not None and window.settings != text:
            ended.append(self.end(transaction, window))
            window = None
        now, moment, at = self._clock.seconds(), self._clock.moment(), now_ms()
        last: dict[str, Value] = {
            "last_at": at,
            "last_moment": moment,
            "payload": message.payload,
            "topic": message.topic,
            "properties": json.dumps(dict(message.properties), ensure_ascii=False),
            "received_at": message.received_at,
        }
        if window is not None:
            window.last, window.count = now, window.count + 1
            self._records.window_grew(window.row, count=window.count, **last)
            return window, ended
        if len(windows) >= self._most:
            ended.append(self.end(transaction, min(windows.values(), key=lambda one: one.due)))
        assert rule.coalesce is not None  # noqa: S101 -- narrows the type
        row = self._records.window_began(
            rule=rule.name, key=key, settings=text, first_at=at, first_moment=moment, count=1, **last
        )
        window = Window(row, rule.name, key, text, now, now, 1, rule.coalesce)
        self._keep(window)
        return window, ended

    def due(self) -> Iterator[Window]:
        """Return the windows whose time is over, the one that was over first first; each is to be ended."""
        now = self._clock.seconds()
        while self._ends and self._ends[0][0] <= now:
            _, row = heapq.heappop(self._ends)
            window = self._by_row.get(row)
            if window is None:
                continue
            if window.due > now:
                heapq.heappush(self._ends, (window.due, row))
            else:
                yield window

    def end(self, transaction: Transaction, window: Window) -> EndedWindow:
        """End a window, and return what it has become."""
        stored = rule_rows.window(transaction, window.row)
        values: dict[str, Any] = {**stored, **self._turn.unit.changed(tables.rule_windows, window.row)}
        self._records.window_ended(window.row)
        del self._by_row[window.row]
        of_rule = self._open[window.rule]
        del of_rule[window.key]
        if not of_rule:
            del self._open[window.rule]
        # Loaded only where there are rules: expressions are costly to load.
        from butler_mqtt.rules.message import RuleMessage  # noqa: PLC0415 -- as above

        message = RuleMessage(
            values["payload"],
            values["topic"] or "",
            json.loads(values["properties"]),
            values["received_at"],
        )
        owner = json.loads(window.settings).get("owner")
        return EndedWindow(_read(window.settings), message, window.count, message.topic or None, owner)

    def ends_at(self, window: Window) -> int:
        """Return when a window ends without a further message, in milliseconds since 1970."""
        return now_ms() + max(0, round((window.due - self._clock.seconds()) * 1000))

    def _keep(self, window: Window) -> None:
        self._open.setdefault(window.rule, {})[window.key] = window
        self._by_row[window.row] = window
        heapq.heappush(self._ends, (window.due, window.row))


def _short(key: str | None) -> str | None:
    if key is None or len(key) <= _MAX_KEY:
        return key
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _written(rule: RuleSettings, owner: str | None) -> str:
    """Write what a window needs of its rule; the secret of a webhook is not for the journal."""
    kept = ("name", "payload", "when", "start")
    values = {name: getattr(rule, name) for name in kept}
    values["coalesce"] = None if rule.coalesce is None else asdict(rule.coalesce)
    if owner is not None:
        values["owner"] = owner
    return json.dumps(values, ensure_ascii=False, sort_keys=True, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def _read(text: str) -> RuleSettings:
    values = json.loads(text)
    coalesce = values["coalesce"]
    return RuleSettings(
        values["name"],
        payload=values["payload"],
        when=values["when"],
        start=values["start"],
        coalesce=None if coalesce is None else Coalesce(**coalesce),
    )

"""
The alerts in the journal: grouped, sent one at a time for each target, repeated, set aside.

Written within the turns of the pipeline, which alone uses it. A row is there from
the transaction that records its cause until another alert about the same may be
sent; it is handed to the sender only after that transaction is on disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from butler_mqtt.alerting import alert_text
from butler_mqtt.alerting.alert_sender import AlertSender, OutgoingAlert
from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.clock import now_ms
from butler_mqtt.domain.alert import Alert, decode
from butler_mqtt.domain.completions import AlertNotSent, AlertSent
from butler_mqtt.journal import alert_rows, tables
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.settings import AlertTarget

#: Alerts that wait for one target; what is more is counted in one for each kind.
MAX_WAITING: Final = 200
#: Refusals after which an alert is set aside that its target hardly takes.
MAX_REFUSALS: Final = 5
#: Why an alert is set aside whose target is gone.
_GONE: Final = "the target is not configured any more"
#: Subject of the alert that counts what is more.
_MORE: Final = "more"
#: The kind of alerts that something is well again.
_RECOVERED: Final = "recovered"
#: Seconds between two searches for rows that are not needed any more.
_TIDY_SECONDS: Final = 5.0

_log = logging.getLogger("butler_mqtt.alerting")


@dataclass(slots=True)
class _Waiting:
    """An alert that is to be sent; `attempts` failed."""

    row: int
    alert: Alert
    due_at: int
    attempts: int = 0


@dataclass(slots=True)
class _State:
    """A target, what waits for it by kind and subject, and what was sent lately (row and time)."""

    target: AlertTarget
    waiting: dict[tuple[str, str], _Waiting]
    sent: dict[tuple[str, str], tuple[int, int]]
    sending: _Waiting | None = None
    sending_since: float = 0.0
    failures: int = 0
    resume_at: float = 0.0
    fault: str = ""


class AlertBook:
    """
    What waits for each target.

    Args:
        turn: Gathers the rows.
        sender: Sends.
        timings: Pauses.
        monotonic: Their clock.
        now: The present time in milliseconds since 1970, for what is in the journal.
    """

    def __init__(
        self,
        turn: UnitOfWork,
        sender: AlertSender,
        timings: AlertTimings,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = now_ms,
    ) -> None:
        self._turn = turn
        self._sender = sender
        self._timings = timings
        self._monotonic = monotonic
        self._now = now
        self._states: dict[str, _State] = {}
        self._tidy_at = 0.0
        self._handing_over = False

    def faults(self) -> dict[str, str]:
        """Return why targets do not take alerts at present, by name; for any thread."""
        now = self._monotonic()
        found = {}
        for name, state in list(self._states.items()):
            silent = now - state.sending_since if state.sending is not None else 0.0
            if state.fault:
                found[name] = state.fault
            elif silent > self._timings.patience:
                found[name] = f"has not answered for {silent:.0f} s"
        return found

    def configure(self, targets: Iterable[AlertTarget]) -> None:
        """Send to these targets from now on; what waits for others is set aside."""
        before = self._states
        self._states = {}
        for target in targets:
            old = before.get(target.name)
            state = self._states[target.name] = old or _State(target, {}, {})
            if state.target != target:
                state.target, state.failures, state.resume_at, state.fault = target, 0, 0.0, ""
        for name in before.keys() - self._states.keys():
            for one in before[name].waiting.values():
                self._set_aside(one.row, name, _GONE)
            for row, _ in before[name].sent.values():
                self._turn.unit.delete(tables.alerts, row)
        self._sender.keep([state.target for state in self._states.values()])

    def pause(self) -> None:
        """Send nothing any more; what waits stays in the journal."""
        self._states = {}
        self._sender.keep(())

    def load(self, transaction: Transaction, targets: Iterable[AlertTarget]) -> None:
        """Send to *targets* what is in the journal; what a thread is sending stays with it."""
        for state in self._states.values():
            state.waiting, state.sent = {}, {}
        self.configure(targets)
        self._handing_over = False
        for row in alert_rows.kept(transaction):
            state_of = self._states.get(row["target"])
            key = (row["kind"], row["subject"])
            if row["sent_at"] is not None:
                if state_of is None:
                    self._turn.unit.delete(tables.alerts, row["id"])
                else:
                    state_of.sent[key] = (row["id"], row["sent_at"])
            elif state_of is None:
                self._set_aside(row["id"], row["target"], _GONE)
            elif state_of.sending is None or state_of.sending.row != row["id"]:
                one = _Waiting(row["id"], decode(row["content"]), row["due_at"], row["attempts"])
                self._wait(state_of, key, one)

    def add(self, alert: Alert, wanted: Callable[[AlertTarget], bool]) -> None:
        """Record an alert for each target that wants it; it is sent once that is on disk."""
        for state in self._states.values():
            if alert.kind in state.target.on and wanted(state.target):
                self._put(state, alert if state.target.script_log else replace(alert, script_log=()))

    def step(self) -> None:
        """Send what is due, and forget what is not needed any more."""
        now, moment = self._monotonic(), self._now()
        if any(
            state.sending is None and state.resume_at <= now and _is_due(state, one, moment)
            for state in self._states.values()
            for one in state.waiting.values()
        ):
            self._hand_over_later()
        if now < self._tidy_at:
            return
        self._tidy_at = now + _TIDY_SECONDS
        for state in self._states.values():
            old = moment - round(1000 * state.target.min_interval_seconds)
            for key in [key for key, (_, sent_at) in state.sent.items() if sent_at <= old]:
                self._turn.unit.delete(tables.alerts, state.sent.pop(key)[0])

    def sent(self, event: AlertSent) -> None:
        """Record that a target took an alert."""
        state, one = self._of(event)
        if state is None or one is None:
            # Its target is not configured any more, or it was sent again by an operator meanwhile.
            self._turn.unit.delete(tables.alerts, event.row)
            return
        self._turn.count(self._turn.counting.alert, event.target, "sent")
        if state.fault:
            self._turn.after(_log_well, event.target)
        state.failures, state.fault, state.resume_at = 0, "", 0.0
        key = (one.alert.kind, one.alert.subject)
        before = state.sent.pop(key, None)
        if before is not None:
            self._turn.unit.delete(tables.alerts, before[0])
        if state.target.min_interval_seconds:
            now = self._now()
            state.sent[key] = (one.row, now)
            self._turn.unit.update(tables.alerts, one.row, sent_at=now, reason=None)
        else:
            self._turn.unit.delete(tables.alerts, one.row)
        self._hand_over_later()

    def not_sent(self, event: AlertNotSent) -> None:
        """Record that a target did not take an alert: again later, or set aside."""
        state, one = self._of(event)
        if state is None:
            if self._states:
                self._set_aside(event.row, event.target, _GONE)
            return
        if one is None:
            return
        one.attempts += 1
        state.failures += 1
        pause = min(self._timings.first_pause * 2 ** min(state.failures - 1, 20), self._timings.most_pause)
        state.resume_at = self._monotonic() + pause
        if not state.fault:
            self._turn.after(_log_not_sent, event.target, event.reason)
        state.fault = event.reason
        late = self._now() - one.due_at >= 1000 * self._timings.give_up
        if late or (event.final and one.attempts >= MAX_REFUSALS):
            self._set_aside(one.row, event.target, event.reason, one.attempts)
            return
        self._turn.count(self._turn.counting.alert, event.target, "failed")
        key = (one.alert.kind, one.alert.subject)
        newer = state.waiting.pop(key, None)
        self._turn.unit.update(tables.alerts, one.row, attempts=one.attempts, reason=event.reason)
        self._wait(state, key, one)
        if newer is not None:
            self._wait(state, key, newer)

    def dropped(self, event: AlertSent | AlertNotSent) -> None:
        """Forget what a thread is sending, since what became of it was lost; `load` has it again."""
        state = self._states.get(event.target)
        if state is not None:
            state.sending = None

    # ---- helpers

    def _wait(self, state: _State, key: tuple[str, str], one: _Waiting) -> None:
        """Let an alert wait; with an older one about the same, which was being sent, it becomes one."""
        older = state.waiting.setdefault(key, one)
        if older is not one:
            self._join(state, older, one.alert, one.row)
            self._turn.unit.delete(tables.alerts, one.row)

    def _join(self, state: _State, older: _Waiting, later: Alert, row: int | None = None) -> None:
        """Make one of two alerts, which goes behind what the *later* one, of *row*, has put an end to."""
        before = [one.due_at for one in _opposites(state, later) if row is None or one.row < row]
        older.alert = older.alert.joined(later)
        older.due_at = max(older.due_at, *(due_at + 1 for due_at in before), 0)
        self._turn.unit.update(tables.alerts, older.row, content=older.alert.encode(), due_at=older.due_at)

    def _take_back(self, state: _State, alert: Alert) -> None:
        """
        Delete what waits for its interval and is not so any more.

        Sent at its end, behind this one, it would be the last that is heard of the task.
        What waits because the target does not take it goes before this one.
        """
        moment = self._now()
        for one in _opposites(state, alert):
            if not _is_due(state, one, moment):
                del state.waiting[one.alert.kind, alert.subject]
                self._turn.unit.delete(tables.alerts, one.row)

    def _put(self, state: _State, alert: Alert) -> None:
        self._take_back(state, alert)
        key = (alert.kind, alert.subject)
        if key not in state.waiting and len(state.waiting) >= MAX_WAITING:
            alert = replace(
                alert, subject=_MORE, title=f"more alerts of the kind {alert.kind}", task="", app="", node=""
            )
            key = (alert.kind, _MORE)
        one = state.waiting.get(key)
        if one is not None:
            self._join(state, one, alert)
            return
        now = self._now()
        one = _Waiting(self._turn.new_id(tables.alerts), alert, self._due(state, key, now))
        state.waiting[key] = one
        self._turn.unit.insert(
            tables.alerts,
            {
                "id": one.row,
                "target": state.target.name,
                "kind": alert.kind,
                "subject": alert.subject,
                "content": alert.encode(),
                "created_at": now,
                "due_at": one.due_at,
                "attempts": 0,
            },
        )
        self._hand_over_later()

    def _due(self, state: _State, key: tuple[str, str], now: int) -> int:
        """Return when an alert may be sent, after the last one about the same."""
        interval = round(1000 * state.target.min_interval_seconds)
        sending = state.sending
        if sending is not None and (sending.alert.kind, sending.alert.subject) == key:
            return now + interval
        last = state.sent.get(key)
        return now if last is None else max(now, last[1] + interval)

    def _hand_over_later(self) -> None:
        if not self._handing_over:
            self._handing_over = True
            self._turn.after(self._hand_over)

    def _hand_over(self) -> None:
        """Pass to each target that is free what is due first; what waits is on disk."""
        self._handing_over = False
        now, moment = self._monotonic(), self._now()
        for state in self._states.values():
            if state.sending is not None or state.resume_at > now:
                continue
            due = [
                (one.due_at, one.row, key)
                for key, one in state.waiting.items()
                if _is_due(state, one, moment)
            ]
            if due:
                one = state.sending = state.waiting.pop(min(due)[2])
                state.sending_since = now
                alert = one.alert
                self._sender.send(
                    state.target,
                    OutgoingAlert(
                        one.row, alert_text.title(alert), alert_text.body(alert), alert.kind == _RECOVERED
                    ),
                )

    def _of(self, event: AlertSent | AlertNotSent) -> tuple[_State | None, _Waiting | None]:
        """Return the target of an event, and what it was sending; a turn that is repeated finds it too."""
        state = self._states.get(event.target)
        if state is None:
            return None, None
        one = state.sending
        if one is not None and one.row == event.row:
            state.sending = None
            return state, one
        for key, waiting in state.waiting.items():
            if waiting.row == event.row:
                return state, state.waiting.pop(key)
        return state, None

    def _set_aside(self, row: int, target: str, reason: str, attempts: int | None = None) -> None:
        made = {} if attempts is None else {"attempts": attempts}
        self._turn.unit.update(tables.alerts, row, quarantined_at=self._now(), reason=reason, **made)
        self._turn.count(self._turn.counting.alert, target, "set_aside")
        self._turn.after(_log_set_aside, target, reason)


def _opposites(state: _State, alert: Alert) -> list[_Waiting]:
    """Return what waits about the same: recoveries where *alert* is none, else all but these."""
    return [
        one
        for (kind, subject), one in state.waiting.items()
        if subject == alert.subject and (kind == _RECOVERED) is not (alert.kind == _RECOVERED)
    ]


def _is_due(state: _State, one: _Waiting, moment: int) -> bool:
    """Return whether an alert may be sent: at once too where the clock was set back since."""
    return not 0 < one.due_at - moment <= round(1000 * state.target.min_interval_seconds)


def _log_well(target: str) -> None:
    _log.info("the target %s takes alerts again", target, extra={"action": "alert_target_well"})


def _log_not_sent(target: str, reason: str) -> None:
    _log.warning(
        "the target %s does not take an alert: %s; it is tried again",
        target,
        reason,
        extra={"action": "alert_not_sent"},
    )


def _log_set_aside(target: str, reason: str) -> None:
    _log.error(
        "an alert for the target %s is set aside: %s; fix the cause, then butler-mqtt requests resend --all",
        target,
        reason,
        extra={"action": "alert_set_aside"},
    )

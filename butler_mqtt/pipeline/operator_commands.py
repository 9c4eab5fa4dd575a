"""
What an operator decides about dead letters, about held requests and about old requests.

The daemon is the only writer of its journal, so `butler-mqtt requests` leaves a
command in a file beside the journal, which the pipeline applies with a turn.
Applying a command twice changes nothing, so the file is removed after the commit.
"""

from __future__ import annotations

import errno
import json
import logging
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Publication
from butler_mqtt.journal import alert_rows, held_requests, queries, tables
from butler_mqtt.journal.pruning import Order, Pruning
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.printable import counted

#: Messages in one command, so that no turn is held up.
MAX_MESSAGES = 200
#: A command is a list of numbers; a larger file holds none.
MAX_BYTES = 65536

#: No file can be opened now, whatever is in it.
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_log = logging.getLogger("butler_mqtt.operator_commands")


class Action(StrEnum):
    """What becomes of dead letters, of requests held since a backup was restored, or of old requests."""

    RESEND = "resend"
    DISCARD = "discard"
    #: Held requests are released, or what has not begun of them is cancelled.
    RESUME = "resume"
    CANCEL = "cancel"
    #: Old requests are deleted.
    PRUNE = "prune"

    @property
    def of_held(self) -> bool:
        """Return whether it is about held requests."""
        return self in {Action.RESUME, Action.CANCEL}


@dataclass(frozen=True, slots=True)
class Command:
    """
    An action and what it is about.

    Attributes:
        action: What is done.
        messages: Dead letters by their rows in the outbox; for held requests the
            rows of the requests, none for all that are held.
        order: Which requests are deleted, with `Action.PRUNE` only.
        alerts: Alerts that were set aside, by their rows.
    """

    action: Action
    messages: tuple[int, ...]
    order: Order | None = None
    alerts: tuple[int, ...] = ()

    def encode(self) -> str:
        """Write it as JSON text."""
        order = asdict(self.order) if self.order is not None else None
        document = {"action": self.action, "messages": self.messages, "order": order}
        return json.dumps(document | ({"alerts": self.alerts} if self.alerts else {}))


def place(journal: Path) -> Path:
    """Return the file that holds a command to the daemon of *journal*."""
    return Path(f"{journal}.command")


def parse(text: bytes) -> Command:
    """Read a command; raises ValueError when it is none."""
    try:
        document = json.loads(text)
        action, order = Action(document["action"]), document.get("order")
        if (action is Action.PRUNE) != (order is not None):
            raise ValueError("no command")
        return Command(
            action,
            tuple(int(row) for row in document["messages"]),
            order and Order(int(order["before"]), bool(order["refused"]), int(order["last"])),
            tuple(int(row) for row in document.get("alerts", ())),
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("no command") from error


def apply(turn: UnitOfWork, transaction: Transaction, command: Command) -> int:
    """
    Apply a command.

    A message that is sent again gets a new row at the end of the outbox, so
    that it is published like any other.

    Returns:
        The number of dead letters and alerts sent again or discarded, or of held
        requests released.
    """
    if command.action.of_held:
        return _release(turn, transaction, command)
    alerts = _alerts(turn, transaction, command)
    rows = queries.dead_letters(transaction, command.messages)
    for row in rows:
        turn.unit.delete(tables.outbox, row["id"])
        if command.action is Action.RESEND:
            identity = turn.new_id(tables.outbox)
            fresh = {"id": identity, "refusals": 0, "quarantined_at": None, "reason": None}
            turn.unit.insert(tables.outbox, {**row, **fresh, "created_at": now_ms()})
            turn.publications.append(
                Publication(
                    identity,
                    row["topic"],
                    row["payload"],
                    row["request_id"],
                    row["correlation"],
                    row["delivery"],
                )
            )
        _log.warning(
            "request %s: an operator %s a message for %s that the broker had not taken: %s",
            row["request_id"],
            "discarded" if command.action is Action.DISCARD else "sends again",
            row["topic"],
            row["reason"],
            extra={"action": f"message_{command.action}", "request_id": row["request_id"]},
        )
    return len(rows) + alerts


def _alerts(turn: UnitOfWork, transaction: Transaction, command: Command) -> int:
    """Have alerts sent again that were set aside, or discard them."""
    rows = alert_rows.set_aside(transaction, command.alerts) if command.alerts else ()
    for row in rows:
        if command.action is Action.RESEND:
            fresh = {"due_at": now_ms(), "attempts": 0, "quarantined_at": None, "reason": None}
            turn.unit.update(tables.alerts, row["id"], **fresh)
        else:
            turn.unit.delete(tables.alerts, row["id"])
    if rows:
        _log.warning(
            "an operator %s %s",
            "discarded" if command.action is Action.DISCARD else "sends again",
            counted(len(rows), "alert that its target had not taken", "alerts that targets had not taken"),
            extra={"action": f"alert_{command.action}"},
        )
    return len(rows)


def _release(turn: UnitOfWork, transaction: Transaction, command: Command) -> int:
    cancel = command.action is Action.CANCEL
    released = held_requests.release(transaction, command.messages, cancel=cancel)
    for row in released.rows:
        done = (
            "an operator discarded it: what had not begun is cancelled"
            if cancel
            else "an operator released it"
        )
        turn.unit.insert(
            tables.notes,
            {
                "id": turn.new_id(tables.notes),
                "request": row,
                "noted_at": now_ms(),
                "kind": held_requests.RESUMED,
                "text": done,
            },
        )
    if released.rows:
        _log.warning(
            "an operator %s %s held requests with %s messages",
            "discarded" if cancel else "let go on",
            len(released.rows),
            released.messages,
            extra={"action": "requests_resumed"},
        )
    return len(released.rows)


class OperatorCommands:
    """
    Applies the commands left beside the journal.

    Args:
        turn: Gathers the changes.
        journal: The journal's file.
        pruning: Deletes old requests.
        seconds: Between two checks for a command.
    """

    def __init__(self, turn: UnitOfWork, journal: Path, pruning: Pruning, seconds: float) -> None:
        self._turn = turn
        self._pruning = pruning
        self._file = place(journal)
        self._seconds = seconds
        self._due = 0.0
        #: Whether held requests were released, so that the journal is to be read again.
        self.resumed = False

    def step(self, transaction: Transaction) -> None:
        """Apply a command that has been left, within the turn's transaction."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._seconds
        try:
            with self._file.open("rb") as file:
                command = parse(file.read(MAX_BYTES))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _PASSING:
                return  # whether there is a command shows later
            _log.warning(
                "the command in %s cannot be applied: %s",
                self._file,
                error,
                extra={"action": "command_refused"},
            )
        else:
            if command.order is not None:
                self._pruning.begin(command.order)
            some = Command(command.action, _first(command.messages), alerts=_first(command.alerts))
            done = apply(self._turn, transaction, some)
            if (command.action.of_held or command.alerts) and done:
                self._turn.after(self._read_again)
        self._turn.after(self._remove)

    def _read_again(self) -> None:
        self.resumed = True

    def _remove(self) -> None:
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            _log.warning(
                "%s cannot be removed: %s", self._file, error.strerror, extra={"action": "command_refused"}
            )


def _first(messages: Collection[int]) -> tuple[int, ...]:
    return tuple(messages)[:MAX_MESSAGES]

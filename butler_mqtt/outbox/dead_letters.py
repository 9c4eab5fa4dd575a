"""
What an operator decides about messages that the broker did not take, and about held requests.

The daemon is the only writer of its journal, so `butler-mqtt requests` leaves a
command in a file beside the journal, which the pipeline takes in with a turn.
Repeating a command changes nothing, so it is removed after the commit.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Publication
from butler_mqtt.journal import held_requests, queries, tables
from butler_mqtt.journal.pruning import Order, Pruning
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork

#: Messages in one command, so that no turn is held up.
MAX_MESSAGES = 200
#: Seconds between two looks for a command.
POLL_SECONDS = 0.5
#: A command is a list of numbers; what is larger is none.
MAX_BYTES = 65536

_log = logging.getLogger("butler_mqtt.quarantine")


class Action(StrEnum):
    """What is to become of messages set aside, or of requests held since a backup was restored."""

    RESEND = "resend"
    DISCARD = "discard"
    #: Held requests go on, or what of them has not begun is cancelled.
    RESUME = "resume"
    CANCEL = "cancel"
    #: Of requests, not of messages.
    PRUNE = "prune"

    @property
    def of_held(self) -> bool:
        """Tell whether it is about held requests."""
        return self in {Action.RESUME, Action.CANCEL}


@dataclass(frozen=True, slots=True)
class Command:
    """
    Messages by their rows in the outbox, and what is to become of them; or requests to be forgotten.

    For held requests `messages` are rows of requests; none: all that are held.
    """

    action: Action
    messages: tuple[int, ...]
    order: Order | None = None

    def encode(self) -> str:
        """Write it as JSON text."""
        order = asdict(self.order) if self.order is not None else None
        return json.dumps({"action": self.action, "messages": self.messages, "order": order})


def place(journal: Path) -> Path:
    """Give the file in which a command to the daemon of *journal* stands."""
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
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("no command") from error


def apply(turn: UnitOfWork, transaction: Transaction, command: Command) -> int:
    """
    Carry a command out.

    A message that is sent again takes a new place at the end of the outbox,
    so that it passes like any other.

    Returns:
        The number of messages that were set aside, or of requests that were
        held, and are not any more.
    """
    if command.action.of_held:
        return _release(turn, transaction, command)
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
    return len(rows)


def _release(turn: UnitOfWork, transaction: Transaction, command: Command) -> int:
    cancel = command.action is Action.CANCEL
    released = held_requests.release(transaction, command.messages, cancel=cancel)
    for row in released.rows:
        done = (
            "an operator discarded it: what had not begun is cancelled"
            if cancel
            else "an operator let it go on"
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


class DeadLetters:
    """
    Takes in the commands left beside the journal at *journal*; *pruning* carries out some of them.

    `resumed` tells that requests are not held any more, so that the journal is
    to be read anew.
    """

    def __init__(self, turn: UnitOfWork, journal: Path, pruning: Pruning) -> None:
        self._turn = turn
        self._pruning = pruning
        self._file = place(journal)
        self._due = 0.0
        self.resumed = False

    def step(self, transaction: Transaction) -> None:
        """Carry out a command that has been left, within the turn's transaction."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + POLL_SECONDS
        try:
            with self._file.open("rb") as file:
                command = parse(file.read(MAX_BYTES))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _log.warning(
                "the command in %s cannot be carried out: %s",
                self._file,
                error,
                extra={"action": "command_refused"},
            )
        else:
            if command.order is not None:
                self._pruning.begin(command.order)
            done = apply(self._turn, transaction, Command(command.action, _first(command.messages)))
            if command.action.of_held and done:
                self._turn.after(self._read_anew)
        self._turn.after(self._remove)

    def _read_anew(self) -> None:
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

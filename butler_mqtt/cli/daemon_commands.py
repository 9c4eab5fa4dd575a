"""Commands for the one writer of a journal: passed to the daemon that runs, else carried out here."""

from __future__ import annotations

import os
from pathlib import Path

from butler_mqtt import posix
from butler_mqtt.errors import JournalError
from butler_mqtt.journal.sqlite import Journal, highest_ids
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.pipeline.command_submission import CommandLimits, submit
from butler_mqtt.pipeline.operator_commands import Command, apply


def carry_out(journal: Path, command: Command, limits: CommandLimits) -> str | None:
    """
    Carry a command out here, or pass it to the daemon that holds the journal.

    Returns:
        When it takes effect, in words; None when the daemon did not accept it.

    Raises:
        JournalError: The journal or its folder cannot be written.
    """
    try:
        os.close(posix.lock(Path(f"{journal}.lock")))
    except BlockingIOError:
        return "now" if submit(journal, command, limits) else None
    except OSError as error:
        raise JournalError(
            f"{error.filename}: {error.strerror}; run this as the user of the service"
        ) from error
    writer = Journal(f"sqlite:///{journal}")
    try:
        writer.open()
        with writer.transaction() as connection:
            unit_of_work = UnitOfWork()
            unit_of_work.number_from(highest_ids(connection))
            apply(unit_of_work, connection, command)
            unit_of_work.unit.write(connection)
    finally:
        writer.close()
    return "when the daemon runs"


def not_accepted(journal: Path, limits: CommandLimits) -> str:
    """Return the message that the running daemon did not accept a command."""
    return (
        f"the daemon that holds {journal} did not accept the command within {limits.accept_seconds:g} s; "
        "it was withdrawn, nothing has changed: see the daemon's log"
    )

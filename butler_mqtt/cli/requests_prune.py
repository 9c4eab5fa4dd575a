"""`requests prune`: forgets requests before their time, by the daemon or without it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import typer

from butler_mqtt import posix
from butler_mqtt.cli import printing, requests_retry
from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal.pruning import Order, Pruning, Survey, count, survey
from butler_mqtt.journal.search import Search
from butler_mqtt.journal.sqlite import Journal, reading
from butler_mqtt.pipeline.operator_commands import Action, Command, place

#: Batches of one transaction where no daemon runs.
BATCHES = 20
#: Seconds between two looks at how far the daemon is, and without progress until it is given up.
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 30.0

_MB = 1024 * 1024


def prune(journal: Path, order: Order, *, dry_run: bool) -> ExitCode:
    """
    Forget the requests of *order*; with *dry_run* tell only which.

    Returns:
        FAILED when the running daemon does not take the command or get on with it.

    Raises:
        JournalError: The journal cannot be read or written.
    """
    with Search(journal):
        pass  # it is one, of this format
    found = _survey(journal, order)
    stay = f"; {found.stay} stay, of which something is still to come or was set aside" if found.stay else ""
    if dry_run or not found.go:
        typer.echo(f"{found.go} requests would be forgotten, {found.size / _MB:.1f} MB of texts{stay}")
        return ExitCode.OK
    try:
        os.close(posix.lock(Path(f"{journal}.lock")))
    except BlockingIOError:
        return _by_the_daemon(journal, order, found)
    except OSError as error:
        raise JournalError(
            f"{error.filename}: {error.strerror}; run this as the user of the service"
        ) from error
    before = journal.stat().st_size
    gone = _here(journal, order, found)
    typer.echo(
        f"{gone} requests are forgotten{stay}; {journal} has {journal.stat().st_size / _MB:.1f} MB, "
        f"before {before / _MB:.1f} MB"
    )
    return ExitCode.OK


def _survey(journal: Path, order: Order) -> Survey:
    found = Survey(0, 0, 0)
    with printing.progress() as shown, reading(journal) as transaction:
        line = shown.add_task("looking")
        for found in survey(transaction, order):
            shown.update(line, description=f"looking: {found.go} requests")
    return found


def _here(journal: Path, order: Order, found: Survey) -> int:
    """Do it in this process, and give the space back at once."""
    pruning = Pruning()
    pruning.begin(order)
    writer = Journal(f"sqlite:///{journal}")
    with printing.progress() as shown:
        line = shown.add_task("forgetting")
        try:
            writer.open()
            while not pruning.over:
                with writer.transaction() as transaction:
                    pruning.hurry(transaction, BATCHES)
                shown.update(line, description=f"forgetting: {pruning.gone} of {found.go} requests")
            shown.update(line, description="giving the space back")
            writer.give_back()
        finally:
            writer.close()
    return pruning.gone


def _by_the_daemon(journal: Path, order: Order, found: Survey) -> ExitCode:
    """Have the daemon do it, the one writer of its journal, and wait until it has."""
    if not requests_retry.hand_over(place(journal), Command(Action.PRUNE, (), order)):
        printing.complain(
            f"the daemon that holds {journal} did not take the command in "
            f"{requests_retry.HANDOVER_SECONDS:g} s; it was withdrawn, nothing has changed: "
            "look at the daemon's log"
        )
        return ExitCode.FAILED
    left = found.go + found.stay
    deadline = time.monotonic() + PATIENCE_SECONDS
    with printing.progress() as shown:
        line = shown.add_task("the daemon forgets them")
        while left > found.stay:
            if time.monotonic() >= deadline:
                printing.complain(
                    f"{left - found.stay} of {found.go} requests are still there and the daemon has not "
                    f"got on for {PATIENCE_SECONDS:g} s: look at its log, then ask again"
                )
                return ExitCode.FAILED
            time.sleep(POLL_SECONDS)
            with reading(journal) as transaction:
                now = count(transaction, order)
            if now < left:
                left, deadline = now, time.monotonic() + PATIENCE_SECONDS
            done = found.go + found.stay - left
            shown.update(line, description=f"the daemon forgets them: {done} of {found.go} requests")
    stay = f"; {found.stay} stay, of which something is still to come or was set aside" if found.stay else ""
    typer.echo(
        f"{found.go} requests are forgotten{stay}; the daemon gives their space back little by little, "
        "but for a tenth of the file, which it uses again"
    )
    return ExitCode.OK

"""`requests prune`: deletes requests early, by the daemon or without it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from butler_mqtt import posix
from butler_mqtt.cli import printing
from butler_mqtt.cli.daemon_commands import not_accepted
from butler_mqtt.cli.terminal import echo
from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal.pruning import Order, Pruning, Survey, count, survey
from butler_mqtt.journal.search import Search
from butler_mqtt.journal.sqlite import Journal, reading
from butler_mqtt.pipeline.command_submission import CommandLimits, submit
from butler_mqtt.pipeline.operator_commands import Action, Command
from butler_mqtt.printable import counted

#: Batches of one transaction where no daemon runs.
BATCHES = 20

_MB = 1024 * 1024


def prune(journal: Path, order: Order, *, dry_run: bool, limits: CommandLimits | None = None) -> ExitCode:
    """
    Delete the requests of *order*; with *dry_run* print only how many.

    Args:
        journal: The file; its daemon may be running or not.
        order: Which requests.
        dry_run: Delete none.
        limits: How long it waits for the daemon.

    Returns:
        FAILED when the running daemon does not accept the command, or makes no progress.

    Raises:
        JournalError: The journal cannot be read or written.
    """
    with Search(journal):
        pass  # raises if it is no journal of this format
    found = _survey(journal, order)
    stay = _kept(found)
    if dry_run or not found.go:
        echo(f"{counted(found.go, 'request')} would be deleted, {found.size / _MB:.1f} MB of texts{stay}")
        return ExitCode.OK
    try:
        os.close(posix.lock(Path(f"{journal}.lock")))
    except BlockingIOError:
        return _by_the_daemon(journal, order, found, limits or CommandLimits())
    except OSError as error:
        raise JournalError(
            f"{error.filename}: {error.strerror}; run this as the user of the service"
        ) from error
    before = journal.stat().st_size
    gone = _here(journal, order, found)
    echo(
        f"{counted(gone, 'request is', 'requests are')} deleted{stay}; "
        f"{journal} has {journal.stat().st_size / _MB:.1f} MB, before {before / _MB:.1f} MB"
    )
    return ExitCode.OK


def _survey(journal: Path, order: Order) -> Survey:
    found = Survey(0, 0, 0)
    with printing.progress() as shown, reading(journal) as transaction:
        line = shown.add_task("counting")
        for found in survey(transaction, order):
            shown.update(line, description=f"counting: {counted(found.go, 'request')}")
    return found


def _kept(found: Survey) -> str:
    if not found.stay:
        return ""
    return f"; {counted(found.stay, 'stays', 'stay')}, with something still to come or a dead letter"


def _here(journal: Path, order: Order, found: Survey) -> int:
    """Delete in this process, and give the space back to the disk at once."""
    pruning = Pruning()
    pruning.begin(order)
    writer = Journal(f"sqlite:///{journal}")
    with printing.progress() as shown:
        line = shown.add_task("deleting")
        try:
            writer.open()
            while not pruning.over:
                with writer.transaction() as transaction:
                    pruning.hurry(transaction, BATCHES)
                shown.update(line, description=f"deleting: {pruning.gone} of {counted(found.go, 'request')}")
            shown.update(line, description="giving the space back to the disk")
            writer.give_back()
        finally:
            writer.close()
    return pruning.gone


def _by_the_daemon(journal: Path, order: Order, found: Survey, limits: CommandLimits) -> ExitCode:
    """Have the daemon, the one writer of its journal, delete, and wait for it."""
    if not submit(journal, Command(Action.PRUNE, (), order), limits):
        return printing.failed(not_accepted(journal, limits))
    left = found.go + found.stay
    deadline = time.monotonic() + limits.patience_seconds
    with printing.progress() as shown:
        line = shown.add_task("the daemon deletes them")
        while left > found.stay:
            if time.monotonic() >= deadline:
                return printing.failed(
                    f"{left - found.stay} of {counted(found.go, 'request is', 'requests are')} still there "
                    f"and the daemon has made no progress for {limits.patience_seconds:g} s: "
                    "see its log, then repeat this command"
                )
            time.sleep(limits.poll_seconds)
            with reading(journal) as transaction:
                now = count(transaction, order)
            if now < left:
                left, deadline = now, time.monotonic() + limits.patience_seconds
            done = found.go + found.stay - left
            shown.update(
                line, description=f"the daemon deletes them: {done} of {counted(found.go, 'request')}"
            )
    stay = _kept(found)
    echo(
        f"{counted(found.go, 'request is', 'requests are')} deleted{stay}; "
        "the daemon gives their space back to the disk little by little, "
        "but for a tenth of the file, which it uses again"
    )
    return ExitCode.OK

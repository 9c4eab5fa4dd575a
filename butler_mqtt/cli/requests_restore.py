"""`requests restore` and `resume`: a backup becomes the journal; what is open in it is held, then resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from butler_mqtt.cli import printing
from butler_mqtt.cli.daemon_commands import carry_out, not_accepted
from butler_mqtt.cli.terminal import echo
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal.restore import give_as_root
from butler_mqtt.journal.restore import restore as put_in_place
from butler_mqtt.journal.search import Search
from butler_mqtt.journal.sqlite import FORMAT
from butler_mqtt.pipeline.command_submission import CommandLimits
from butler_mqtt.pipeline.operator_commands import Action, Command
from butler_mqtt.printable import counted


def restore(journal: Path, copy: Path) -> ExitCode:
    """
    Make a backup the journal, with all that is open in it held.

    Raises:
        JournalError: The copy cannot be used, or a daemon runs; nothing has changed.
    """
    done = put_in_place(journal, copy, give_as_root())
    older = f", brought from format {done.found} to {FORMAT}" if done.found != FORMAT else ""
    printing.print_line(f"{copy} is checked and is now {journal}{older}")
    if done.aside is not None:
        printing.print_line(f"the file that was there is kept as {done.aside}")
    printing.print_line(f"requests held: {done.held}")
    if done.held:
        echo(
            "The daemon may be started; of these it starts, reconciles and publishes nothing until you "
            "resume them:\n"
            f"  butler-mqtt requests --held --journal {journal}\n"
            f"  butler-mqtt requests resume ID --journal {journal}            continue it\n"
            f"  butler-mqtt requests resume ID --discard --journal {journal}  cancel what has not begun"
        )
    return ExitCode.OK


def resume(
    journal: Path, request_ids: Sequence[str], *, discard: bool, limits: CommandLimits | None = None
) -> ExitCode:
    """
    Continue held requests, or discard them.

    Args:
        journal: The file; its daemon may be running or not.
        request_ids: Which; none for all.
        discard: Cancel what of them has not begun, and discard their old messages.
        limits: How long it waits for the daemon, and how many requests go into one command.

    Returns:
        FAILED when one of them is not held, or the running daemon does not accept
        the command.

    Raises:
        JournalError: The journal cannot be read or written.
    """
    limits = limits or CommandLimits()
    action = Action.CANCEL if discard else Action.RESUME
    with Search(journal) as search:
        before = set(search.held())
        rows: list[int] = []
        for request_id in request_ids:
            those = [row for row in search.named(request_id) if row in before]
            if not those:
                return printing.failed(f"no request {request_id} is held in {journal}; nothing has changed")
            rows += those
        if not before:
            return printing.failed(f"no request is held in {journal}")
        parts = [rows[first : first + limits.messages] for first in range(0, len(rows), limits.messages)]
        for part in parts or [[]]:
            when = carry_out(journal, Command(action, tuple(part)), limits)
            if when is None:
                return printing.failed(not_accepted(journal, limits))
        left = set(search.held())
    others = len(before - left) - len(set(rows)) if rows else 0
    shared = f", {others} of them because they share an execution" if others > 0 else ""
    how = "discarded, what has not begun is cancelled" if discard else "continued"
    done = counted(len(before - left), "request")
    printing.print_line(f"{done}{shared}: {how} {when}; {counted(len(left), 'is', 'are')} held still")
    return ExitCode.OK if not left & set(rows or before) else ExitCode.FAILED

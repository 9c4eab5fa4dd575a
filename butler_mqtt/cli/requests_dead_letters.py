"""`requests resend` and `discard`: dead letters, the messages and alerts that nobody took."""

from __future__ import annotations

from pathlib import Path

from butler_mqtt.audit import requests_choice
from butler_mqtt.audit.requests_choice import Declined
from butler_mqtt.cli import printing
from butler_mqtt.cli.daemon_commands import carry_out, not_accepted
from butler_mqtt.cli.terminal import echo
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal import alert_rows
from butler_mqtt.journal.search import Search
from butler_mqtt.pipeline.command_submission import CommandLimits
from butler_mqtt.pipeline.operator_commands import Action, Command
from butler_mqtt.printable import counted


def resend_or_discard(
    journal: Path,
    action: Action,
    request_id: str | None,
    number: int | None = None,
    limits: CommandLimits | None = None,
) -> ExitCode:
    """
    Publish dead letters again, or discard them.

    Args:
        journal: The file; its daemon may be running or not.
        action: Which of the two.
        request_id: Whose messages; None for all, and for all alerts that were set aside.
        number: Which of several with this id, as `requests ID` numbers them.
        limits: How long it waits for the daemon, and how many messages go into one command.

    Returns:
        FAILED when there are none, or the running daemon does not accept the command.

    Raises:
        JournalError: The journal cannot be read or written.
    """
    limits = limits or CommandLimits()
    with Search(journal) as search:
        try:
            messages = search.dead_letters() if request_id is None else _of_one(search, request_id, number)
        except Declined as error:
            return printing.failed(str(error))
        alerts: list[int] = []
        if request_id is None:
            alerts = [row["id"] for row in alert_rows.in_file(journal) if row["quarantined_at"] is not None]
        if not messages and not alerts:
            return printing.failed(
                f"no message{f' of request {request_id}' if request_id else ''} is a dead letter in {journal}"
            )
        done, when = 0, None
        for first in range(0, len(messages), limits.messages):
            some = messages[first : first + limits.messages]
            when = carry_out(journal, Command(action, tuple(some)), limits)
            if when is None:
                return printing.failed(not_accepted(journal, limits))
            done += len(some) - search.still_dead_letters(some)
        for first in range(0, len(alerts), limits.messages):
            part = tuple(alerts[first : first + limits.messages])
            when = carry_out(journal, Command(action, (), alerts=part), limits)
            if when is None:
                return printing.failed(not_accepted(journal, limits))
    if alerts:
        echo(f"{counted(len(alerts), 'alert')}: {_how(action, 'sent', when)}")
    if not messages:
        return ExitCode.OK
    echo(f"{done} of {counted(len(messages), 'message')}: {_how(action, 'published', when)}")
    return ExitCode.OK if done == len(messages) else ExitCode.FAILED


def _how(action: Action, done: str, when: str | None) -> str:
    return "discarded" if action is Action.DISCARD else f"to be {done} again {when}"


def _of_one(search: Search, request_id: str, number: int | None) -> list[int]:
    """Return the dead letters of the requests with an id that ask for the same."""
    requests_rows = search.requests_rows(search.named(request_id))
    if number is not None:
        those = [requests_choice.numbered(request_id, requests_rows, number)]
    else:
        those = [one for one in requests_rows if one.dead_letters]
        if those:
            requests_choice.choose(request_id, requests_rows, those)
    if not any(one.dead_letters for one in those) and any(one.held for one in those or requests_rows):
        raise Declined(f"request {request_id} is held: butler-mqtt requests resume {request_id}")
    return sorted(row["id"] for one in those for row in one.dead_letters)

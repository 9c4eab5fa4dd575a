"""`requests retry`, `resend` and `discard`: what an operator does about what failed."""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from butler_mqtt import posix
from butler_mqtt.cli import printing, requests_choice
from butler_mqtt.cli.requests_choice import Declined
from butler_mqtt.cli.start import start
from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal.request_rows import RequestRows
from butler_mqtt.journal.search import OPEN, Search
from butler_mqtt.journal.sqlite import Journal, highest_ids
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.pipeline.operator_commands import MAX_MESSAGES, Action, Command, apply, place
from butler_mqtt.settings import MqttSettings

#: States of starts that a retry asks for again. Those that nobody can tell about may be running.
FAILED = frozenset({"failed", "aborted", "skippedByQlik", "notStarted", "expired"})
#: Seconds for a running daemon to take a command in.
HANDOVER_SECONDS = 15.0
_SELECTORS = ("taskId", "taskName", "tag", "customProperty", "match", "allMustExist")
_HABITS = ("ifRunning", "dryRun")


def retry(
    mqtt: MqttSettings,
    journal: Path,
    request_id: str,
    *,
    number: int | None,
    unknown: bool,
    timeout: float,
    as_json: bool,
) -> ExitCode:
    """
    Ask for what failed of a request once more, as a new request whose sender names the old.

    Args:
        mqtt: The broker and the topics.
        journal: Where the old one stands.
        request_id: The old one's id; of several that ask for the same the newest.
        number: Which of several, as `requests ID` numbers them.
        unknown: Also the tasks of which nobody can tell whether they began.
        timeout: Seconds to wait for the reply.
        as_json: Print the reply as one line of JSON.

    Returns:
        As `start`; FAILED also when nothing of it failed.

    Raises:
        JournalError: The journal cannot be read.
    """
    try:
        document = retried(mqtt, journal, request_id, number, FAILED | {"unknown"} if unknown else FAILED)
    except Declined as error:
        return _say(str(error))
    return start(mqtt, document, timeout=timeout, as_json=as_json)


def settle(journal: Path, action: Action, request_id: str | None, number: int | None = None) -> ExitCode:
    """
    Send messages again that the broker did not take, or discard them.

    Args:
        journal: The file; its daemon may be running or not.
        action: Which of the two.
        request_id: Whose messages; None for all.
        number: Which of several with this id, as `requests ID` numbers them.

    Returns:
        FAILED when there are none, or the running daemon does not take the command.

    Raises:
        JournalError: The journal cannot be read or written.
    """
    with Search(journal) as search:
        try:
            messages = search.dead_letters() if request_id is None else _of_one(search, request_id, number)
        except Declined as error:
            return _say(str(error))
        if not messages:
            return _say(
                f"no message{f' of request {request_id}' if request_id else ''} is set aside in {journal}"
            )
        done = 0
        for first in range(0, len(messages), MAX_MESSAGES):
            some = messages[first : first + MAX_MESSAGES]
            where = carry_out(journal, Command(action, tuple(some)))
            if where is None:
                return _say(not_taken(journal))
            done += len(some) - search.still_dead_letters(some)
    how = "discarded" if action is Action.DISCARD else f"to be published again {where}"
    typer.echo(f"{done} of {len(messages)} messages: {how}")
    return ExitCode.OK if done == len(messages) else ExitCode.FAILED


def _of_one(search: Search, request_id: str, number: int | None) -> list[int]:
    """Give the messages set aside of the requests with an id that ask for the same."""
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


def retried(
    mqtt: MqttSettings, journal: Path, request_id: str, number: int | None, states: frozenset[str]
) -> dict[str, Any]:
    """Make the request that asks again for the tasks in *states* of the one meant; raises Declined."""
    with Search(journal) as search:
        requests_rows = search.requests_rows(search.named(request_id))
    if not requests_rows:
        raise Declined(f"no request {request_id} is in {journal}")
    those = requests_rows if number is None else [requests_choice.numbered(request_id, requests_rows, number)]
    understood = [one for one in those if one.request["document"] is not None]
    if not understood:
        raise Declined(f"request {request_id} was never understood; send it anew")
    request_rows = requests_choice.choose(request_id, requests_rows, understood)
    if request_rows.held:
        raise Declined(f"request {request_id} is held: butler-mqtt requests resume {request_id}")
    if request_rows.request["state"] in OPEN:
        raise Declined(
            f"request {request_id} is still open: butler-mqtt requests {request_id} tells what it waits for"
        )
    if not mqtt.enable:
        raise Declined("mqttConfig.enable is false: send the request again through REST")
    document = _again(request_rows, states)
    if document is None:
        raise Declined(_nothing_failed(request_rows))
    return document | {
        "requestId": f"retry-{secrets.token_hex(8)}",
        "sender": requests_choice.retry_sender(request_rows, requests_rows),
    }


def _again(request_rows: RequestRows, states: frozenset[str]) -> dict[str, Any] | None:
    """Make the request for what failed; None when nothing did."""
    document = json.loads(request_rows.request["document"])
    kept = {key: document[key] for key in _HABITS if key in document}
    failed = list(dict.fromkeys(row["task_id"] for row in request_rows.starts if row["state"] in states))
    if failed:
        return {"taskId": failed, **kept}
    if request_rows.request["state"] == "refused" and not request_rows.starts:
        # It never came to know its tasks; it means the same as then.
        return {key: document[key] for key in _SELECTORS if key in document} | kept
    return None


def _nothing_failed(request_rows: RequestRows) -> str:
    doubtful = [row["task_name"] for row in request_rows.starts if row["state"] == "unknown"]
    if doubtful:
        return (
            f"nobody can tell whether these began: {', '.join(doubtful)}; look at them in the QMC, "
            "then ask for them again with --unknown"
        )
    return f"nothing of request {request_rows.request['request_id']} has failed"


# ---- handing a command over


def carry_out(journal: Path, command: Command) -> str | None:
    """Carry a command out here, or have the daemon do it; give when, None when it was not taken."""
    try:
        os.close(posix.lock(Path(f"{journal}.lock")))
    except BlockingIOError:
        return "now" if hand_over(place(journal), command) else None
    except OSError as error:
        raise JournalError(
            f"{error.filename}: {error.strerror}; run this as the user of the service"
        ) from error
    writer = Journal(f"sqlite:///{journal}")
    try:
        writer.open()
        with writer.transaction() as connection:
            turn = UnitOfWork()
            turn.number_from(highest_ids(connection))
            apply(turn, connection, command)
            turn.unit.write(connection)
    finally:
        writer.close()
    return "when the daemon runs"


def not_taken(journal: Path) -> str:
    """Say that the running daemon did not carry a command out."""
    return (
        f"the daemon that holds {journal} did not take the command in {HANDOVER_SECONDS:g} s; "
        "it was withdrawn, nothing has changed: look at the daemon's log"
    )


def hand_over(file: Path, command: Command) -> bool:
    """Leave a command for the daemon and wait until it has been taken."""
    deadline = time.monotonic() + HANDOVER_SECONDS
    draft = Path(f"{file}.{secrets.token_hex(4)}")
    try:
        draft.write_text(command.encode())
        draft.chmod(0o644)
        while True:
            try:
                # Unlike renaming, it does not take the place of a command of somebody else.
                os.link(draft, file)
                break
            except FileExistsError:
                if not _pause(deadline):
                    return False
    except OSError as error:
        raise JournalError(f"no command can be left in {file.parent}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            draft.unlink()
    while file.exists():
        if not _pause(deadline):
            with suppress(FileNotFoundError):
                file.unlink()
                return False
    return True


def _pause(deadline: float) -> bool:
    time.sleep(0.05)
    return time.monotonic() < deadline


def _say(text: str) -> ExitCode:
    printing.complain(text)
    return ExitCode.FAILED

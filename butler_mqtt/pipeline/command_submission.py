"""Leaves a command of an operator for the daemon that runs, and waits until it has accepted it."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from butler_mqtt.errors import JournalError
from butler_mqtt.pipeline.operator_commands import MAX_MESSAGES, Command, place


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """How long a command waits for the running daemon, and how much goes into one; tests pass others."""

    #: Seconds for the daemon to accept a command.
    accept_seconds: float = 15.0
    #: Seconds between two polls of the daemon's progress, and without progress until the command gives up.
    poll_seconds: float = 0.5
    patience_seconds: float = 30.0
    #: Requests or messages that one command names.
    messages: int = MAX_MESSAGES


def submit(journal: Path, command: Command, limits: CommandLimits) -> bool:
    """
    Write a command to the file that the daemon polls, and wait until it has accepted it.

    Returns:
        False when it did not, in `accept_seconds`; the command is withdrawn then.

    Raises:
        JournalError: The file cannot be written.
    """
    file = place(journal)
    deadline = time.monotonic() + limits.accept_seconds
    draft = Path(f"{file}.{secrets.token_hex(4)}")
    try:
        draft.write_text(command.encode())
        draft.chmod(0o644)
        while True:
            try:
                # Unlike a rename, a link does not replace another operator's command.
                os.link(draft, file)
                break
            except FileExistsError:
                if not _pause(deadline):
                    return False
    except OSError as error:
        raise JournalError(f"no command can be written to {file.parent}: {error.strerror}") from error
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

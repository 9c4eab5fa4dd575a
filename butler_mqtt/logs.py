"""
How the program writes its log: one line for people or for machines, to standard error.

Where systemd reads it, every line begins with its priority (sd-daemon(3)), those
of a traceback too. Nothing that comes from outside can end a line: what cannot
be printed is written as an escape, and the lines of a traceback are indented.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from types import TracebackType
from typing import TextIO

from butler_mqtt.printable import escaped

#: Levels of the configuration, `settings.Settings.log_level`.
LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

#: Python's levels as priorities of syslog(3), from the highest down; below them is 7, debug.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
#: Written in full at most; a message from outside must not fill the disk.
_MAX_MESSAGE = 8192

_log = logging.getLogger("butler_mqtt.logs")


class LogFormat(StrEnum):
    """The form of a line."""

    TEXT = "text"
    JSON = "json"


def set_up(level: str, form: LogFormat = LogFormat.TEXT, environ: Mapping[str, str] = os.environ) -> None:
    """
    Write log lines to standard error, and have every fault that ends a thread logged.

    Args:
        level: One of `LEVELS`; other libraries' lines are written from warnings up.
        form: Text for people, or one JSON object per line.
        environ: `JOURNAL_STREAM` shows whether systemd's journal reads standard error.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(Formatter(form, journal=_is_journal(environ)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # What no line shows need not be worked out for each (logging's HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.captureWarnings(True)
    set_level(level)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    # A watchdog ends us with SIGABRT: the place where each thread hangs is then on standard error.
    faulthandler.enable()


class Together:
    """
    A context whose lines, those that this thread logs, are written in one piece at its end.

    Writing releases the interpreter, and in a busy daemon it takes longer to
    get it back than to write hundreds of lines.
    """

    def __enter__(self) -> None:
        _held.lines = []

    def __exit__(self, *_: object) -> None:
        lines, _held.lines = _held.lines, None
        if lines:
            for handler in logging.getLogger().handlers:
                if isinstance(handler, _Handler):
                    handler.write(lines)


def set_level(level: str) -> None:
    """Write the program's own lines from *level* up from now on."""
    logging.getLogger("butler_mqtt").setLevel(LEVELS[level])


class _HeldLines(threading.local):
    """The lines of each thread that are written together; None when each is written at once."""

    lines: list[str] | None = None


_held = _HeldLines()


class _Handler(logging.StreamHandler[TextIO]):
    def emit(self, record: logging.LogRecord) -> None:
        """Write the lines of *record*, or keep them for the end of `Together`."""
        if _held.lines is None or record.levelno >= logging.CRITICAL:
            super().emit(record)
            return
        try:
            _held.lines.append(self.format(record))
        except Exception:  # noqa: BLE001 -- as the base class: a line that cannot be written must not end anything
            self.handleError(record)

    def write(self, lines: list[str]) -> None:
        """Write *lines* in one piece."""
        self.acquire()
        try:
            self.stream.write("".join(f"{line}{self.terminator}" for line in lines))
            self.flush()
        except Exception:  # noqa: BLE001, S110 -- nobody reads standard error any more
            pass
        finally:
            self.release()


class Formatter(logging.Formatter):
    """
    Makes the lines of one record.

    Args:
        form: Text or JSON.
        journal: Begin each line with its priority, and leave the time to the journal.
    """

    def __init__(self, form: LogFormat, *, journal: bool) -> None:
        super().__init__()
        self._form = form
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as lines, without a newline at the end."""
        lines = [self._json(record)] if self._form is LogFormat.JSON else self._text(record)
        prefix = f"<{_priority(record.levelno)}>" if self._journal else ""
        return "\n".join(prefix + line for line in lines)

    def _text(self, record: logging.LogRecord) -> list[str]:
        head = f"{record.name}: "
        if not self._journal:
            head = f"{_time(record)} {record.levelname} {head}"
        fields = " ".join(f"{name}={escaped(value)}" for name, value in _fields(record).items())
        first = f"{head}{escaped(_message(record))}{f' [{fields}]' if fields else ''}"
        return [first, *(f"    {escaped(line)}" for line in _traceback(record).splitlines())]

    def _json(self, record: logging.LogRecord) -> str:
        value = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            **_fields(record),
        }
        if trace := _traceback(record):
            value["traceback"] = trace
        return json.dumps(value)


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}… (cut)"


def _fields(record: logging.LogRecord) -> dict[str, str]:
    values = {name: getattr(record, name, None) for name in ("action", "request_id")}
    return {name: str(value) for name, value in values.items() if value is not None}


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return ""


def _time(record: logging.LogRecord) -> str:
    return f"{_second(int(record.created))}.{int(record.msecs):03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def _priority(level: int) -> int:
    return next((priority for limit, priority in _PRIORITIES if level >= limit), 7)


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Return whether standard error is the stream that `JOURNAL_STREAM` names (systemd.exec(5))."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("ended by a fault: %s", error, exc_info=(kind, error, trace), extra={"action": "bug"})


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    name = given.thread.name if given.thread is not None else "unknown"
    info = None if given.exc_value is None else (given.exc_type, given.exc_value, given.exc_traceback)
    _log.critical("the thread %s ended by a fault", name, exc_info=info, extra={"action": "bug"})

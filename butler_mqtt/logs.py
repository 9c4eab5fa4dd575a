"""How the program writes its log: one line for people, with the request it is about."""

from __future__ import annotations

import logging
import sys

#: Butler's names for levels beside Python's own.
LEVELS = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "verbose": logging.DEBUG,
    "debug": logging.DEBUG,
    "silly": logging.DEBUG,
}


def set_up(level: str) -> None:
    """Write the program's log lines of *level* and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("butler_mqtt")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel(LEVELS.get(level.lower(), logging.INFO))

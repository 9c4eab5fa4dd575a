"""How many connections the listeners take where the system lets this process open few files."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from butler_mqtt import posix

#: Files kept for the journal and its readers, the broker, and the Qlik server.
RESERVED = 96
#: Connections a listener takes however few files there are.
FEWEST = 4

_log = logging.getLogger("butler_mqtt.daemon")


def connections(wanted: Mapping[str, int]) -> Mapping[str, int]:
    """Raise the limit of open files as needed and return the connections of each listener, by its name."""
    files = posix.open_files(RESERVED + sum(wanted.values()))
    given = shares(wanted, files)
    if given != wanted:
        _log.warning(
            "only %d files may be open (ulimit -n, LimitNOFILE): %s; %d are enough for all",
            files,
            " and ".join(
                f"{name} takes {given[name]} connections, not {most}" for name, most in wanted.items()
            ),
            RESERVED + sum(wanted.values()),
            extra={"action": "few_open_files"},
        )
    return given


def shares(wanted: Mapping[str, int], files: int) -> Mapping[str, int]:
    """Share what *files* leave beyond those reserved, in proportion to what each wants."""
    room, total = max(files - RESERVED, 0), sum(wanted.values())
    if room >= total:
        return wanted
    return {name: max(FEWEST, most * room // total) for name, most in wanted.items()}

"""A journal without content in the newest format, made once for each process that runs tests."""

from __future__ import annotations

import functools
from pathlib import Path
from tempfile import TemporaryDirectory

from butler_mqtt.journal.sqlite import Journal


@functools.cache
def _empty() -> bytes:
    with TemporaryDirectory() as folder:
        journal = Journal(f"sqlite:///{folder}/journal.sqlite")
        journal.open()
        journal.close()
        return journal.path.read_bytes()


def put_empty(path: Path) -> None:
    """
    Put a journal at *path* as the program itself would make it.

    That takes the program a tenth of a second of processor time, for Alembic,
    and most tests begin with it.
    """
    path.touch(mode=0o600)
    path.write_bytes(_empty())

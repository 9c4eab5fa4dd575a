"""The journal file: opened, locked, written, and what goes wrong with it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import select, text

from butler_mqtt.errors import JournalError
from butler_mqtt.journal import tables
from butler_mqtt.journal.sqlite import Journal, highest_ids, reading_engine
from butler_mqtt.journal.write_batch import WriteBatch
from tests.integration.journal.conftest import MakeJournal

NOBODY = 65534


def sessions(*identities: int) -> WriteBatch:
    unit = WriteBatch()
    for identity in identities:
        unit.insert(tables.sessions, {"id": identity, "started_at": identity})
    return unit


def stored(journal: Journal) -> list[int]:
    with journal.transaction() as connection:
        return list(connection.execute(select(tables.sessions.c.id).order_by(tables.sessions.c.id)).scalars())


# ---- durable


def log_bytes(file: Path) -> int:
    return Path(f"{file}-wal").stat().st_size


def disk_fails(journal: Journal) -> None:
    with pytest.raises(JournalError, match="disk I/O error"), journal.transaction():
        raise sqlite3.OperationalError("disk I/O error")


@contextmanager
def reader(file: Path) -> Iterator[sqlite3.Connection]:
    """Read as an operator's command does, so that SQLite keeps the log when the journal is closed."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("SELECT * FROM sessions").fetchall()
    try:
        yield connection
    finally:
        connection.close()


def test_after_a_fault_of_the_disk_nothing_relies_on_the_log(journal: Journal, file: Path) -> None:
    """What of it is on the disk nobody knows, and what is behind a gap would be lost at a power cut."""
    journal.write(sessions(1))
    with reader(file):
        journal.reopen()
        assert log_bytes(file) > 0
        disk_fails(journal)
        journal.reopen()
        assert log_bytes(file) == 0
        journal.write(sessions(2))
        assert stored(journal) == [1, 2]


def test_while_somebody_reads_from_it_the_journal_cannot_be_written(journal: Journal, file: Path) -> None:
    journal.write(sessions(1))
    with reader(file) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM sessions").fetchall()
        disk_fails(journal)
        with pytest.raises(JournalError, match="reader") as caught:
            journal.reopen()
        assert caught.value.recoverable
    journal.reopen()
    assert stored(journal) == [1]


@pytest.mark.parametrize("again", [False, True], ids=["new", "reopened"])
def test_every_connection_writes_ahead_and_syncs_each_commit(journal: Journal, again: bool) -> None:
    if again:
        journal.reopen()
    with journal.transaction() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2


def test_a_transaction_takes_the_write_lock_at_once(journal: Journal, file: Path) -> None:
    with journal.transaction():
        other = sqlite3.connect(file, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_space_of_deleted_rows_can_be_given_back_to_the_disk(journal: Journal) -> None:
    with journal.transaction() as connection:
        assert connection.execute(text("PRAGMA auto_vacuum")).scalar() == 2


def test_what_was_written_is_there_after_opening_again(journal: Journal, make_journal: MakeJournal) -> None:
    journal.write(sessions(1, 2))
    journal.close()
    journal.close()
    second = make_journal()
    second.open()
    assert stored(second) == [1, 2]


def test_an_sqlite_that_is_too_old_is_an_error_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 32, 3))
    with pytest.raises(JournalError, match=r"needs SQLite 3\.33 or later.*newer Python") as caught:
        Journal(f"sqlite:///{tmp_path / 'journal.sqlite'}").open()
    assert not caught.value.recoverable
    assert not list(tmp_path.iterdir())


def test_a_block_that_fails_writes_nothing(journal: Journal) -> None:
    def fails() -> None:
        with journal.transaction() as connection:
            sessions(1).write(connection)
            raise KeyError("a fault in the block")

    with pytest.raises(KeyError):
        fails()
    assert stored(journal) == []


def test_power_loss_leaves_every_transaction_that_was_committed(journal: Journal, tmp_path: Path) -> None:
    # What lies behind the last commit in the write-ahead log may be there in part or not at all.
    wal = Path(f"{journal.path}-wal")
    chance = random.Random(4711)  # noqa: S311 -- the same cuts every time
    for last in range(1, 41):
        journal.write(sessions(last))
        committed = wal.stat().st_size
        with journal.transaction() as connection:
            sessions(1000 + last).write(connection)
            connection.exec_driver_sql("PRAGMA cache_spill=ON")
            pad = WriteBatch()
            for number in range(50):
                pad.insert(tables.sessions, {"id": 10_000 + 100 * last + number, "started_at": 0})
            pad.write(connection)
            written = wal.stat().st_size
            copy = tmp_path / f"copy-{last}.sqlite"
            shutil.copy(journal.path, copy)
            content = wal.read_bytes() + chance.randbytes(5000)
            Path(f"{copy}-wal").write_bytes(content[: chance.randint(committed, len(content))])
            assert written >= committed
        survivor = Journal(f"sqlite:///{copy}")
        survivor.open()
        found = [identity for identity in stored(survivor) if identity < 1000]
        survivor.close()
        assert found == list(range(1, last + 1))


def test_a_log_cut_anywhere_leaves_whole_transactions_only(journal: Journal, tmp_path: Path) -> None:
    for last in range(1, 31):
        journal.write(sessions(2 * last, 2 * last + 1))
    content = Path(f"{journal.path}-wal").read_bytes()
    chance = random.Random(4712)  # noqa: S311 -- the same cuts every time
    for attempt in range(20):
        copy = tmp_path / f"copy-{attempt}.sqlite"
        shutil.copy(journal.path, copy)
        Path(f"{copy}-wal").write_bytes(content[: chance.randint(0, len(content))])
        survivor = sqlite3.connect(copy)
        if survivor.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sessions'").fetchone()[0]:
            ids = [row[0] for row in survivor.execute("SELECT id FROM sessions ORDER BY id")]
            assert ids == list(range(2, 2 + len(ids)))
            assert len(ids) % 2 == 0
        survivor.close()


# ---- one writer, many readers


def test_a_second_daemon_ends_with_the_error_that_the_journal_is_in_use(
    journal: Journal, make_journal: MakeJournal
) -> None:
    second = make_journal()
    with pytest.raises(JournalError, match="in use by another butler-mqtt") as caught:
        second.open()
    assert not caught.value.recoverable
    journal.close()
    second.open()
    assert stored(second) == []


def test_reopening_keeps_the_lock(journal: Journal, make_journal: MakeJournal) -> None:
    journal.reopen()
    with pytest.raises(JournalError, match="in use"):
        make_journal().open()


def test_the_lock_file_names_the_process(journal: Journal) -> None:
    assert Path(f"{journal.path}.lock").read_text() == f"{os.getpid()}\n"


def test_others_read_while_a_transaction_is_open(journal: Journal) -> None:
    journal.write(sessions(1))
    engine = reading_engine(journal.path)
    with journal.transaction() as connection, engine.connect() as reader:
        sessions(2).write(connection)
        assert list(reader.execute(select(tables.sessions.c.id)).scalars()) == [1]


def test_a_reader_cannot_write(journal: Journal) -> None:
    engine = reading_engine(journal.path)
    with engine.connect() as reader, pytest.raises(Exception, match="readonly database"):
        reader.execute(tables.sessions.insert().values(id=1, started_at=1))


@pytest.mark.parametrize("name", ["a b", "100%", "50%20off", "what?", "no#1", "Söhne", "it's", 'q"uote'])
def test_any_folder_name_will_do(tmp_path: Path, make_journal: MakeJournal, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    path = folder / "journal.sqlite"
    journal = make_journal()
    journal.path = path
    journal.open()
    journal.write(sessions(1))
    with reading_engine(path).connect() as reader:
        assert list(reader.execute(select(tables.sessions.c.id)).scalars()) == [1]
    assert min(entry.name for entry in folder.iterdir()) == "journal.sqlite"


def test_the_highest_id_of_each_table_is_returned(journal: Journal) -> None:
    journal.write(sessions(3, 7))
    with journal.transaction() as connection:
        assert highest_ids(connection) == {
            "sessions": 7,
            "requests": 0,
            "deliveries": 0,
            "starts": 0,
            "stages": 0,
            "runs": 0,
            "outbox": 0,
            "parameter_namespaces": 0,
            "parameters": 0,
            "lives": 0,
            "notes": 0,
            "rule_filters": 0,
            "rule_packets": 0,
            "rule_windows": 0,
            "rule_counts": 0,
            "alerts": 0,
            "alert_conditions": 0,
            "alert_tasks": 0,
            "overdue_tasks": 0,
        }


# ---- what goes wrong


def test_a_full_disk_is_named_and_mended_by_opening_again(journal: Journal) -> None:
    journal.write(sessions(1))
    with journal.transaction() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    big = WriteBatch()
    for number in range(2, 5000):
        big.insert(tables.sessions, {"id": number, "started_at": 2**40})
    with pytest.raises(JournalError, match="disk is full; free some space") as caught:
        journal.write(big)
    assert caught.value.recoverable
    # A new connection has no such limit: the space is back.
    journal.reopen()
    assert stored(journal) == [1]
    journal.write(big)
    assert len(stored(journal)) == 4999


def test_a_file_that_is_no_database_is_named_as_damaged(file: Path, make_journal: MakeJournal) -> None:
    file.write_bytes(b"this is not a journal, and long enough to be read as one" * 100)
    with pytest.raises(
        JournalError, match=r"journal\.sqlite cannot be used: .*the file is damaged"
    ) as caught:
        make_journal().open()
    assert not caught.value.recoverable


def test_a_damaged_page_is_named_when_it_is_met(
    journal: Journal, file: Path, make_journal: MakeJournal
) -> None:
    journal.write(sessions(*range(1, 2000)))
    journal.close()
    content = bytearray(file.read_bytes())
    with sqlite3.connect(file) as reader:
        root = reader.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sessions'").fetchone()[0]
    reader.close()
    content[4096 * (root - 1) : 4096 * root] = bytes(4096)
    file.write_bytes(content)
    damaged = make_journal()
    damaged.open()
    with pytest.raises(JournalError, match="the file is damaged: stop the daemon") as caught:
        stored(damaged)
    assert not caught.value.recoverable


def test_a_newer_format_is_refused_untouched(journal: Journal, make_journal: MakeJournal) -> None:
    with journal.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    journal.close()
    with pytest.raises(JournalError, match="format 9999, written by a newer butler-mqtt") as caught:
        make_journal().open()
    assert not caught.value.recoverable
    with sqlite3.connect(journal.path) as reader:
        assert reader.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    reader.close()


def test_a_missing_folder_is_named(tmp_path: Path, make_journal: MakeJournal) -> None:
    with pytest.raises(
        JournalError, match=r"No such file or directory: .*missing.*check that the folder exists"
    ):
        make_journal(tmp_path / "missing" / "journal.sqlite").open()


def test_a_row_that_breaks_a_rule_is_a_fault_of_the_program_and_costs_only_its_transaction(
    journal: Journal,
) -> None:
    journal.write(sessions(1))
    with pytest.raises(RuntimeError, match="refused a row: UNIQUE constraint failed"):
        journal.write(sessions(2, 1))
    journal.write(sessions(3))
    assert stored(journal) == [1, 3]


def test_a_closed_journal_says_so(journal: Journal) -> None:
    journal.close()
    with pytest.raises(JournalError, match="is not open") as caught:
        journal.write(sessions(1))
    assert caught.value.recoverable


def test_a_disk_that_cannot_be_asked_has_no_space(make_journal: MakeJournal, tmp_path: Path) -> None:
    assert make_journal().free_bytes() > 0
    assert make_journal(tmp_path / "missing" / "journal.sqlite").free_bytes() == 0


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Return a folder and run the block as a user who may not simply write everywhere."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_a_folder_that_may_not_be_written_is_named() -> None:
    with unprivileged() as folder:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
        journal = Journal(f"sqlite:///{folder / 'journal.sqlite'}")
        with pytest.raises(JournalError, match="cannot be written: Permission denied") as caught:
            journal.open()
        folder.chmod(stat.S_IRWXU)
    assert not caught.value.recoverable


def test_a_file_that_may_not_be_written_is_named_and_mended_by_an_operator() -> None:
    with TemporaryDirectory() as other:
        # Made before: that user may not be able to read the program's own folder.
        made = Journal(f"sqlite:///{other}/journal.sqlite")
        made.open()
        made.write(sessions(1))
        made.close()
        content = Path(other, "journal.sqlite").read_bytes()
    with unprivileged() as folder:
        path = folder / "journal.sqlite"
        path.write_bytes(content)
        journal = Journal(f"sqlite:///{path}")
        path.chmod(stat.S_IRUSR)
        with pytest.raises(JournalError, match=r"readonly database; check the disk") as caught:
            journal.open()
        assert caught.value.recoverable
        for file in folder.iterdir():
            file.chmod(stat.S_IRUSR | stat.S_IWUSR)
        journal.reopen()
        assert stored(journal) == [1]
        journal.close()

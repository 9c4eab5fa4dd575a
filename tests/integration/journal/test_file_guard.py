"""What happens to the journal's files behind SQLite's back is noticed with the next commit."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from butler_mqtt.errors import JournalError
from butler_mqtt.journal import checkpoint, tables
from butler_mqtt.journal.backup import backup
from butler_mqtt.journal.file_guard import JournalLost
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.journal.write_batch import WriteBatch
from tests.integration.journal.conftest import MakeJournal
from tests.open_files import no_more_files

#: Committed before something happens to the files.
BEFORE = 50


def write(journal: Journal, first: int, rows: int = 1) -> None:
    """Commit *rows* sessions one by one, or an empty transaction."""
    for identity in range(first, first + rows):
        unit = WriteBatch()
        unit.insert(tables.sessions, {"id": identity, "started_at": identity})
        journal.write(unit)
    if rows == 0:
        journal.write(WriteBatch())


def stored(file: Path) -> list[int]:
    with closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM sessions ORDER BY id")]


def beside(file: Path, suffix: str) -> Path:
    return Path(f"{file}{suffix}")


def move_log(file: Path, how: str = "PASSIVE") -> None:
    """Have another connection move the log into the database."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        busy, *_ = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()
    assert not busy


@pytest.fixture
def written(journal: Journal) -> Journal:
    """Return a journal of which half stands in the database and half in the log."""
    write(journal, 1, BEFORE // 2)
    move_log(journal.path)
    write(journal, BEFORE // 2 + 1, BEFORE // 2)
    return journal


def delete(file: Path) -> None:
    file.unlink()


def move_away(file: Path) -> None:
    file.rename(f"{file}.old")


def replace(file: Path) -> None:
    """Put a copy in its place, as `mv` of a backup does."""
    shutil.copy(file, f"{file}.copy")
    Path(f"{file}.copy").rename(file)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def shorten(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 4)


def overwrite(file: Path) -> None:
    """Write something else into it, of the same length."""
    file.write_bytes(b"something else, as `cp` over it does".ljust(file.stat().st_size, b"."))


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "writing"])
@pytest.mark.parametrize(
    ("suffix", "happens", "named"),
    [
        ("", delete, "was deleted or moved away"),
        ("", move_away, "was deleted or moved away"),
        ("", replace, "was replaced by another"),
        ("", empty, "was cut"),
        ("", shorten, "was cut"),
        ("", overwrite, "was overwritten"),
        ("-wal", delete, "was deleted or moved away"),
        ("-wal", replace, "was replaced by another"),
        ("-wal", empty, "was cut"),
        ("-wal", shorten, "was cut"),
        ("-wal", overwrite, "was cut or overwritten"),
        ("-shm", delete, "was deleted or moved away"),
        ("-shm", replace, "was replaced by another"),
        (".lock", delete, "was deleted or moved away"),
        (".lock", replace, "was replaced by another"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_named_with_the_next_transaction(
    written: Journal, suffix: str, happens: Callable[[Path], None], named: str, idle: bool
) -> None:
    file = beside(written.path, suffix)
    happens(file)
    with pytest.raises(JournalLost, match="while the daemon had it open: nothing is acknowledged") as caught:
        write(written, BEFORE + 1, rows=0 if idle else 1)
    assert f"the journal's file {file} {named}" in str(caught.value)
    assert not caught.value.recoverable


def test_a_backup_copied_over_the_open_journal_is_noticed(written: Journal, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    backup(written.path, copy)
    written.path.write_bytes(copy.read_bytes())
    with pytest.raises(JournalLost, match="was overwritten"):
        write(written, BEFORE + 1)


def test_the_journal_of_an_earlier_run_copied_over_the_open_one_is_noticed(
    make_journal: MakeJournal, tmp_path: Path
) -> None:
    first = make_journal()
    first.open()
    write(first, 1, 500)
    first.close()
    copy = shutil.copy(first.path, tmp_path / "copy.sqlite")
    second = make_journal()
    second.open()
    write(second, 1000, 1000)
    move_log(second.path)
    write(second, 2000)
    second.path.write_bytes(Path(copy).read_bytes())
    with pytest.raises(JournalLost, match=r"was (overwritten|cut)"):
        write(second, 2001)


def test_a_folder_that_is_renamed_is_noticed(make_journal: MakeJournal, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    journal = make_journal(folder / "journal.sqlite")
    journal.open()
    folder.rename(tmp_path / "state.old")
    with pytest.raises(JournalLost, match="was deleted or moved away"):
        write(journal, 1)


def test_a_symbolic_link_that_is_turned_is_noticed(make_journal: MakeJournal, tmp_path: Path) -> None:
    other = make_journal(tmp_path / "other.sqlite")
    other.open()
    other.close()
    link = tmp_path / "link.sqlite"
    link.symlink_to(tmp_path / "there.sqlite")
    journal = make_journal(link)
    journal.open()
    write(journal, 1)
    assert (tmp_path / "there.sqlite-wal").exists()
    link.unlink()
    link.symlink_to(other.path)
    with pytest.raises(JournalLost, match=r"link\.sqlite was replaced by another"):
        write(journal, 2)


# ---- what is saved


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_deleted_log_loses_nothing_that_was_committed(
    written: Journal, make_journal: MakeJournal, suffix: str
) -> None:
    beside(written.path, suffix).unlink()
    with pytest.raises(JournalLost):
        write(written, BEFORE + 1)
    written.close()
    again = make_journal()
    again.open()
    again.close()
    assert stored(again.path)[:BEFORE] == list(range(1, BEFORE + 1))


def test_a_cut_log_is_not_moved_into_the_database_when_it_is_closed(written: Journal) -> None:
    log = beside(written.path, "-wal")
    before = written.path.read_bytes()
    empty(log)
    with pytest.raises(JournalLost):
        write(written, BEFORE + 1)
    written.close()
    assert written.path.read_bytes() == before
    assert stored(written.path) == list(range(1, BEFORE // 2 + 1))


def test_the_log_of_another_journal_is_not_deleted_when_the_replaced_one_is_closed(
    written: Journal, make_journal: MakeJournal, tmp_path: Path
) -> None:
    other = make_journal(tmp_path / "other.sqlite")
    other.open()
    write(other, 1000, 3)
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(beside(other.path, suffix), beside(written.path, f"{suffix}.new"))
        beside(written.path, f"{suffix}.new").rename(beside(written.path, suffix))
    with pytest.raises(JournalLost):
        write(written, BEFORE + 1)
    written.close()
    assert stored(written.path) == [1000, 1001, 1002]


def test_a_journal_that_is_gone_is_not_made_anew_in_the_attempt_to_mend_a_fault(written: Journal) -> None:
    written.path.unlink()
    with pytest.raises(JournalLost):
        written.reopen()
    assert not written.path.exists()


def test_the_log_of_a_journal_that_is_gone_is_kept_and_named_at_the_next_start(
    written: Journal, make_journal: MakeJournal
) -> None:
    database = written.path.read_bytes()
    written.path.unlink()
    with pytest.raises(JournalLost):
        write(written, BEFORE + 1)
    written.close()
    log = beside(written.path, "-wal").read_bytes()
    refused = make_journal()
    with pytest.raises(JournalError, match=r"is gone and its log .* is not: requests") as caught:
        refused.open()
    refused.close()
    assert not caught.value.recoverable
    assert beside(written.path, "-wal").read_bytes() == log
    written.path.write_bytes(database)
    make_journal().open()
    assert stored(written.path)[:BEFORE] == list(range(1, BEFORE + 1))


def test_a_database_cut_to_nothing_is_not_begun_anew_beside_its_log(
    written: Journal, make_journal: MakeJournal
) -> None:
    empty(written.path)
    with pytest.raises(JournalLost):
        write(written, BEFORE + 1)
    written.close()
    with pytest.raises(JournalError, match=r"is empty and its log .* is not"):
        make_journal().open()


def test_the_thread_that_moves_the_log_touches_no_other_file(written: Journal) -> None:
    replace(written.path)
    before = written.path.read_bytes()
    log = beside(written.path, "-wal").read_bytes()

    class Thrice(threading.Event):
        checks = 0

        def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 -- no pause is wanted
            self.checks += 1
            return self.checks > 3

    checkpoint.work(written, Thrice(), poll_seconds=0.001, long_log=0)
    assert written.path.read_bytes() == before
    assert beside(written.path, "-wal").read_bytes() == log


def test_a_new_journal_in_the_place_of_one_that_is_gone_is_logged(
    journal: Journal, make_journal: MakeJournal, caplog: pytest.LogCaptureFixture
) -> None:
    assert not caplog.records
    journal.close()
    journal.path.unlink()
    make_journal().open()
    assert [record.__dict__["action"] for record in caplog.records][:1] == ["journal_new"]


def test_an_empty_file_in_the_place_of_a_journal_is_logged(
    journal: Journal, make_journal: MakeJournal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.close()
    empty(journal.path)
    make_journal().open()
    (said,) = caplog.records[:1]
    assert said.getMessage().startswith(f"there is an empty file at {journal.path} although a daemon has had")


# ---- a file that was damaged before it is opened


@pytest.mark.parametrize("left", [50, 100, 4096, 40_000, -4096])
def test_a_database_that_was_cut_is_damaged_and_refused_untouched(
    written: Journal, make_journal: MakeJournal, left: int
) -> None:
    write(written, 1000, 1000)
    written.close()
    size = written.path.stat().st_size
    os.truncate(written.path, left if left > 0 else size + left)
    cut = written.path.read_bytes()
    with pytest.raises(
        JournalError,
        match=r"file is damaged: stop the daemon and put a backup back: butler-mqtt requests restore",
    ) as caught:
        make_journal().open()
    assert not caught.value.recoverable
    assert written.path.read_bytes() == cut


def test_a_folder_in_the_place_of_the_journal_keeps_its_rights(file: Path, make_journal: MakeJournal) -> None:
    file.mkdir(mode=0o755)
    with pytest.raises(JournalError, match=r"unable to open database file.*journal\.url"):
        make_journal().open()
    assert stat.S_IMODE(file.stat().st_mode) == 0o755


# ---- what SQLite does by itself is no loss


def test_moving_the_log_by_whomever_is_no_loss(written: Journal) -> None:
    for number, how in enumerate(["PASSIVE", "FULL", "RESTART", "TRUNCATE"] * 3):
        write(written, 100 + 10 * number, 10)
        move_log(written.path, how)
        with written.transaction():
            pass
    assert len(stored(written.path)) == BEFORE + 120


def test_commits_that_move_the_log_themselves_are_no_loss(journal: Journal) -> None:
    with journal.transaction() as connection:
        connection.connection.cursor().execute("PRAGMA wal_autocheckpoint=5")
    write(journal, 1, 300)
    assert len(stored(journal.path)) == 300


def test_a_database_that_gets_shorter_as_its_space_is_given_back_is_no_loss(journal: Journal) -> None:
    write(journal, 1, 10)
    for round_ in range(3):
        with journal.transaction() as connection:
            cursor = connection.connection.cursor()
            cursor.execute("CREATE TABLE pad (a BLOB)")
            for _ in range(50):
                cursor.execute("INSERT INTO pad VALUES (zeroblob(20000))")
        move_log(journal.path)
        grown = journal.path.stat().st_size
        with journal.transaction() as connection:
            connection.connection.cursor().execute("DROP TABLE pad")
        with journal.transaction() as connection:
            cursor = connection.connection.cursor()
            for _ in range(280):  # one page each, since the driver takes one step only
                cursor.execute("PRAGMA incremental_vacuum(1)")
        move_log(journal.path)
        write(journal, 100 + round_)
        assert journal.path.stat().st_size < grown / 2


def test_readers_backups_and_another_process_that_vacuums_are_no_loss(
    written: Journal, tmp_path: Path
) -> None:
    backup(written.path, tmp_path / "copy.sqlite")
    write(written, 100)
    os.utime(written.path)
    write(written, 101)
    with closing(sqlite3.connect(written.path, isolation_level=None)) as other:
        other.execute("VACUUM")
        write(written, 102)
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        write(written, 103)
    assert len(stored(written.path)) == BEFORE + 4


def test_opening_again_after_a_fault_is_no_loss_with_a_reader_and_without(written: Journal) -> None:
    written.reopen()
    write(written, 100)
    with closing(sqlite3.connect(written.path)) as reader:
        reader.execute("SELECT count(*) FROM sessions").fetchone()
        written.reopen()
        write(written, 101)
    written.reopen()
    write(written, 102)
    assert len(stored(written.path)) == BEFORE + 3


# ---- rights


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_journal_and_its_copies_are_readable_by_their_owner_only(
    file: Path, make_journal: MakeJournal, mask: int
) -> None:
    with umask(mask):
        journal = make_journal()
        journal.open()
        write(journal, 1)
        backup(journal.path, file.parent / "copy.sqlite")
        names = {file.name, *(f"{file.name}{suffix}" for suffix in ("-wal", "-shm", ".lock")), "copy.sqlite"}
        assert modes(file.parent) == dict.fromkeys(names, 0o600)


def test_an_existing_journal_that_others_can_read_is_closed_to_them_with_a_warning(
    journal: Journal, make_journal: MakeJournal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.close()
    journal.path.chmod(0o644)
    again = make_journal()
    again.open()
    write(again, 1)
    assert set(modes(journal.path.parent).values()) == {0o600}
    (said,) = caplog.records
    assert "had mode 0644" in said.getMessage()
    assert said.__dict__["action"] == "journal_rights"


def test_what_a_killed_daemon_left_open_to_others_is_closed_to_them(
    journal: Journal, make_journal: MakeJournal, tmp_path: Path
) -> None:
    write(journal, 1)
    left = tmp_path / "left"
    left.mkdir()
    for suffix in ("", "-wal", "-shm"):
        copy = beside(left / "journal.sqlite", suffix)
        copy.write_bytes(beside(journal.path, suffix).read_bytes())
        copy.chmod(0o664)
    again = make_journal(left / "journal.sqlite")
    again.open()
    assert set(modes(left).values()) == {0o600}
    assert stored(again.path) == [1]


def test_a_journal_that_cannot_be_opened_at_once_again_is_tried_again(tmp_path: Path) -> None:
    opened = Journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
    opened.open()
    with no_more_files(3), pytest.raises(JournalError, match="unable to open database file") as caught:
        opened.reopen()
    assert caught.value.recoverable
    opened.reopen()
    opened.close()

"""The lines about the journal's folder."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from butler_mqtt import posix, settings
from butler_mqtt.checks import machine
from butler_mqtt.checks.finding import State
from butler_mqtt.journal.sqlite import FORMAT, Journal
from tests.integration.checks.site_and_broker import bad, by_name
from tests.journals import put_empty

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/share /srv/our\\040data nfs4 rw 0 0
/dev/sdb1 /srv/our\\040data/local xfs rw 0 0
"""


def of(path: Path) -> settings.Settings:
    return settings.Settings(journal=settings.JournalSettings(url=f"sqlite:///{path}"))


def much(_folder: Path) -> int:
    return 10 * machine.LITTLE_BYTES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "butler-mqtt.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """Open a journal as a daemon does."""
    put_empty(path)
    made = Journal(f"sqlite:///{path}")
    made.open()
    yield made
    made.close()


def test_a_folder_without_a_journal_is_fine_and_left_empty(path: Path) -> None:
    found = list(machine.check(of(path), free_bytes=much))
    assert bad(found) == {}
    assert "does not exist yet" in by_name(found)["journal.file"].text
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_does_not_exist_is_wrong(tmp_path: Path) -> None:
    found = list(machine.check(of(tmp_path / "missing" / "journal.sqlite")))
    assert bad(found) == {"journal.folder": State.WRONG}
    assert str(tmp_path / "missing") in found[0].text


def test_a_folder_that_cannot_be_written_is_wrong() -> None:
    assert bad(machine.check(of(Path("/proc/self/journal.sqlite")))) == {"journal.folder": State.WRONG}


@pytest.mark.parametrize(("free", "state"), [(31, State.WRONG), (900, State.WARNING)])
def test_a_disk_that_is_full_or_nearly_so_is_named(path: Path, free: int, state: State) -> None:
    found = list(machine.check(of(path), free_bytes=lambda _: free * 1024 * 1024))
    assert bad(found) == {"journal.space": state}
    assert f"{free} MB" in by_name(found)["journal.space"].text


def test_the_journal_of_a_running_daemon_is_fine_and_stays_its_own(path: Path, journal: Journal) -> None:
    found = list(machine.check(of(path), free_bytes=much))
    assert bad(found) == {}
    assert "in use by a running daemon" in by_name(found)["journal.file"].text
    with journal.transaction():
        pass


def test_the_journal_of_a_stopped_daemon_can_be_locked_afterwards(path: Path, journal: Journal) -> None:
    journal.close()
    found = list(machine.check(of(path), free_bytes=much))
    assert "not in use" in by_name(found)["journal.file"].text
    os.close(posix.lock(Path(f"{path}.lock")))


def test_a_journal_of_root_in_a_folder_of_the_service_is_a_warning(path: Path) -> None:
    path.touch()
    found = list(machine.check(of(path), free_bytes=much, owner=lambda one: 0 if one == path else 65534))
    assert bad(found) == {"journal.file": State.WARNING}
    assert f": {path}*" in by_name(found)["journal.file"].advice


def test_a_lock_is_not_made(path: Path) -> None:
    path.touch()
    assert bad(machine.check(of(path), free_bytes=much)) == {}
    assert not Path(f"{path}.lock").exists()


def test_a_lock_that_cannot_be_opened_is_wrong(path: Path) -> None:
    path.touch()
    Path(f"{path}.lock").mkdir()
    assert bad(machine.check(of(path), free_bytes=much)) == {"journal.file": State.WRONG}


def stamp(path: Path, version: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))


@pytest.mark.parametrize(
    ("version", "state", "words"),
    [
        (FORMAT, State.OK, "that of this program"),
        ("0000", State.WARNING, f"the next butler-mqtt run upgrades it to {FORMAT}"),
        ("9999", State.WRONG, "written by a newer butler-mqtt"),
    ],
)
def test_the_format_of_the_journal_is_shown(
    path: Path, journal: Journal, version: str, state: State, words: str
) -> None:
    journal.close()
    stamp(path, version)
    before = sorted(path.parent.iterdir())
    line = by_name(machine.check(of(path), free_bytes=much))["journal.format"]
    assert line.state is state
    assert words in line.text
    assert ("docs/upgrade.md" in line.advice) == (state is not State.OK)
    assert sorted(path.parent.iterdir()) == before


def test_the_format_is_read_while_a_daemon_writes(path: Path, journal: Journal) -> None:
    with journal.transaction():
        assert machine.format_of(path).state is State.OK


def test_a_journal_that_is_damaged_is_wrong(path: Path, journal: Journal) -> None:
    journal.close()
    path.write_bytes(b"no journal at all" * 1000)
    line = machine.format_of(path)
    assert line.state is State.WRONG
    assert "backup" in line.advice


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full)], capture_output=True, check=False
    )
    # Without the right to mount, a name too long for a path stands in for another refusal of the system.
    if mounted.returncode != 0:
        found = list(machine.check(of(tmp_path / ("x" * 300) / "journal.sqlite")))
        assert bad(found) == {"journal.folder": State.WRONG}
        return
    try:
        with pytest.raises(OSError, match="No space left"):
            (full / "filling").write_bytes(bytes(100_000))
        (line,) = list(machine.check(of(full / "journal.sqlite")))
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert line.state is State.WRONG
    assert "No space left on device" in line.text
    assert "free some space" in line.advice


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/butler-mqtt", "ext4"),
        ("/run/butler-mqtt", "tmpfs"),
        ("/srv/our data/journal", "nfs4"),
        ("/srv/our data/local/journal", "xfs"),
    ],
)
def test_the_file_system_that_holds_a_folder_is_the_deepest_mounted(folder: str, kind: str) -> None:
    assert machine.kind_of(Path(folder), MOUNTS) == kind


@pytest.mark.parametrize("mounted", ["tmpfs", "nfs4", "cifs", "fuse.sshfs"])
def test_a_journal_in_memory_or_elsewhere_is_a_warning(path: Path, mounted: str) -> None:
    found = list(machine.check(of(path), free_bytes=much, mounts=lambda: f"x / {mounted} rw 0 0\n"))
    assert bad(found) == {"journal.filesystem": State.WARNING}

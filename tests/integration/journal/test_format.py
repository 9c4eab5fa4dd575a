"""The format of the journal and the way to it."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, select

from butler_mqtt.errors import JournalError
from butler_mqtt.journal import queries, tables
from butler_mqtt.journal.search import Search
from butler_mqtt.journal.sqlite import FORMAT, Journal
from butler_mqtt.journal.status_rows import StatusReader
from butler_mqtt.journal.upgrade import upgrade
from tests.integration.journal.conftest import MakeJournal

MIGRATIONS = Path(tables.__file__).parent / "migrations"


def made_of(file: Path) -> list[tuple[str, str]]:
    """Return the statements that made what a journal holds, by name, however they are laid out."""
    with sqlite3.connect(file) as journal:
        rows = journal.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL ORDER BY name")
        found = [(name, re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split()))) for name, sql in rows]
    journal.close()
    return found


def test_the_migrations_make_the_tables_that_a_new_journal_gets(journal: Journal, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.sqlite'}")
    with engine.connect() as connection:
        upgrade(connection, FORMAT)
        migrations = MigrationContext.configure(connection)
        assert compare_metadata(migrations, tables.metadata) == []
        assert migrations.get_current_revision() == FORMAT
    engine.dispose()
    assert made_of(journal.path) == made_of(tmp_path / "migrated.sqlite")


def test_alembic_knows_the_format_of_a_new_journal(journal: Journal) -> None:
    engine = create_engine(f"sqlite:///{journal.path}")
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == FORMAT
    engine.dispose()


def test_a_new_journal_is_made_without_alembic(tmp_path: Path) -> None:
    program = (
        "import sys; from butler_mqtt.journal.sqlite import Journal;"
        f" Journal('sqlite:///{tmp_path / 'new.sqlite'}').open(); print('alembic' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout == b"False\n"
    )


def test_the_newest_migration_is_the_format_the_program_writes() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [FORMAT]
    # Compared as text when a journal is opened.
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)
    assert {len(revision) for revision in revisions} == {4}


def test_a_migration_that_fails_leaves_nothing_behind(file: Path, make_journal: MakeJournal) -> None:
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE outbox (something TEXT)")
    other.close()
    with pytest.raises(JournalError, match="already exists"):
        make_journal().open()
    with sqlite3.connect(file) as other:
        names = [row[0] for row in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    other.close()
    assert names == ["outbox"]


@pytest.mark.parametrize("earlier", ["0001", "0002", "0003", "0004"])
def test_a_journal_of_an_earlier_format_keeps_its_requests(
    earlier: str, file: Path, make_journal: MakeJournal
) -> None:
    engine = create_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        upgrade(connection, earlier)
        for identity, holds in ((1, 0), (2, 1), (3, 0)):
            connection.exec_driver_sql(
                "INSERT INTO requests (id, request_id, holds_id, door, state, received_at)"
                " VALUES (?, 'r', ?, 'mqtt', 'closed', 0)",
                (identity, holds),
            )
        connection.commit()
    engine.dispose()
    journal = make_journal()
    journal.open()
    rows = StatusReader(file).request("r")
    assert rows is not None
    assert rows.request["id"] == 2
    with Search(file) as search:
        assert search.named("r") == [1, 2, 3]
    with journal.transaction() as connection:
        assert queries.holders(connection, ["r"])["r"]["id"] == 2


def test_requests_are_found_by_their_id_without_reading_all(journal: Journal) -> None:
    plans: list[str] = []
    with journal.transaction() as connection:
        query = select(tables.requests.c.id).where(queries.has_id("r")).compile(dialect=connection.dialect)
        explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("r", "r"))
        plans += [row[3] for row in explained]
    assert sum(plan.startswith("SEARCH requests USING INDEX") for plan in plans) == 2
    assert not [plan for plan in plans if plan.startswith("SCAN")]


def test_opening_a_journal_of_the_newest_format_migrates_nothing(
    journal: Journal, make_journal: MakeJournal, caplog: pytest.LogCaptureFixture
) -> None:
    journal.close()
    with caplog.at_level("INFO", "butler_mqtt.journal"):
        make_journal().open()
    assert "journal_migrated" not in {getattr(line, "action", None) for line in caplog.records}


def test_a_new_journal_is_said_to_be_made(
    make_journal: MakeJournal, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "butler_mqtt.journal"):
        make_journal().open()
    assert f"made, in format {FORMAT}" in caplog.text

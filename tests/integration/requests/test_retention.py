"""What is old is forgotten, in small steps, and nothing else is."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from butler_mqtt.clock import now_ms
from butler_mqtt.errors import JournalError
from butler_mqtt.journal import retention, tables
from butler_mqtt.journal.retention import Retention
from butler_mqtt.journal.sqlite import Journal, LogSizes
from butler_mqtt.settings import JournalSettings, Settings
from tests.integration.requests.conftest import AT_ONCE, MakeHarness, delivered
from tests.integration.requests.filling import DAY, fill
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import cut_after_effect

LATER = 31 * DAY


def sweep(journal: Journal, *, later: int = LATER, days: float = 30) -> int:
    """Prune everything that is old in so many milliseconds, and count the steps."""
    pruning = Retention(days, now=lambda: now_ms() + later, pace=AT_ONCE)
    steps = 1
    while step(pruning, journal):
        steps += 1
    return steps


def step(pruning: Retention, journal: Journal) -> bool:
    with journal.transaction() as connection:
        return pruning.step(connection)


def counts(harness: Harness) -> dict[str, int]:
    return {table.name: len(harness.rows(table)) for table in tables.metadata.sorted_tables}


def ended(harness: Harness, body: object) -> None:
    """Have a request answered, its reply and events with the broker, and its execution over."""
    harness.site.lasting = False
    harness.ask(body)
    harness.until(lambda: all(row["state"] == "ended" for row in harness.rows(tables.runs)))
    harness.until(lambda: delivered(harness))


@contextmanager
def opened(file: Path, log: LogSizes | None = None) -> Iterator[Journal]:
    journal = Journal(f"sqlite:///{file}", log=log)
    journal.open()
    yield journal
    journal.close()


def test_a_request_is_forgotten_with_all_that_belongs_to_it(harness: Harness) -> None:
    ended(harness, {"taskId": harness.site.add("Sales"), "requestId": "old"})
    sweep(harness.journal)
    assert counts(harness) == {
        "requests": 0,
        "deliveries": 0,
        "starts": 0,
        "runs": 0,
        "outbox": 0,
        "sessions": 1,
        "lives": 1,
        "notes": 0,
        "parameter_namespaces": 0,
        "parameters": 0,
        "stages": 0,
        "alerts": 0,
        "alert_conditions": 0,
        "alert_tasks": 0,
        "overdue_tasks": 0,
        "rule_counts": 0,
        "rule_filters": 0,
        "rule_packets": 0,
        "rule_windows": 0,
    }


def test_a_request_is_kept_for_the_days_configured(harness: Harness) -> None:
    ended(harness, {"taskId": harness.site.add("Sales")})
    before = counts(harness)
    sweep(harness.journal, later=29 * DAY)
    assert counts(harness) == before


def test_an_id_that_was_forgotten_starts_again(harness: Harness) -> None:
    task = harness.site.add("Sales")
    ended(harness, {"taskId": task, "requestId": "again"})
    sweep(harness.journal)
    ended(harness, {"taskId": task, "requestId": "again"})
    assert harness.site.posts == [task, task]


def test_a_request_stays_until_the_broker_has_its_reply(harness: Harness) -> None:
    harness.site.lasting = False
    harness.ask({"taskId": harness.site.add("Sales")})
    harness.until(lambda: harness.rows(tables.runs)[0]["state"] == "ended")
    sweep(harness.journal)
    assert counts(harness)["requests"] == 1
    harness.until(lambda: delivered(harness))
    sweep(harness.journal)
    assert counts(harness)["requests"] == 0


def test_a_request_stays_until_its_execution_has_ended(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    harness.until(lambda: delivered(harness))
    sweep(harness.journal)
    assert counts(harness)["requests"] == counts(harness)["runs"] == 1
    harness.site.end(task)
    harness.until(lambda: harness.rows(tables.runs)[0]["state"] == "ended")
    harness.until(lambda: delivered(harness))
    sweep(harness.journal)
    assert counts(harness)["requests"] == counts(harness)["runs"] == 0


def test_a_request_stays_while_its_start_waits(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    reply = harness.ask({"taskId": task})
    assert reply["tasksQueued"][0]["reason"] == "running"
    harness.until(lambda: delivered(harness))
    sweep(harness.journal)
    assert counts(harness)["requests"] == 1


def test_what_must_stay_does_not_keep_what_came_after_it(harness: Harness) -> None:
    harness.ask({"taskId": harness.site.add("Long"), "requestId": "stays"})
    for number in range(30):
        ended_task = harness.site.add(f"Short {number}")
        harness.site.lasting = False
        harness.ask({"taskId": ended_task})
    harness.until(lambda: sum(row["state"] == "ended" for row in harness.rows(tables.runs)) == 30)
    harness.until(lambda: delivered(harness))
    sweep(harness.journal)
    assert [row["request_id"] for row in harness.rows(tables.requests)] == ["stays"]


def test_a_dead_letter_is_kept_as_long_as_a_request_then_goes_with_it(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.send(b"no json")
    harness.replied()
    harness.broker.refuse(harness.broker.published[-1].id, "too large", final=True)
    harness.until(lambda: harness.rows(tables.outbox)[0]["quarantined_at"] is not None)
    with harness.journal.transaction() as connection:
        connection.execute(tables.requests.update().values(closed_at=now_ms() - LATER))
    sweep(harness.journal, later=0)
    assert counts(harness)["outbox"] == counts(harness)["requests"] == 1
    sweep(harness.journal)
    assert counts(harness)["outbox"] == counts(harness)["requests"] == 0
    assert "1 message that the broker had never taken" in caplog.text


def test_a_run_stays_as_long_as_one_of_its_requests(harness: Harness) -> None:
    ended(harness, {"taskId": harness.site.add("Sales"), "requestId": "old"})
    ended(harness, {"taskId": harness.site.add("Finance"), "requestId": "young"})
    run = harness.rows(tables.runs)[0]["id"]
    with harness.journal.transaction() as connection:
        old = tables.requests.c.request_id == "old"
        connection.execute(tables.requests.update().where(old).values(closed_at=now_ms() - LATER))
        connection.execute(tables.runs.update().values(intended_at=1, answered_at=2, ended_at=3))
        connection.execute(tables.starts.update().values(run=run))
    sweep(harness.journal, later=0)
    assert [row["request_id"] for row in harness.rows(tables.requests)] == ["young"]
    # The other one serves nobody any more.
    assert [row["id"] for row in harness.rows(tables.runs)] == [run]


def test_notes_go_with_their_request_or_run_and_old_lives_before_the_newest(harness: Harness) -> None:
    harness.site.script.append(cut_after_effect)
    harness.site.lasting = False
    message = harness.send({"taskId": harness.site.add("Sales"), "requestId": "old"})
    harness.replied()
    harness.restart()
    harness.deliver(message._replace(dup=True))
    harness.until(lambda: {row["kind"] for row in harness.rows(tables.notes)} >= {"inDoubt", "redelivered"})
    harness.until(lambda: all(row["state"] == "ended" for row in harness.rows(tables.runs)))
    harness.until(lambda: delivered(harness))
    assert counts(harness)["lives"] == 2
    sweep(harness.journal)
    assert counts(harness)["notes"] == counts(harness)["runs"] == counts(harness)["requests"] == 0
    assert counts(harness)["lives"] == 1


def test_old_sessions_without_deliveries_go_and_the_newest_stays(harness: Harness) -> None:
    for _ in range(3):
        harness.connect(present=False)
        harness.step()
    newest = harness.rows(tables.sessions)[-1]
    sweep(harness.journal)
    assert harness.rows(tables.sessions) == [newest]


def test_a_request_that_came_very_often_goes_in_parts_and_frees_its_id_first(harness: Harness) -> None:
    body = {"taskId": harness.site.add("Sales"), "requestId": "often"}
    ended(harness, body)
    for _ in range(250):
        harness.send(body)
    harness.replied(251)
    harness.until(lambda: delivered(harness))
    pruning = Retention(30, now=lambda: now_ms() + LATER, pace=replace(AT_ONCE, step_seconds=60.0))
    assert step(pruning, harness.journal)
    assert counts(harness)["deliveries"] == 251 - retention.STEP_ROWS
    assert [row["holds_id"] for row in harness.rows(tables.requests)] == [False]
    sweep(harness.journal)
    assert counts(harness)["deliveries"] == counts(harness)["requests"] == 0


def test_a_step_ends_with_the_statement_in_hand_when_its_time_is_over(harness: Harness) -> None:
    """However slow the disk: it gets on in every step, and what is left of a request has no id."""
    ended(harness, {"taskId": harness.site.add("Sales"), "requestId": "old"})
    pruning = Retention(30, now=lambda: now_ms() + LATER, pace=replace(AT_ONCE, step_seconds=0.0))
    left = []
    while step(pruning, harness.journal):
        left.append({name: number for name, number in counts(harness).items() if number})
        assert not any(row["holds_id"] for row in harness.rows(tables.requests))
    assert left == [
        {"sessions": 1, "requests": 1, "starts": 1, "runs": 1, "lives": 1},
        {"sessions": 1, "requests": 1, "runs": 1, "lives": 1},
        {"sessions": 1, "runs": 1, "lives": 1},
        {"sessions": 1, "lives": 1},
    ]


def test_a_step_ends_after_few_rows_when_there_is_time(large_journal: Path, tmp_path: Path) -> None:
    """All pages that they lie on are written with the turn."""
    file = tmp_path / "journal.sqlite"
    shutil.copy(large_journal, file)
    with opened(file) as journal:
        rows = _rows(journal)
        assert step(Retention(30, pace=replace(AT_ONCE, step_seconds=60.0)), journal)
        assert retention.STEP_ROWS <= rows - _rows(journal) < retention.STEP_ROWS + retention.MAX_DELETED


def test_after_a_step_others_have_many_times_as_long(large_journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    shutil.copy(large_journal, file)
    with opened(file) as journal:
        pruning = Retention(30, pace=replace(AT_ONCE, rest=1e6))
        assert step(pruning, journal)
        before = _rows(journal)
        assert not step(pruning, journal)
        assert _rows(journal) == before


def test_the_pipeline_prunes_by_itself(make_harness: MakeHarness) -> None:
    a_moment = 0.05 / 86400
    harness = make_harness(replace(Settings(), journal=JournalSettings(retention_days=a_moment)))
    harness.site.lasting = False
    harness.ask({"taskId": harness.site.add("Sales")})
    harness.until(lambda: delivered(harness) and not harness.rows(tables.requests))
    harness.until(lambda: not harness.rows(tables.runs))
    assert counts(harness)["starts"] == counts(harness)["deliveries"] == 0


def test_a_turn_that_fails_and_is_repeated_prunes_again(make_harness: MakeHarness) -> None:
    harness = make_harness()
    ended(harness, {"taskId": harness.site.add("Sales")})
    pruning = Retention(30, now=lambda: now_ms() + LATER, pace=AT_ONCE)
    harness.journal.fail("before")
    with pytest.raises(JournalError):
        step(pruning, harness.journal)
    assert counts(harness)["requests"] == 1
    while step(pruning, harness.journal) or step(pruning, harness.journal):
        pass
    assert counts(harness)["requests"] == 0


def test_many_old_requests_go_and_the_file_gives_space_back(large_journal: Path, tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    shutil.copy(large_journal, file)
    pages = _pragma(file, "page_count")
    with opened(file) as journal:
        pruning = Retention(30, pace=replace(AT_ONCE, kept_share=0.0))
        old = _count(journal, now_ms() - 30 * DAY)
        assert old > 5000
        going_on = True
        while going_on:
            going_on = step(pruning, journal)
        assert _count(journal, now_ms() - 30 * DAY) == 0
    assert _pragma(file, "page_count") < pages
    assert _pragma(file, "freelist_count") <= retention.KEPT_PAGES
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for query in (
            "SELECT count(*) FROM deliveries WHERE request NOT IN (SELECT id FROM requests)",
            "SELECT count(*) FROM starts WHERE request NOT IN (SELECT id FROM requests)",
            # A run that ended a little after its request was closed goes in a later sweep.
            """
            SELECT count(*) FROM runs WHERE id NOT IN (SELECT run FROM starts WHERE run IS NOT NULL)
            AND coalesce(ended_at, answered_at, intended_at) < 1000 * (unixepoch() - 30 * 86400 - 600)
            """,
        ):
            assert connection.execute(query).fetchone() == (0,), query


def test_pruning_reads_no_table_from_end_to_end(large_journal: Path) -> None:
    used: list[str] = []
    file = large_journal.with_name("copy.sqlite")
    shutil.copy(large_journal, file)
    with opened(file) as journal:
        with journal.transaction() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(used.append)
        sweep(journal, later=0, days=33.3)
        driver.set_trace_callback(None)
    # One of each kind, whatever its values.
    kinds = {re.sub(r"[-0-9.]+", "?", one): one for one in used}
    statements = [one for one in kinds.values() if one.lstrip().startswith(("SELECT", "DELETE", "UPDATE"))]
    assert len(statements) > 6
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
                # These are few: one for each time the broker forgot us, or we began.
                if row[3].startswith("SCAN"):
                    assert row[3].startswith(("SCAN sessions", "SCAN lives")), (statement, row[3])


def test_a_file_whose_old_requests_go_as_new_ones_come_stops_growing(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    sizes = []
    for seed in range(4):
        fill(file, 2000, days=0.5, seed=seed)
        with opened(file) as journal:
            sweep(journal, later=DAY, days=0.1)
        sizes.append(_pragma(file, "page_count"))
    assert max(sizes) <= 1.1 * sizes[0] + retention.KEPT_PAGES


def test_a_log_that_grew_while_somebody_read_is_cut_again(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    log = Path(f"{file}-wal")
    sizes = LogSizes(kept_bytes=100_000, max_pages=1000)
    with opened(file, sizes) as journal, closing(sqlite3.connect(file)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sessions").fetchall()
        write(journal, range(1, 3000), 1000)
        grown = log.stat().st_size
        assert grown > 5_000_000
        reader.rollback()
        write(journal, range(3000, 3030), 1000)
        assert log.stat().st_size < grown / 5


def write(journal: Journal, identities: range, size: int) -> None:
    for first in range(identities.start, identities.stop, 10):
        with journal.transaction() as connection:
            for identity in range(first, min(first + 10, identities.stop)):
                row = {"id": identity, "request_id": f"r-{identity}", "holds_id": True, "door": "mqtt"}
                row |= {"state": "closed", "received_at": 1, "reply": "x" * size}
                connection.execute(tables.requests.insert().values(**row))


def _count(journal: Journal, before: int) -> int:
    query = select(func.count()).select_from(tables.requests).where(tables.requests.c.closed_at < before)
    with journal.transaction() as connection:
        return connection.execute(query).scalar_one()


def _rows(journal: Journal) -> int:
    with journal.transaction() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables.metadata.sorted_tables
        )


def _pragma(file: Path, name: str) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

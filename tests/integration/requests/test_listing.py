"""Lists, filters, following, the audit log and the backup."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy import Engine, event

from butler_mqtt.domain.states import RequestState, StartState
from butler_mqtt.errors import JournalError
from butler_mqtt.journal import tables
from butler_mqtt.journal.search import ENDED, GOING_ON, REQUEST_STATES, Filters, Search
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.journal.write_batch import Value, WriteBatch
from butler_mqtt.settings import Settings, StartTaskFilter
from tests import programs
from tests.integration.requests.conftest import MakeHarness, call, lines
from tests.integration.requests.filling import RARE, TASKS
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import guid

#: Everything is loaded before: the program itself may be where nobody can read.
COUNT_AS_NOBODY = """
import os, sys, sqlalchemy.dialects.sqlite.pysqlite
from pathlib import Path
from butler_mqtt.journal.search import Filters, Search
sqlalchemy.create_engine("sqlite://").connect().close()
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
for name in sys.argv[1:]:
    with Search(Path(name)) as search:
        print(len(search.find(Filters(), 10)))
"""
#: What a configuration cannot do without; the files need not be there for those who only read the journal.
NEEDED = {"configQRS": {"host": "sense"}, "cert": {"clientCert": "client.pem", "clientCertKey": "key.pem"}}


@pytest.fixture
def busy(make_harness: MakeHarness) -> Harness:
    """Return a harness with requests of every kind, one after the other: `erp-1` to `erp-6`."""
    harness = make_harness(
        replace(Settings(), start_task_filter=StartTaskFilter(enable=True, tags=("daily",)))
    )
    site = harness.site
    site.lasting = False
    sales = site.add("Sales", tags=("daily",))
    site.add("Secret", tags=("nightly",))
    harness.ask({"taskId": sales, "requestId": "erp-1", "sender": "erp"})
    harness.until(lambda: all(row["state"] == "ended" for row in harness.rows(tables.runs)))
    harness.ask({"tag": ["Daily", "nightly"], "requestId": "erp-2", "sender": "iot"})
    harness.until(lambda: all(row["state"] == "ended" for row in harness.rows(tables.runs)))
    harness.ask({"tag": "nightly", "requestId": "erp-3", "sender": "iot"})
    harness.ask({"taskId": "abc", "requestId": "erp-4", "sender": "iot"})
    disabled = site.add("Finance", enabled=False, tags=("daily",))
    answers = harness.call({"taskId": disabled, "requestId": "erp-5"}, principal="erp")
    harness.until(lambda: answers)
    site.down = True
    harness.send({"taskId": sales, "requestId": "erp-6"})
    harness.until(harness.open_rows)
    harness.broker.refuse(harness.broker.published[3].id, "not authorized", final=True)
    harness.until(lambda: any(row["quarantined_at"] for row in harness.rows(tables.outbox)))
    return harness


def found(harness: Harness, *arguments: str) -> list[str]:
    done = call("--json", "--journal", harness.path, *arguments)
    if done.exit_code == 1:
        assert "no request in" in done.stderr
        return []
    return [one["requestId"].removeprefix("erp-") for one in lines(done)]


def test_requests_are_listed_newest_first_up_to_the_limit(busy: Harness) -> None:
    assert found(busy) == ["6", "5", "4", "3", "2", "1"]
    assert found(busy, "--limit", "2") == ["6", "5"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--state", "refused"], ["4", "3"]),
        (["--state", "succeeded"], ["2", "1"]),
        (["--state", "denied"], ["3", "2"]),
        (["--state", "notStarted", "--state", "refused"], ["5", "4", "3"]),
        (["--state", "failed"], ["5"]),
        (["--state", "running"], []),
        (["--state", "waiting"], []),
        (["--state", "planned"], ["6"]),
        (["--open"], ["6"]),
        (["--task", "sales"], ["6", "2", "1"]),
        (["--task", "Secret"], ["3", "2"]),
        (["--task", "no such task"], []),
        (["--tag", "DAILY"], ["2"]),
        (["--tag", "nightly"], ["3", "2"]),
        (["--tag", "no such tag"], []),
        (["--sender", "iot"], ["3", "2"]),
        (["--door", "rest"], ["5"]),
        (["--code", "all_denied"], ["3"]),
        (["--code", "task_disabled"], ["5"]),
        (["--quarantined"], ["4"]),
        (["--since", "1h"], ["6", "5", "4", "3", "2", "1"]),
        (["--until", "1h"], []),
        (["--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02"], []),
        (["--sender", "iot", "--tag", "nightly", "--state", "succeeded"], ["2"]),
    ],
)
def test_filters_leave_what_fits_all_of_them(
    busy: Harness, arguments: list[str], expected: list[str]
) -> None:
    assert found(busy, *arguments) == expected


def test_a_cancel_that_found_nothing_to_take_back_has_not_failed(harness: Harness) -> None:
    harness.ask({"requestId": "erp-1", "taskId": harness.site.add("Sales")})
    harness.ask({"requestId": "erp-2", "cancel": "erp-1"})
    assert found(harness, "--state", "failed") == []
    cancel = call("--journal", harness.path).stdout.splitlines()[2]
    assert "cancel erp-1" in cancel
    assert "0 cancelled, 1 went on" in cancel


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--rule", "orders-closed"], ["2"]),
        (["--rule", "batch-done"], ["3"]),
        (["--door", "rule"], ["3", "2"]),
    ],
)
def test_requests_that_a_rule_made_are_found_by_its_name(
    tmp_path: Path, arguments: list[str], expected: list[str]
) -> None:
    journal = Journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
    journal.open()
    unit = WriteBatch()
    for number, rule in enumerate((None, "orders-closed", "batch-done"), 1):
        row: dict[str, Value] = {"id": number, "request_id": str(number), "holds_id": True, "rule": rule}
        door = "rule" if rule else "mqtt"
        unit.insert(
            tables.requests, {**row, "door": door, "state": "closed", "received_at": number, "closed_at": 9}
        )
    journal.write(unit)
    journal.close()
    done = call("--json", "--journal", journal.path, *arguments)
    assert [one["requestId"] for one in lines(done)] == expected


def test_open_requests_stand_among_the_others_in_the_order_of_arrival(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path / 'journal.sqlite'}")
    journal.open()
    unit = WriteBatch()
    for number in range(1, 8):
        ended: dict[str, Value] = (
            {"state": "closed", "closed_at": 100} if number % 3 else {"state": "received"}
        )
        row: dict[str, Value] = {"id": number, "request_id": f"r{number}", "holds_id": True, "door": "rest"}
        # Two arrived in one millisecond.
        unit.insert(tables.requests, {**row, **ended, "received_at": number - (number == 4)})
    journal.write(unit)
    journal.close()
    with Search(journal.path) as search:
        assert search.find(Filters(), 10) == [7, 6, 5, 4, 3, 2, 1]
        assert search.find(Filters(since=3, until=7), 3) == [6, 5, 4]
        assert [one.request["id"] for one in search.each(None, None, batch=2)] == [1, 2, 3, 4, 5, 6, 7]
        assert [one.request["id"] for one in search.each(3, 6, batch=2)] == [3, 4, 5]


def test_a_running_and_a_waiting_task_are_found_by_their_states(harness: Harness) -> None:
    sales, finance = harness.site.add("Sales"), harness.site.add("Finance")
    harness.site.begin(finance)
    harness.ask({"taskId": sales, "requestId": "erp-1"})
    harness.ask({"taskId": finance, "requestId": "erp-2"})
    assert found(harness, "--state", "running") == ["1"]
    assert found(harness, "--state", "waiting") == ["2"]


def test_every_state_can_be_asked_for() -> None:
    assert {*REQUEST_STATES} == {*RequestState}
    assert {*GOING_ON, *ENDED} == {*StartState}


def test_a_list_shows_who_asked_for_what_and_its_state(busy: Harness) -> None:
    done = call("--journal", busy.path)
    assert done.exit_code == 0, done.output
    by_id = {line.split()[2]: re.split("  +", line.strip())[2:] for line in done.stdout.splitlines()[2:]}
    denied = "1 succeeded, 1 denied (Secret)"
    disabled = "failed: 1 notStarted (task_disabled: Finance)"
    # Nothing was understood of it, so that it stands as it came.
    received = '{"taskId": "abc", "requestId": "erp-4",…'
    assert by_id == {
        "erp-1": ["mqtt, erp", "task Sales", "Sales", "1 succeeded"],
        "erp-2": ["mqtt, iot", "tag Daily, tag nightly", "Sales, Secret", denied],
        "erp-3": ["mqtt, iot", "tag nightly", "Secret", "refused: all_denied"],
        "erp-4": ["mqtt", received, "-", "refused: invalid_task_id; 1 dead letter"],
        "erp-5": [
            "rest, token erp",
            "task Finance",
            "Finance",
            disabled,
        ],
        "erp-6": ["mqtt", "task Sales", "Sales", "open: 1 planned"],
    }


def test_a_request_that_started_nothing_is_a_failure_wherever_it_is_shown(harness: Harness) -> None:
    harness.site.add("Off", enabled=False, tags=("off",))
    harness.site.add("On", tags=("on",))
    harness.ask({"tag": "nothing", "requestId": "erp-1"})
    harness.ask({"tag": ["off", "nothing"], "requestId": "erp-2"})
    harness.ask({"tag": ["off", "on"], "requestId": "erp-3"})
    harness.ask({"tag": "off", "dryRun": True, "requestId": "erp-4"})
    assert found(harness, "--state", "failed") == ["2", "1"]
    assert call("erp-1", "--journal", harness.path).stdout.startswith("request erp-1: failed: 1 not found\n")
    outcomes = [one["outcome"] for one in lines(call("export", "--journal", harness.path))]
    assert outcomes == ["failed", "failed", None, "succeeded"]


def test_an_open_request_shows_what_it_asks_for_before_its_tasks_are_known(harness: Harness) -> None:
    harness.site.down = True
    pairs = [{"name": "group", "value": value} for value in "abc"]
    harness.send({"customProperty": pairs, "taskId": [guid(1)], "requestId": "erp-1"})
    harness.until(harness.open_rows)
    assert f"task {guid(1)}, group=a and 2 more" in call("--journal", harness.path).stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--state", "nope"], "'nope' is none of received"),
        (["--since", "soon"], "neither a duration"),
        (["--until", "99999999999"], "neither a duration"),
        (["--sender", "erp", "erp-1"], "filters belong to the list"),
        (["resend"], "name one request, or --all"),
        (["discard", "erp-1", "--all"], "name one request, or --all"),
    ],
)
def test_what_cannot_be_understood_ends_with_2(
    harness: Harness, arguments: list[str], complaint: str
) -> None:
    done = call("--journal", harness.path, *arguments)
    assert done.exit_code == 2, done.output
    assert complaint in done.stderr


# ---- which file


def test_the_journal_is_found_through_the_configuration(busy: Harness, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"Butler": {**NEEDED, "journal": {"url": f"sqlite:///{busy.path}"}}}))
    for arguments in (["-c", str(config), "erp-1"], ["erp-1", "-c", str(config)]):
        done = call(*arguments)
        assert done.exit_code == 0, done.output
        assert "request erp-1" in done.stdout


def test_a_journal_that_is_not_there_ends_with_1_and_says_where_a_service_has_it(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"Butler": NEEDED}))
    done = call("-c", config)
    assert done.exit_code == 1
    assert f"there is no journal at {tmp_path / 'butler-mqtt.sqlite'}" in done.stderr
    assert "--journal /var/lib/butler-mqtt/butler-mqtt.sqlite" in done.stderr


@pytest.mark.parametrize("content", [b"", b"no database" * 100])
def test_a_file_that_is_no_journal_ends_with_1(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    done = call("--journal", file)
    assert done.exit_code == 1
    assert str(file) in done.stderr


def test_a_journal_of_another_format_is_not_misread(harness: Harness) -> None:
    with harness.journal.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    done = call("--journal", harness.path)
    assert done.exit_code == 1
    assert "has format 9999, this butler-mqtt reads" in done.stderr


def test_reading_never_writes(busy: Harness) -> None:
    busy.crash()
    before = busy.path.read_bytes()
    assert call("--journal", busy.path).exit_code == 0
    assert busy.path.read_bytes() == before
    busy.start()


def test_a_copy_is_read_in_a_folder_where_nobody_may_write(busy: Harness) -> None:
    # pytest's own folders cannot be entered by others.
    with TemporaryDirectory() as name:
        folder = Path(name)
        assert call("backup", folder / "copy.sqlite", "--journal", busy.path).exit_code == 0
        # Closed by its last writer, a journal says that it has a -wal, and has none.
        busy.crash()
        shutil.copy(busy.path, folder / "closed.sqlite")
        busy.start()
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", COUNT_AS_NOBODY, folder / "copy.sqlite", folder / "closed.sqlite"],
            capture_output=True,
            text=True,
            check=False,
        )
        folder.chmod(0o755)
    assert (done.stdout, done.stderr) == ("6\n6\n", "")


# ---- speed


@contextmanager
def plans(file: Path) -> Iterator[list[str]]:
    """Return, at the end, how SQLite carried out each statement on *file* in between."""
    gathered: list[tuple[str, Any]] = []
    collected: list[str] = []

    def gather(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        gathered.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", gather)
    try:
        yield collected
    finally:
        event.remove(Engine, "before_cursor_execute", gather)
    with closing(sqlite3.connect(file)) as connection:
        for statement, parameters in gathered:
            if statement.lstrip().startswith(("SELECT", "WITH")):
                rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
                collected.extend(row[3] for row in rows)


SEARCHES = [
    Filters(),
    Filters(states=("refused",)),
    Filters(states=("received", "decided")),
    Filters(states=("failed",)),
    Filters(states=("running",)),
    Filters(states=("waiting",)),
    Filters(states=("planned",)),
    Filters(task=RARE),
    Filters(task="Rare"),
    Filters(task=TASKS[7][1]),
    Filters(tag="tag 4"),
    Filters(since=1),
    Filters(until=1),
    Filters(sender="nobody"),
    Filters(door="none"),
    Filters(code="expired"),
    Filters(code="none"),
    Filters(dead_letters=True),
    Filters(task="Rare", tag="tag 4", code="none", sender="nobody"),
]


@pytest.mark.parametrize("filters", SEARCHES, ids=str)
def test_no_search_reads_whole_rows_of_what_does_not_fit(large_journal: Path, filters: Filters) -> None:
    with plans(large_journal) as collected, Search(large_journal) as search:
        search.requests_rows(search.find(filters, 20))
    assert collected
    for step in collected:
        small = ("sqlite_master", "alembic_version", "each", "(subquery", "numbered", "anon", "CONSTANT")
        if step.startswith("SCAN") and not any(name in step for name in small):
            allowed = ("COVERING INDEX", "INDEX runs_executing", "INDEX starts_waiting")
            assert any(name in step for name in allowed), step


# ---- following


def test_following_shows_what_is_there_then_what_comes_and_changes_and_ends_well(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "requestId": "erp-1", "sender": "erp"})
    arguments = ["requests", "--follow", "--json", "--sender", "erp", "--journal", str(harness.path)]
    process = programs.start(
        [sys.executable, "-m", "butler_mqtt", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    read: list[Any] = []
    assert process.stdout is not None
    assert process.stderr is not None
    reader = threading.Thread(target=_read_into, args=(process.stdout, read))
    reader.start()
    try:
        harness.until(lambda: _seen(read) == [("erp-1", ["running"])], 30)
        harness.ask({"taskId": harness.site.add("Finance"), "requestId": "erp-2", "sender": "somebody"})
        harness.site.end(task)
        harness.until(lambda: _seen(read)[1:] == [("erp-1", ["succeeded"])], 30)
        harness.ask({"tag": "none", "requestId": "erp-3", "sender": "erp"})
        harness.until(lambda: _seen(read)[-1] == ("erp-3", []), 30)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
        reader.join(20)
        errors = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    assert (code, errors) == (0, "")


def _read_into(stream: Any, read: list[Any]) -> None:
    read.extend(json.loads(line) for line in stream)


def _seen(read: list[Any]) -> list[tuple[str, list[str]]]:
    return [(one["requestId"], [task["state"] for task in one["tasks"]]) for one in read]


# ---- audit log and backup


def test_the_audit_log_has_who_asked_what_through_which_door_with_which_result(busy: Harness) -> None:
    log = lines(call("export", "--journal", busy.path))
    assert [one["requestId"] for one in log] == [f"erp-{number}" for number in range(1, 7)]
    second, fourth, fifth, sixth = log[1], log[3], log[4], log[5]
    assert (second["sender"], second["door"], second["state"]) == ("iot", "mqtt", "closed")
    assert second["request"]["tag"] == ["Daily", "nightly"]
    assert [(task["taskName"], task["state"]) for task in second["tasks"]] == [
        ("Sales", "succeeded"),
        ("Secret", "denied"),
    ]
    assert second["reply"]["status"] == "partial"
    assert second["deliveries"][0]["replyTopic"] == "qliksense/task/start/reply"
    assert (fourth["code"], fourth["request"], fourth["messagesSetAside"]) == ("invalid_task_id", None, 1)
    assert (fifth["door"], fifth["principals"]) == ("rest", ["erp"])
    assert fifth["tasks"][0]["code"] == "task_disabled"
    assert (sixth["state"], sixth["reply"], sixth["closedAt"]) == ("decided", None, None)


def test_the_audit_log_of_a_time_has_what_arrived_in_it(busy: Harness) -> None:
    times = [one["receivedAt"] for one in lines(call("export", "--journal", busy.path))]
    log = lines(call("export", "--journal", busy.path, "--since", times[1], "--until", times[3]))
    assert [one["receivedAt"] for one in log] == [when for when in times if times[1] <= when < times[3]]
    assert lines(call("export", "--journal", busy.path, "--until", "2020-01-01")) == []


def test_the_audit_log_reads_a_few_requests_at_a_time(busy: Harness) -> None:
    with Search(busy.path) as search:
        each = search.each(None, None, batch=2)
        ids = [next(each).request["request_id"]]
        with busy.journal.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM requests WHERE request_id IN ('erp-1', 'erp-4')")
        ids += [request_rows.request["request_id"] for request_rows in each]
    assert ids == ["erp-1", "erp-2", "erp-3", "erp-5", "erp-6"]


def test_a_backup_is_one_whole_file_for_its_owner_alone(busy: Harness, tmp_path: Path) -> None:
    target = tmp_path / "copy.sqlite"
    done = call("backup", target, "--journal", busy.path)
    assert done.exit_code == 0, done.output
    assert target.stat().st_mode & 0o777 == 0o600
    assert found(replace_path(busy, target)) == found(busy)
    assert sorted(file.name for file in tmp_path.glob("copy*")) == ["copy.sqlite"]


def test_a_backup_does_not_overwrite_anything(busy: Harness, tmp_path: Path) -> None:
    target = tmp_path / "copy.sqlite"
    target.write_text("precious")
    done = call("backup", target, "--journal", busy.path)
    assert done.exit_code == 1
    assert "exists already" in done.stderr
    assert target.read_text() == "precious"


def test_a_backup_that_cannot_be_made_leaves_nothing_behind(busy: Harness, tmp_path: Path) -> None:
    done = call("backup", tmp_path / "missing" / "copy.sqlite", "--journal", busy.path)
    assert done.exit_code == 1
    assert "No such file or directory" in done.stderr
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"no database" * 1000)
    done = call("backup", tmp_path / "copy.sqlite", "--journal", damaged)
    assert done.exit_code == 1
    assert "cannot be copied" in done.stderr
    assert list(tmp_path.glob("copy*")) == []


def test_a_daemon_starts_from_a_backup(busy: Harness, tmp_path: Path) -> None:
    assert call("backup", tmp_path / "copy.sqlite", "--journal", busy.path).exit_code == 0
    busy.crash()
    busy.path.with_name("journal.sqlite-wal").unlink(missing_ok=True)
    shutil.copy(tmp_path / "copy.sqlite", busy.path)
    # What is open in it is held until then, see test_restore.py.
    assert call("resume", "--all", "--journal", busy.path).exit_code == 1
    busy.start()
    busy.crash()
    assert call("resume", "--all", "--journal", busy.path).exit_code == 0
    busy.start()
    busy.site.down = False
    busy.until(lambda: not busy.open_rows())
    assert found(busy, "--state", "closed") == ["6", "5", "2", "1"]


def replace_path(harness: Harness, file: Path) -> Harness:
    """Return a harness that is read from another file."""
    folder = file.parent / "as-journal"
    folder.mkdir()
    (folder / "journal.sqlite").symlink_to(file)
    return Harness(folder)


def test_a_search_in_a_missing_file_is_a_journal_error(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal at"), Search(tmp_path / "none"):
        pass

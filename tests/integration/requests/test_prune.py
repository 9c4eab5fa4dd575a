"""`requests prune`: what is old or refused is deleted early, with a daemon or without; the rest stays."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.journal import tables
from butler_mqtt.journal.pruning import Order
from butler_mqtt.pipeline.operator_commands import Action, Command, parse, place
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, until
from tests.integration.requests.conftest import IMPATIENT, SHORT, beside, call, delivered
from tests.integration.requests.filling import fill
from tests.open_files import no_more_files
from tests.pipeline.harness import Harness

HOUR = 3_600_000


def age(file: Path, hours: float = 48.0) -> None:
    """Have all that is in a journal happened earlier."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE requests SET closed_at = closed_at - ?", (round(hours * HOUR),))


def new_session(harness: Harness) -> None:
    """Begin a session, so that the messages before are not among its last."""
    harness.connect(present=False)
    harness.turn()


def ids(harness: Harness) -> list[str]:
    return [row["request_id"] for row in harness.rows(tables.requests)]


def some(harness: Harness) -> None:
    """Have requests that succeeded and that were refused, all published."""
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "requestId": "good"})
    harness.ask({"taskId": "abc", "requestId": "bad"})
    harness.ask({"taskName": "nobody", "allMustExist": True, "requestId": "none"})
    harness.until(lambda: delivered(harness) and not harness.open_rows())


def count(file: Path, where: str = "1") -> int:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM requests WHERE {where}").fetchone()[0])  # noqa: S608 -- own text


# ---- with a running daemon


def test_a_running_daemon_deletes_what_is_old_enough(harness: Harness) -> None:
    some(harness)
    new_session(harness)
    age(harness.path)
    harness.ask({"taskId": "abc", "requestId": "young"})
    done = beside(harness, "prune", "--older-than", "1d")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("3 requests are deleted; the daemon gives their space back to the disk")
    assert ids(harness) == ["young"]
    assert list(harness.folder.glob("*.command*")) == []


def test_a_running_daemon_deletes_refusals_of_any_age_alone(harness: Harness) -> None:
    some(harness)
    new_session(harness)
    done = beside(harness, "prune", "--refused")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("2 requests are deleted")
    assert ids(harness) == ["good"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_what_a_failed_commit_deleted_is_deleted_again(harness: Harness, where: str) -> None:
    some(harness)
    new_session(harness)
    order = Order(before=now_ms() + HOUR, refused=False, last=0)
    place(harness.path).write_text(Command(Action.PRUNE, (), order).encode())
    while place(harness.path).exists():
        harness.turn()
    harness.journal.fail(where)
    harness.until(lambda: not ids(harness))


def test_a_command_whose_turn_fails_is_carried_out(harness: Harness) -> None:
    some(harness)
    new_session(harness)
    order = Order(before=now_ms() + HOUR, refused=False, last=0)
    place(harness.path).write_text(Command(Action.PRUNE, (), order).encode())
    for _ in range(10):
        harness.journal.fail("before")
    harness.until(lambda: not ids(harness))


def test_a_command_waits_while_no_file_can_be_opened(harness: Harness) -> None:
    some(harness)
    new_session(harness)
    command = place(harness.path)
    order = Order(before=now_ms() + HOUR, refused=False, last=0)
    command.write_text(Command(Action.PRUNE, (), order).encode())
    with no_more_files():
        for _ in range(5):
            harness.turn()
    assert (command.exists(), len(ids(harness))) == (True, 3)
    harness.until(lambda: not command.exists() and not ids(harness))


def test_an_id_that_was_deleted_is_free_and_one_that_was_not_is_not(harness: Harness) -> None:
    some(harness)
    new_session(harness)
    age(harness.path)
    assert beside(harness, "prune", "--older-than", "1d").exit_code == 0
    task = next(iter(harness.site.tasks))
    harness.ask({"taskId": task, "requestId": "good"})
    harness.ask({"taskId": task, "requestId": "good"})
    assert len(harness.site.posts) == 2


def test_what_is_open_to_be_published_or_a_dead_letter_stays(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "requestId": "running"})
    harness.ask({"taskId": task, "requestId": "waiting"})
    harness.ask({"taskId": "abc", "requestId": "aside"})
    harness.broker.refuse(harness.broker.published[-1].id, "not authorized", final=True)
    harness.until(lambda: any(row["quarantined_at"] for row in harness.rows(tables.outbox)))
    harness.broker.confirm()
    harness.ask({"taskId": "abc", "requestId": "unpublished"})
    new_session(harness)
    age(harness.path)
    done = call("prune", "--older-than", "1d", "--journal", harness.path)
    assert done.exit_code == 0, done.output
    assert "0 requests would be deleted" in done.stdout
    assert "; 4 stay, with something still to come or a dead letter" in done.stdout
    assert ids(harness) == ["running", "waiting", "aside", "unpublished"]


def test_the_last_messages_stay_which_the_broker_may_deliver_again(harness: Harness) -> None:
    some(harness)
    age(harness.path)
    done = call("prune", "--older-than", "1d", "--journal", harness.path)
    assert (done.exit_code, done.stdout) == (0, "0 requests would be deleted, 0.0 MB of texts\n")
    assert len(ids(harness)) == 3


def test_a_command_that_the_daemon_does_not_accept_is_withdrawn(harness: Harness) -> None:
    some(harness)
    new_session(harness)
    done = call("prune", "--refused", "--journal", harness.path, limits=IMPATIENT)
    assert done.exit_code == 1
    assert "did not accept the command within 1 s; it was withdrawn" in done.stderr
    assert len(ids(harness)) == 3


def test_a_command_that_the_daemon_does_not_know_ends_with_1(harness: Harness) -> None:
    """One of an older version removes the file and does nothing."""
    limits = replace(SHORT, patience_seconds=0.1)
    some(harness)
    new_session(harness)
    done: list[Any] = []
    thread = threading.Thread(
        target=lambda: done.append(call("prune", "--refused", "--journal", harness.path, limits=limits))
    )
    thread.start()
    until(place(harness.path).exists, what="the command is there")
    place(harness.path).unlink()
    thread.join(20)
    assert done[0].exit_code == 1
    assert "2 of 2 requests are still there and the daemon has made no progress" in done[0].stderr


# ---- without a daemon


def test_without_a_daemon_the_space_is_given_back_at_once(tmp_path: Path, large_journal: Path) -> None:
    file = tmp_path / "journal.sqlite"
    shutil.copy(large_journal, file)
    before, old = file.stat().st_size, count(file)
    done = call("prune", "--older-than", "10d", "--journal", file)
    assert done.exit_code == 0, done.output
    left = count(file)
    assert 0 < left < old / 2
    assert f"{old - left} requests are deleted" in done.stdout
    assert file.stat().st_size < before * 0.6
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_refused_ones_alone_among_many(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    fill(file, 5000, days=3)
    refused = count(file, "state = 'refused'")
    assert refused
    done = call("prune", "--refused", "--older-than", "1h", "--journal", file)
    assert done.exit_code == 0, done.output
    assert count(file) >= 5000 - refused
    assert count(file, "state = 'refused'") <= 3  # among the last messages


def test_a_dry_run_prints_how_many_and_deletes_none(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite"
    fill(file, 5000, days=10)
    done = call("prune", "--older-than", "5d", "--dry-run", "--journal", file)
    assert done.exit_code == 0
    number, rest = done.stdout.split(" ", 1)
    assert 2_480 <= int(number) <= 2_520
    assert rest.startswith("requests would be deleted, 1.")
    assert count(file) == 5000


# ---- the command line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "name at least one: --older-than AGE, --refused"),
        (("--older-than", "10m"), "must be 1h ago at least"),
        (("--older-than", "soon"), "is neither a duration"),
    ],
)
def test_an_incomplete_command_line_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    done = call("prune", *arguments, "--journal", tmp_path / "journal.sqlite")
    assert done.exit_code == 2
    assert complaint in done.stderr.replace("\n", " ")


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    done = call("prune", "--refused", "--journal", tmp_path / "journal.sqlite")
    assert (done.exit_code, done.stderr) == (1, f"there is no journal at {tmp_path / 'journal.sqlite'}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        '{"action": "prune", "messages": []}',
        '{"action": "prune", "messages": [], "order": {"before": 1}}',
        '{"action": "prune", "messages": [], "order": 7}',
        '{"action": "resend", "messages": [], "order": {"before": 1, "refused": true, "last": 1}}',
    ],
)
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no command"):
        parse(text.encode())


def test_a_command_is_read_as_it_was_written() -> None:
    command = Command(Action.PRUNE, (), Order(1700000000000, refused=True, last=200))
    assert parse(command.encode().encode()) == command


# ---- the installed program


def test_the_installed_daemon_deletes_while_requests_come(
    make_daemon: Callable[..., Daemon], broker: Mosquitto, qlik: Qlik
) -> None:
    daemon = make_daemon(broker)
    fill(daemon.journal, 20_000, days=20)
    daemon.start()
    task = qlik.task()
    with Sender(broker.port) as sender:
        answers: list[dict[str, Any]] = []
        before = count(daemon.journal)

        def work() -> None:
            while len(answers) < 20 or count(daemon.journal) > 11_000:
                body = {"taskId": task, "ifRunning": "skip", "dryRun": True, "requestId": f"r-{len(answers)}"}
                answers.append(sender.answer(sender.send(body)))

        thread = threading.Thread(target=work)
        thread.start()
        done = call("prune", "--older-than", "10d", "-c", daemon.config_file)
        thread.join(60)
    assert done.exit_code == 0, done.output
    assert before == 20_000
    assert count(daemon.journal, "request_id NOT LIKE 'r-%'") in range(9_900, 10_200)
    assert {one["status"] for one in answers} == {"ok"}
    assert json.dumps(daemon.rows("PRAGMA integrity_check")) == '[["ok"]]'
    assert daemon.wait_logged("[action=requests_pruned]") == 1

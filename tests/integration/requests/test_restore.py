"""A backup in the journal's place: checked, and nothing of it goes on before somebody says so."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.audit.requests_again import retried
from butler_mqtt.audit.requests_choice import Declined
from butler_mqtt.checks import machine
from butler_mqtt.clock import now_ms
from butler_mqtt.contract.request_status import request_status
from butler_mqtt.daemon import service_status
from butler_mqtt.journal import tables
from butler_mqtt.journal.restore import give_as_root
from butler_mqtt.journal.restore import restore as put_in_place
from butler_mqtt.journal.sqlite import FORMAT, writing_engine
from butler_mqtt.journal.status_rows import StatusReader
from butler_mqtt.journal.upgrade import upgrade
from butler_mqtt.pipeline.operator_commands import place
from tests.integration.requests.conftest import call, delivered, lines
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import Crash, killed_after_effect


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.sqlite"


def back_up(harness: Harness, copy: Path) -> None:
    assert call("backup", copy, "--journal", harness.path).exit_code == 0


def restore(harness: Harness, copy: Path, *, held: int) -> None:
    """End the daemon, restore, start it again."""
    harness.crash()
    done = call("restore", copy, "--journal", harness.path)
    assert done.exit_code == 0, done.output
    assert f"requests held: {held}\n" in done.stdout
    harness.start()


def beside(harness: Harness, *arguments: str) -> Any:
    """Run the command while the harness turns."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(call(*arguments, "--journal", harness.path)))
    thread.start()
    harness.until(lambda: not thread.is_alive(), 20)
    thread.join()
    assert done[0].exit_code == 0, done[0].output
    return done[0]


def held(harness: Harness) -> list[str]:
    done = call("--held", "--json", "--journal", harness.path)
    return [one["requestId"] for one in reversed(lines(done))] if done.exit_code == 0 else []


def turns(harness: Harness) -> None:
    """Let the daemon do whatever it would."""
    for _ in range(30):
        harness.step()


def six_wait(harness: Harness) -> list[str]:
    """Have six requests wait, of each kind there is, and one be answered; return the tasks."""
    harness.site.down = True
    tasks = [harness.site.add(f"Task {number}") for number in range(6)]
    for number, task in enumerate(tasks):
        harness.send({"taskId": task, "requestId": f"erp-{number}"})
    harness.until(lambda: len(harness.open_rows()) == 6)
    return tasks


def test_what_waited_in_a_backup_starts_only_when_resumed(harness: Harness, copy: Path) -> None:
    tasks = six_wait(harness)
    back_up(harness, copy)
    harness.site.down = False
    harness.site.lasting = False
    harness.replied(6)
    harness.until(lambda: delivered(harness))
    restore(harness, copy, held=6)
    turns(harness)
    assert harness.site.posts == tasks
    assert len(harness.replies()) == 6
    assert held(harness) == [f"erp-{number}" for number in range(6)]
    done = beside(harness, "resume", "erp-3")
    assert done.stdout == "1 request: continued now; 5 are held still\n"
    harness.replied(7)
    assert harness.site.posts == [*tasks, tasks[3]]
    assert harness.replies()[-1]["requestId"] == "erp-3"
    beside(harness, "resume", "--all")
    harness.replied(12)
    assert sorted(harness.site.posts) == sorted([*tasks, *tasks])
    assert held(harness) == []


def test_the_state_of_a_held_request_says_so_until_it_is_resumed(harness: Harness, copy: Path) -> None:
    def said() -> object:
        rows = StatusReader(harness.path).request("erp-3")
        assert rows is not None
        state = request_status(rows.request, rows.deliveries, rows.starts, held=rows.held)
        return state.get("held")

    six_wait(harness)
    assert said() is None
    back_up(harness, copy)
    restore(harness, copy, held=6)
    assert said() is True
    beside(harness, "resume", "erp-3")
    assert said() is None


def test_a_new_request_is_served_while_others_are_held(harness: Harness, copy: Path) -> None:
    tasks = six_wait(harness)
    back_up(harness, copy)
    restore(harness, copy, held=6)
    harness.site.down = False
    reply = harness.ask({"taskId": tasks[0], "requestId": "new"})
    assert reply["totalTasksStarted"] == 1
    assert harness.site.posts == [tasks[0]]
    assert harness.pipeline.held_requests == 6
    assert harness.pipeline.open_requests == 0


def test_a_held_request_that_comes_again_gets_its_one_reply_when_resumed(
    harness: Harness, copy: Path
) -> None:
    tasks = six_wait(harness)
    back_up(harness, copy)
    restore(harness, copy, held=6)
    harness.site.down = False
    harness.send({"taskId": tasks[0], "requestId": "erp-0"})
    turns(harness)
    assert harness.replies() == []
    beside(harness, "resume", "erp-0")
    replies = harness.replied(2)
    assert [reply["requestId"] for reply in replies] == ["erp-0", "erp-0"]
    assert harness.site.posts == [tasks[0]]


def test_deadlines_of_held_requests_are_judged_when_they_go_on(harness: Harness, copy: Path) -> None:
    harness.site.down = True
    harness.send(
        {"taskId": harness.site.add("Sales"), "requestId": "erp-1", "expiresAt": "2099-01-01T00:00:00Z"}
    )
    harness.until(harness.open_rows)
    back_up(harness, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE requests SET expires_at = ?", (now_ms() - 1000,))
        connection.commit()
    restore(harness, copy, held=1)
    harness.site.down = False
    turns(harness)
    assert harness.replies() == []
    beside(harness, "resume", "erp-1")
    assert harness.replied()[0]["code"] == "expired"
    assert harness.site.posts == []


def test_a_queued_start_and_a_followed_execution_are_held_together_with_their_events(
    harness: Harness, copy: Path
) -> None:
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "requestId": "first"})
    harness.ask({"taskId": task, "requestId": "queued"})
    harness.until(lambda: delivered(harness))
    back_up(harness, copy)
    restore(harness, copy, held=2)
    harness.site.end(task)
    before = len(harness.broker.events)
    turns(harness)
    assert harness.site.posts == [task]
    assert len(harness.broker.events) == before
    beside(harness, "resume", "first")
    harness.until(lambda: harness.rows(tables.runs)[0]["state"] == "ended")
    turns(harness)
    assert harness.site.posts == [task]
    beside(harness, "resume", "queued")
    harness.until(lambda: harness.site.posts == [task, task])


def test_requests_that_share_an_execution_go_on_together(harness: Harness, copy: Path) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    harness.ask({"taskId": task, "requestId": "one"})
    harness.ask({"taskId": task, "requestId": "two"})
    harness.until(lambda: len(harness.rows(tables.starts)) == 2)
    harness.site.end(task)
    harness.until(lambda: harness.site.posts == [task])
    harness.until(lambda: {row["state"] for row in harness.rows(tables.starts)} == {"running"})
    back_up(harness, copy)
    restore(harness, copy, held=2)
    done = beside(harness, "resume", "one")
    assert done.stdout == (
        "2 requests, 1 of them because they share an execution: continued now; 0 are held still\n"
    )
    harness.site.end(task)
    harness.until(lambda: {row["state"] for row in harness.rows(tables.starts)} == {"succeeded"})


def test_a_start_in_doubt_in_the_backup_is_never_asked_of_qlik_again(harness: Harness, copy: Path) -> None:
    task = harness.site.add("Sales")
    harness.site.script.append(killed_after_effect)
    harness.send({"taskId": task, "requestId": "erp-1"})
    with pytest.raises(Crash):
        harness.replied()
    back_up(harness, copy)
    restore(harness, copy, held=1)
    # The task can be asked for by others: no run of it is open.
    assert harness.ask({"taskId": task, "requestId": "new"})["tasksQueued"][0]["reason"] == "running"
    posts = list(harness.site.posts)
    beside(harness, "resume", "erp-1")
    reply = harness.replied(2)[-1]
    assert reply["tasksFailed"][0]["status"] == "unknown"
    assert "a backup was restored" in reply["tasksFailed"][0]["details"]
    turns(harness)
    assert harness.site.posts == posts


def test_replies_that_were_on_their_way_are_published_only_when_resumed(harness: Harness, copy: Path) -> None:
    harness.ask({"taskId": "abc", "requestId": "erp-1"})
    back_up(harness, copy)
    restore(harness, copy, held=1)
    turns(harness)
    assert len(harness.replies()) == 1
    (row,) = harness.rows(tables.outbox)
    assert row["reason"] == "a backup was restored: it may have been published already"
    beside(harness, "resume", "erp-1")
    assert len(harness.replied(2)) == 2
    harness.until(lambda: delivered(harness))


def test_discarding_cancels_what_has_not_begun_and_answers_the_senders(harness: Harness, copy: Path) -> None:
    six_wait(harness)
    back_up(harness, copy)
    restore(harness, copy, held=6)
    harness.site.down = False
    done = beside(harness, "resume", "--all", "--discard")
    assert done.stdout == "6 requests: discarded, what has not begun is cancelled now; 0 are held still\n"
    replies = harness.replied(6)
    assert {reply["code"] for reply in replies} == {"cancelled"}
    assert "what was started after that backup was made is not known here" in replies[0]["details"]
    turns(harness)
    assert harness.site.posts == []
    timeline = call("erp-0", "--journal", harness.path).stdout
    assert "an operator discarded it" in timeline
    assert "held until butler-mqtt requests resume" in timeline


def test_discarding_a_queued_start_cancels_it_and_drops_old_messages(harness: Harness, copy: Path) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    harness.ask({"taskId": task, "requestId": "queued"})
    back_up(harness, copy)
    restore(harness, copy, held=1)
    published = len(harness.broker.published)
    beside(harness, "resume", "queued", "--discard")
    harness.until(lambda: [row["state"] for row in harness.rows(tables.starts)] == ["cancelled"])
    harness.site.end(task)
    turns(harness)
    assert harness.site.posts == []
    assert len(harness.broker.published) == published


@pytest.mark.parametrize("discard", [False, True])
def test_without_a_daemon_it_holds_after_the_next_start(harness: Harness, copy: Path, discard: bool) -> None:
    tasks = six_wait(harness)
    back_up(harness, copy)
    harness.crash()
    assert call("restore", copy, "--journal", harness.path).exit_code == 0
    done = call("resume", "erp-0", *(["--discard"] if discard else []), "--journal", harness.path)
    assert done.exit_code == 0
    assert "when the daemon runs; 5 are held still" in done.stdout
    harness.site.down = False
    harness.start()
    harness.replied()
    turns(harness)
    assert harness.site.posts == ([] if discard else [tasks[0]])
    assert len(harness.replies()) == 1


def test_a_kill_around_the_resuming_turn_changes_nothing(harness: Harness, copy: Path) -> None:
    tasks = six_wait(harness)
    back_up(harness, copy)
    restore(harness, copy, held=6)
    harness.site.down = False
    harness.journal.fail("after")
    beside(harness, "resume", "--all")
    harness.replied(6)
    assert sorted(harness.site.posts) == sorted(tasks)


def test_a_caller_who_waits_gets_the_reply_although_the_journal_was_read_anew(
    harness: Harness, copy: Path
) -> None:
    tasks = six_wait(harness)
    back_up(harness, copy)
    restore(harness, copy, held=6)
    answers = harness.call({"taskId": tasks[5], "requestId": "rest"})
    harness.until(lambda: len(harness.open_rows()) == 7)
    beside(harness, "resume", "erp-0")
    harness.site.down = False
    harness.until(lambda: answers)
    assert json.loads(answers[0])["requestId"] == "rest"


def test_a_copy_put_there_by_hand_is_held_as_well(
    harness: Harness, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = six_wait(harness)
    back_up(harness, copy)
    harness.site.down = False
    harness.replied(6)
    harness.crash()
    for suffix in ("-wal", "-shm"):
        Path(f"{harness.path}{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, harness.path)
    harness.start()
    turns(harness)
    assert harness.site.posts == tasks
    assert len(held(harness)) == 6
    assert "6 requests are held since a backup was restored" in caplog.text
    harness.restart()
    turns(harness)
    assert harness.site.posts == tasks
    # From now on it is the journal itself: what comes new is not held at the next start.
    harness.site.down = True
    harness.send({"taskId": tasks[0], "requestId": "new"})
    harness.until(lambda: len(harness.open_rows()) == 7)
    harness.restart()
    harness.site.down = False
    assert harness.replied(7)[-1]["requestId"] == "new"


def test_what_is_held_is_neither_resent_nor_retried_nor_counted_as_dead_letter(
    harness: Harness, copy: Path, tmp_path: Path
) -> None:
    harness.ask({"taskId": "abc", "requestId": "erp-1"})
    harness.ask({"taskId": harness.site.add("Sales"), "requestId": "erp-2"})
    back_up(harness, copy)
    restore(harness, copy, held=2)
    for arguments, complaint in (
        (("resend", "--all"), "no message is a dead letter"),
        (("resend", "erp-1"), "request erp-1 is held: butler-mqtt requests resume erp-1"),
        (("discard", "erp-1"), "request erp-1 is held"),
        (("--quarantined",), "no request in"),
    ):
        done = call(*arguments, "--journal", harness.path)
        assert done.exit_code == 1
        assert complaint in done.stderr
    with pytest.raises(Declined, match="request erp-2 is held"):
        retried(harness.path, "erp-2")
    backlog = StatusReader(harness.path).backlog()
    assert (backlog.open_requests, backlog.outbox, backlog.dead_letters) == (0, 0, 0)
    assert "; held" in call("--journal", harness.path).stdout
    (first, second) = lines(call("export", "--journal", harness.path))
    assert first["held"]
    assert second["held"]


def test_check_warns_of_held_requests_and_of_a_copy_put_there_by_hand(harness: Harness, copy: Path) -> None:
    six_wait(harness)
    assert list(machine.held(harness.path)) == []
    back_up(harness, copy)
    (finding,) = machine.held(copy)
    assert "is a backup that was copied there by hand" in finding.text
    harness.crash()
    assert call("restore", copy, "--journal", harness.path).exit_code == 0
    (finding,) = machine.held(harness.path)
    assert (finding.state, finding.text) == (
        "warning",
        "6 requests are held since a backup was restored: nothing of that is started",
    )
    harness.start()


def test_the_status_says_how_many_are_held() -> None:
    line = service_status.compose((), None, None, 2, "sense:4242", None, 6)
    assert line == "ready, 2 open requests, 6 held until butler-mqtt requests resume"


# ---- the file


def test_what_was_there_is_kept_whole_beside_it(harness: Harness, copy: Path) -> None:
    harness.ask({"taskId": "abc", "requestId": "before"})
    back_up(harness, copy)
    harness.ask({"taskId": "abc", "requestId": "after"})
    place(harness.path).write_text("{}")
    harness.crash()
    assert call("restore", copy, "--journal", harness.path).exit_code == 0
    (aside,) = harness.folder.glob("journal.sqlite.before-restore-*")
    names = [one["requestId"] for one in lines(call("export", "--journal", aside))]
    assert names == ["before", "after"]
    assert [one["requestId"] for one in lines(call("export", "--journal", harness.path))] == ["before"]
    assert harness.path.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in harness.folder.iterdir()) == [
        "journal.sqlite",
        aside.name,
        "journal.sqlite.lock",
    ]
    harness.start()


def killed(journal: Path, copy: Path, number: int) -> bool:
    """Restore in a process that ends, as by a kill, at the file operation with that number."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = number

    def at(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        watched = event in {"open", "os.remove", "os.rename", "os.link", "sqlite3.connect"}
        if watched and str(journal.parent) in str(arguments[0]):
            left -= 1
            if left < 0:
                os._exit(9)

    try:
        sys.addaudithook(at)
        put_in_place(journal, copy, give_as_root())
    finally:
        os._exit(0)


def test_a_kill_at_any_file_operation_leaves_the_old_journal_or_the_new(
    harness: Harness, copy: Path, tmp_path: Path
) -> None:
    harness.ask({"taskId": "abc", "requestId": "before"})
    back_up(harness, copy)
    harness.ask({"taskId": "abc", "requestId": "after"})
    found = set()
    for number in count():
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        # As a kill of the daemon leaves it: the newest is in the log only.
        for suffix in ("", "-wal"):
            shutil.copy(f"{harness.path}{suffix}", folder / f"journal.sqlite{suffix}")
        journal = folder / "journal.sqlite"
        ended = not killed(journal, copy, number)
        with closing(sqlite3.connect(journal)) as connection:
            names = [row[0] for row in connection.execute("SELECT request_id FROM requests ORDER BY id")]
            held_ones = connection.execute("SELECT count(*) FROM notes WHERE kind = 'held'").fetchone()[0]
        assert (names, held_ones) in [(["before", "after"], 0), (["before"], 1)], number
        found.add((ended, len(names)))
        # It can be repeated.
        assert call("restore", copy, "--journal", journal).exit_code == 0
        if ended:
            break
    assert found == {(False, 2), (False, 1), (True, 1)}


def test_a_journal_behind_a_link_is_replaced_where_it_is(
    harness: Harness, copy: Path, tmp_path: Path
) -> None:
    harness.ask({"taskId": "abc", "requestId": "before"})
    back_up(harness, copy)
    harness.crash()
    elsewhere = tmp_path / "disk" / "real.sqlite"
    elsewhere.parent.mkdir()
    harness.path.rename(elsewhere)
    harness.path.symlink_to(elsewhere)
    assert call("restore", copy, "--journal", harness.path).exit_code == 0
    assert harness.path.is_symlink()
    assert held(harness) == ["before"]
    harness.start()


def test_a_journal_that_is_gone_or_damaged_is_replaced(harness: Harness, copy: Path) -> None:
    harness.ask({"taskId": "abc", "requestId": "before"})
    back_up(harness, copy)
    harness.crash()
    harness.path.write_bytes(b"no database" * 1000)
    Path(f"{harness.path}-wal").write_bytes(b"old log" * 1000)
    assert call("restore", copy, "--journal", harness.path).exit_code == 0
    (aside,) = harness.folder.glob("journal.sqlite.before-restore-*")
    assert aside.read_bytes() == b"no database" * 1000
    harness.path.unlink()
    Path(f"{harness.path}-wal").write_bytes(b"old log" * 1000)
    assert call("restore", copy, "--journal", harness.path).exit_code == 0
    assert len(lines(call("export", "--journal", harness.path))) == 1
    harness.start()


def test_what_is_restored_is_given_to_the_owner_of_the_folder(harness: Harness, copy: Path) -> None:
    """Whoever may give files away, which only root may: here it is written down for whom and which."""
    harness.ask({"taskId": "abc", "requestId": "before"})
    back_up(harness, copy)
    harness.crash()
    for file in (harness.path, Path(f"{harness.path}.lock")):
        file.unlink()
    given: dict[int, tuple[int, int]] = {}

    def write_down(file: Path, user: int, group: int) -> None:
        given[file.stat().st_ino] = (user, group)

    put_in_place(harness.path, copy, write_down)
    service = harness.folder.stat()
    made = [file.stat().st_ino for file in harness.folder.iterdir()]
    assert given == dict.fromkeys(made, (service.st_uid, service.st_gid))
    assert (give_as_root() is os.chown) == (os.geteuid() == 0)
    harness.start()


def test_a_running_daemon_keeps_its_journal(harness: Harness, copy: Path) -> None:
    back_up(harness, copy)
    done = call("restore", copy, "--journal", harness.path)
    assert done.exit_code == 1
    assert "is in use by a running daemon: stop it first" in done.stderr
    harness.ask({"taskId": "abc"})


def damaged(copy: Path) -> None:
    content = bytearray(copy.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    copy.write_bytes(content)


def changed(*statements: str) -> Callable[[Path], None]:
    def change(copy: Path) -> None:
        with closing(sqlite3.connect(copy)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return change


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda copy: copy.unlink(), "there is no file"),
        (lambda copy: copy.write_bytes(b""), "is not a journal of butler-mqtt"),
        (lambda copy: copy.write_bytes(b"text" * 4096), "file is not a database"),
        (lambda copy: copy.write_bytes(copy.read_bytes()[:9000]), "cannot be used|is damaged"),
        (damaged, "cannot be used|is damaged"),
        (changed("UPDATE alembic_version SET version_num = '9999'"), "written by a newer butler-mqtt"),
        (changed("UPDATE alembic_version SET version_num = 'abc'"), "is not a journal of butler-mqtt"),
        (changed("DELETE FROM alembic_version"), "is not a journal of butler-mqtt"),
        (changed("CREATE TABLE theirs (id)"), "missing or not its own: theirs"),
        (changed("DROP INDEX requests_one_holder"), "missing or not its own: requests_one_holder"),
        (changed("ALTER TABLE outbox ADD COLUMN more"), "missing or not its own: outbox"),
        (
            changed("CREATE TRIGGER evil AFTER INSERT ON notes BEGIN DELETE FROM requests; END"),
            "it also has evil",
        ),
        (
            changed(
                "INSERT INTO starts (id, request, task_id, task_name, kinds, state, adopted, changed_at)"
                " VALUES (9, 9, '', '', '', 'x', 0, 0)"
            ),
            "rows are missing",
        ),
    ],
)
def test_what_is_no_whole_journal_is_refused_and_the_old_one_stays(
    harness: Harness, copy: Path, spoil: Callable[[Path], object], complaint: str
) -> None:
    harness.ask({"taskId": "abc", "requestId": "before"})
    back_up(harness, copy)
    harness.crash()
    spoil(copy)
    before = harness.path.read_bytes()
    done = call("restore", copy, "--journal", harness.path)
    assert done.exit_code == 1
    assert any(part in done.stderr for part in complaint.split("|")), done.stderr
    assert harness.path.read_bytes() == before
    assert not list(harness.folder.glob("*restor*"))
    harness.start()


def test_the_journal_is_no_backup_of_itself(harness: Harness) -> None:
    harness.crash()
    done = call("restore", harness.path, "--journal", harness.path)
    assert (done.exit_code, "is the journal itself" in done.stderr) == (1, True)
    harness.start()


def test_an_older_copy_is_brought_up(harness: Harness, tmp_path: Path) -> None:
    older = tmp_path / "older.sqlite"
    engine = writing_engine(older)
    with engine.connect() as connection:
        upgrade(connection, "0001")
    engine.dispose()
    with closing(sqlite3.connect(older)) as connection_:
        connection_.execute(
            "INSERT INTO requests (id, request_id, holds_id, document, door, state, received_at)"
            " VALUES (1, 'old', 1, '{}', 'mqtt', 'received', 1)"
        )
        connection_.commit()
    harness.crash()
    done = call("restore", older, "--journal", harness.path)
    assert f"brought from format 0001 to {FORMAT}" in done.stdout
    assert held(harness) == ["old"]
    harness.start()
    turns(harness)
    assert harness.replies() == []


def test_resuming_what_is_not_held_ends_with_1_and_a_sentence(harness: Harness, copy: Path) -> None:
    six_wait(harness)
    for arguments in (("erp-0",), ("--all",), ("--all", "--discard")):
        done = call("resume", *arguments, "--journal", harness.path)
        assert done.exit_code == 1
        assert "held in" in done.stderr
    back_up(harness, copy)
    restore(harness, copy, held=6)
    done = call("resume", "erp-0", "erp-9", "--journal", harness.path)
    assert done.exit_code == 1
    assert "no request erp-9 is held" in done.stderr
    assert len(held(harness)) == 6


@pytest.mark.parametrize("arguments", [(), ("erp-1", "--all")])
def test_resuming_says_which_or_all(harness: Harness, arguments: tuple[str, ...]) -> None:
    assert call("resume", *arguments, "--journal", harness.path).exit_code == 2


def test_a_backup_of_a_journal_with_held_requests_holds_them_again(harness: Harness, copy: Path) -> None:
    six_wait(harness)
    back_up(harness, copy)
    restore(harness, copy, held=6)
    second = copy.with_name("second.sqlite")
    back_up(harness, second)
    restore(harness, second, held=6)

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

from butler_mqtt.checks import machine
from butler_mqtt.cli.requests_choice import Declined
from butler_mqtt.cli.requests_retry import FAILED, retried
from butler_mqtt.clock import now_ms
from butler_mqtt.daemon import status_line
from butler_mqtt.journal import tables
from butler_mqtt.journal.request_history import History
from butler_mqtt.journal.restore import restore as put_in_place
from butler_mqtt.journal.sqlite import FORMAT, writing_engine
from butler_mqtt.journal.upgrade import upgrade
from butler_mqtt.outbox import dead_letters
from butler_mqtt.outbox.dead_letters import place
from butler_mqtt.settings import Mqtt
from tests.integration.requests.conftest import call, delivered, lines
from tests.pipeline.harness import Crash, House, killed_after_effect


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "LOOK_SECONDS", 0.0)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy.sqlite"


def back_up(house: House, copy: Path) -> None:
    assert call("backup", copy, "--journal", house.path).exit_code == 0


def restore(house: House, copy: Path, *, held: int) -> None:
    """End the daemon, restore, begin it anew."""
    house.crash()
    done = call("restore", copy, "--journal", house.path)
    assert done.exit_code == 0, done.output
    assert f"requests held: {held}\n" in done.stdout
    house.start()


def beside(house: House, *arguments: str) -> Any:
    """Run the command while the house turns."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(call(*arguments, "--journal", house.path)))
    thread.start()
    house.until(lambda: not thread.is_alive(), 20)
    thread.join()
    assert done[0].exit_code == 0, done[0].output
    return done[0]


def held(house: House) -> list[str]:
    done = call("--held", "--json", "--journal", house.path)
    return [one["requestId"] for one in reversed(lines(done))] if done.exit_code == 0 else []


def turns(house: House) -> None:
    """Let the daemon do whatever it would."""
    for _ in range(30):
        house.step()


def six_wait(house: House) -> list[str]:
    """Have six requests wait, of each kind there is, and one be answered; give the tasks."""
    house.site.down = True
    tasks = [house.site.add(f"Task {number}") for number in range(6)]
    for number, task in enumerate(tasks):
        house.send({"taskId": task, "requestId": f"erp-{number}"})
    house.until(lambda: len(house.open_rows()) == 6)
    return tasks


def test_what_waited_in_a_backup_starts_only_when_resumed(house: House, copy: Path) -> None:
    tasks = six_wait(house)
    back_up(house, copy)
    house.site.down = False
    house.site.lasting = False
    house.replied(6)
    house.until(lambda: delivered(house))
    restore(house, copy, held=6)
    turns(house)
    assert house.site.posts == tasks
    assert len(house.replies()) == 6
    assert held(house) == [f"erp-{number}" for number in range(6)]
    done = beside(house, "resume", "erp-3")
    assert done.stdout == "1 requests: go on now; 5 are held still\n"
    house.replied(7)
    assert house.site.posts == [*tasks, tasks[3]]
    assert house.replies()[-1]["requestId"] == "erp-3"
    beside(house, "resume", "--all")
    house.replied(12)
    assert sorted(house.site.posts) == sorted([*tasks, *tasks])
    assert held(house) == []


def test_a_new_request_is_served_while_others_are_held(house: House, copy: Path) -> None:
    tasks = six_wait(house)
    back_up(house, copy)
    restore(house, copy, held=6)
    house.site.down = False
    reply = house.ask({"taskId": tasks[0], "requestId": "new"})
    assert reply["totalTasksStarted"] == 1
    assert house.site.posts == [tasks[0]]
    assert house.pipeline.held_requests == 6
    assert house.pipeline.open_requests == 0


def test_a_held_request_that_comes_again_gets_its_one_reply_when_resumed(house: House, copy: Path) -> None:
    tasks = six_wait(house)
    back_up(house, copy)
    restore(house, copy, held=6)
    house.site.down = False
    house.send({"taskId": tasks[0], "requestId": "erp-0"})
    turns(house)
    assert house.replies() == []
    beside(house, "resume", "erp-0")
    replies = house.replied(2)
    assert [reply["requestId"] for reply in replies] == ["erp-0", "erp-0"]
    assert house.site.posts == [tasks[0]]


def test_deadlines_of_held_requests_are_judged_when_they_go_on(house: House, copy: Path) -> None:
    house.site.down = True
    house.send({"taskId": house.site.add("Sales"), "requestId": "erp-1", "expiresAt": "2099-01-01T00:00:00Z"})
    house.until(house.open_rows)
    back_up(house, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE requests SET expires_at = ?", (now_ms() - 1000,))
        connection.commit()
    restore(house, copy, held=1)
    house.site.down = False
    turns(house)
    assert house.replies() == []
    beside(house, "resume", "erp-1")
    assert house.replied()[0]["code"] == "expired"
    assert house.site.posts == []


def test_a_queued_start_and_a_followed_execution_are_held_together_with_their_events(
    house: House, copy: Path
) -> None:
    task = house.site.add("Sales")
    house.ask({"taskId": task, "requestId": "first"})
    house.ask({"taskId": task, "requestId": "queued"})
    house.until(lambda: delivered(house))
    back_up(house, copy)
    restore(house, copy, held=2)
    house.site.end(task)
    before = len(house.broker.events)
    turns(house)
    assert house.site.posts == [task]
    assert len(house.broker.events) == before
    beside(house, "resume", "first")
    house.until(lambda: house.rows(tables.runs)[0]["state"] == "ended")
    turns(house)
    assert house.site.posts == [task]
    beside(house, "resume", "queued")
    house.until(lambda: house.site.posts == [task, task])


def test_requests_that_share_an_execution_go_on_together(house: House, copy: Path) -> None:
    task = house.site.add("Sales")
    house.site.begin(task)
    house.ask({"taskId": task, "requestId": "one"})
    house.ask({"taskId": task, "requestId": "two"})
    house.until(lambda: len(house.rows(tables.starts)) == 2)
    house.site.end(task)
    house.until(lambda: house.site.posts == [task])
    house.until(lambda: {row["state"] for row in house.rows(tables.starts)} == {"running"})
    back_up(house, copy)
    restore(house, copy, held=2)
    done = beside(house, "resume", "one")
    assert done.stdout == (
        "2 requests, 1 of them because they share an execution: go on now; 0 are held still\n"
    )
    house.site.end(task)
    house.until(lambda: {row["state"] for row in house.rows(tables.starts)} == {"succeeded"})


def test_a_start_in_doubt_in_the_backup_is_never_asked_of_qlik_again(house: House, copy: Path) -> None:
    task = house.site.add("Sales")
    house.site.script.append(killed_after_effect)
    house.send({"taskId": task, "requestId": "erp-1"})
    with pytest.raises(Crash):
        house.replied()
    back_up(house, copy)
    restore(house, copy, held=1)
    # The task can be asked for by others: no run of it is open.
    assert house.ask({"taskId": task, "requestId": "new"})["tasksQueued"][0]["reason"] == "running"
    posts = list(house.site.posts)
    beside(house, "resume", "erp-1")
    reply = house.replied(2)[-1]
    assert reply["tasksFailed"][0]["status"] == "unknown"
    assert "a backup was restored" in reply["tasksFailed"][0]["details"]
    turns(house)
    assert house.site.posts == posts


def test_replies_that_were_on_their_way_are_published_only_when_resumed(house: House, copy: Path) -> None:
    house.ask({"taskId": "abc", "requestId": "erp-1"})
    back_up(house, copy)
    restore(house, copy, held=1)
    turns(house)
    assert len(house.replies()) == 1
    (row,) = house.rows(tables.outbox)
    assert row["reason"] == "a backup was restored: it may have been published already"
    beside(house, "resume", "erp-1")
    assert len(house.replied(2)) == 2
    house.until(lambda: delivered(house))


def test_discarding_cancels_what_has_not_begun_and_tells_the_senders(house: House, copy: Path) -> None:
    six_wait(house)
    back_up(house, copy)
    restore(house, copy, held=6)
    house.site.down = False
    done = beside(house, "resume", "--all", "--discard")
    assert done.stdout == "6 requests: discarded, what has not begun is cancelled now; 0 are held still\n"
    replies = house.replied(6)
    assert {reply["code"] for reply in replies} == {"cancelled"}
    assert "what was started after that backup was made is not known here" in replies[0]["details"]
    turns(house)
    assert house.site.posts == []
    story = call("erp-0", "--journal", house.path).stdout
    assert "an operator discarded it" in story
    assert "held until butler-mqtt requests resume" in story


def test_discarding_a_queued_start_cancels_it_and_drops_old_messages(house: House, copy: Path) -> None:
    task = house.site.add("Sales")
    house.site.begin(task)
    house.ask({"taskId": task, "requestId": "queued"})
    back_up(house, copy)
    restore(house, copy, held=1)
    published = len(house.broker.published)
    beside(house, "resume", "queued", "--discard")
    house.until(lambda: [row["state"] for row in house.rows(tables.starts)] == ["cancelled"])
    house.site.end(task)
    turns(house)
    assert house.site.posts == []
    assert len(house.broker.published) == published


@pytest.mark.parametrize("discard", [False, True])
def test_without_a_daemon_it_holds_after_the_next_start(house: House, copy: Path, discard: bool) -> None:
    tasks = six_wait(house)
    back_up(house, copy)
    house.crash()
    assert call("restore", copy, "--journal", house.path).exit_code == 0
    done = call("resume", "erp-0", *(["--discard"] if discard else []), "--journal", house.path)
    assert done.exit_code == 0
    assert "when the daemon runs; 5 are held still" in done.stdout
    house.site.down = False
    house.start()
    house.replied()
    turns(house)
    assert house.site.posts == ([] if discard else [tasks[0]])
    assert len(house.replies()) == 1


def test_a_kill_around_the_resuming_turn_changes_nothing(house: House, copy: Path) -> None:
    tasks = six_wait(house)
    back_up(house, copy)
    restore(house, copy, held=6)
    house.site.down = False
    house.journal.fail("after")
    beside(house, "resume", "--all")
    house.replied(6)
    assert sorted(house.site.posts) == sorted(tasks)


def test_a_caller_who_waits_gets_the_reply_although_the_journal_was_read_anew(
    house: House, copy: Path
) -> None:
    tasks = six_wait(house)
    back_up(house, copy)
    restore(house, copy, held=6)
    answers = house.call({"taskId": tasks[5], "requestId": "rest"})
    house.until(lambda: len(house.open_rows()) == 7)
    beside(house, "resume", "erp-0")
    house.site.down = False
    house.until(lambda: answers)
    assert json.loads(answers[0])["requestId"] == "rest"


def test_a_copy_put_there_by_hand_is_held_as_well(
    house: House, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = six_wait(house)
    back_up(house, copy)
    house.site.down = False
    house.replied(6)
    house.crash()
    for suffix in ("-wal", "-shm"):
        Path(f"{house.path}{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, house.path)
    house.start()
    turns(house)
    assert house.site.posts == tasks
    assert len(held(house)) == 6
    assert "6 requests are held since a backup was restored" in caplog.text
    house.restart()
    turns(house)
    assert house.site.posts == tasks
    # From now on it is the journal itself: what comes new is not held at the next start.
    house.site.down = True
    house.send({"taskId": tasks[0], "requestId": "new"})
    house.until(lambda: len(house.open_rows()) == 7)
    house.restart()
    house.site.down = False
    assert house.replied(7)[-1]["requestId"] == "new"


def test_what_is_held_is_neither_resent_nor_retried_nor_counted_as_set_aside(
    house: House, copy: Path, tmp_path: Path
) -> None:
    house.ask({"taskId": "abc", "requestId": "erp-1"})
    house.ask({"taskId": house.site.add("Sales"), "requestId": "erp-2"})
    back_up(house, copy)
    restore(house, copy, held=2)
    for arguments, complaint in (
        (("resend", "--all"), "no message is set aside"),
        (("resend", "erp-1"), "request erp-1 is held: butler-mqtt requests resume erp-1"),
        (("discard", "erp-1"), "request erp-1 is held"),
        (("--quarantined",), "no such request"),
    ):
        done = call(*arguments, "--journal", house.path)
        assert done.exit_code == 1
        assert complaint in done.stderr
    with pytest.raises(Declined, match="request erp-2 is held"):
        retried(Mqtt(), house.path, "erp-2", None, FAILED)
    backlog = History(house.path).backlog()
    assert (backlog.open_requests, backlog.outbox, backlog.quarantined) == (0, 0, 0)
    assert "; held" in call("--journal", house.path).stdout
    (first, second) = lines(call("export", "--journal", house.path))
    assert first["held"]
    assert second["held"]


def test_check_warns_of_held_requests_and_of_a_copy_put_there_by_hand(house: House, copy: Path) -> None:
    six_wait(house)
    assert list(machine.held(house.path)) == []
    back_up(house, copy)
    (finding,) = machine.held(copy)
    assert "is a backup put there by hand" in finding.text
    house.crash()
    assert call("restore", copy, "--journal", house.path).exit_code == 0
    (finding,) = machine.held(house.path)
    assert (finding.state, finding.text) == (
        "warning",
        "6 requests are held since a backup was restored: nothing of them is started",
    )
    house.start()


def test_the_status_says_how_many_are_held() -> None:
    line = status_line.compose((), None, None, 2, "sense:4242", None, 6)
    assert line == "ready, 2 open requests, 6 held until butler-mqtt requests resume"


# ---- the file


def test_what_was_there_is_kept_whole_beside_it(house: House, copy: Path) -> None:
    house.ask({"taskId": "abc", "requestId": "before"})
    back_up(house, copy)
    house.ask({"taskId": "abc", "requestId": "after"})
    place(house.path).write_text("{}")
    house.crash()
    assert call("restore", copy, "--journal", house.path).exit_code == 0
    (aside,) = house.folder.glob("journal.sqlite.before-restore-*")
    names = [one["requestId"] for one in lines(call("export", "--journal", aside))]
    assert names == ["before", "after"]
    assert [one["requestId"] for one in lines(call("export", "--journal", house.path))] == ["before"]
    assert house.path.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in house.folder.iterdir()) == [
        "journal.sqlite",
        aside.name,
        "journal.sqlite.lock",
    ]
    house.start()


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
        put_in_place(journal, copy)
    finally:
        os._exit(0)


def test_a_kill_at_any_file_operation_leaves_the_old_journal_or_the_new(
    house: House, copy: Path, tmp_path: Path
) -> None:
    house.ask({"taskId": "abc", "requestId": "before"})
    back_up(house, copy)
    house.ask({"taskId": "abc", "requestId": "after"})
    found = set()
    for number in count():
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        # As a kill of the daemon leaves it: the newest is in the log only.
        for suffix in ("", "-wal"):
            shutil.copy(f"{house.path}{suffix}", folder / f"journal.sqlite{suffix}")
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


def test_a_journal_behind_a_link_is_replaced_where_it_is(house: House, copy: Path, tmp_path: Path) -> None:
    house.ask({"taskId": "abc", "requestId": "before"})
    back_up(house, copy)
    house.crash()
    elsewhere = tmp_path / "disk" / "real.sqlite"
    elsewhere.parent.mkdir()
    house.path.rename(elsewhere)
    house.path.symlink_to(elsewhere)
    assert call("restore", copy, "--journal", house.path).exit_code == 0
    assert house.path.is_symlink()
    assert held(house) == ["before"]
    house.start()


def test_a_journal_that_is_gone_or_damaged_is_replaced(house: House, copy: Path) -> None:
    house.ask({"taskId": "abc", "requestId": "before"})
    back_up(house, copy)
    house.crash()
    house.path.write_bytes(b"no database" * 1000)
    Path(f"{house.path}-wal").write_bytes(b"old log" * 1000)
    assert call("restore", copy, "--journal", house.path).exit_code == 0
    (aside,) = house.folder.glob("journal.sqlite.before-restore-*")
    assert aside.read_bytes() == b"no database" * 1000
    house.path.unlink()
    Path(f"{house.path}-wal").write_bytes(b"old log" * 1000)
    assert call("restore", copy, "--journal", house.path).exit_code == 0
    assert len(lines(call("export", "--journal", house.path))) == 1
    house.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_restores_belongs_to_the_service(house: House, copy: Path) -> None:
    house.ask({"taskId": "abc", "requestId": "before"})
    back_up(house, copy)
    house.crash()
    for file in (house.path, Path(f"{house.path}.lock")):
        file.unlink()
    os.chown(house.folder, 12345, 12346)
    assert call("restore", copy, "--journal", house.path).exit_code == 0
    owners = {(file.stat().st_uid, file.stat().st_gid) for file in house.folder.iterdir()}
    assert owners == {(12345, 12346)}
    house.start()


def test_a_running_daemon_keeps_its_journal(house: House, copy: Path) -> None:
    back_up(house, copy)
    done = call("restore", copy, "--journal", house.path)
    assert done.exit_code == 1
    assert "is in use by a running daemon: stop it first" in done.stderr
    house.ask({"taskId": "abc"})


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
            changed("INSERT INTO starts SELECT 9, 9, '', '', 0, '', 'x', 9, '', '', 0, '', 0, '', '', 0"),
            "rows are missing",
        ),
    ],
)
def test_what_is_no_whole_journal_is_refused_and_the_old_one_stays(
    house: House, copy: Path, spoil: Callable[[Path], object], complaint: str
) -> None:
    house.ask({"taskId": "abc", "requestId": "before"})
    back_up(house, copy)
    house.crash()
    spoil(copy)
    before = house.path.read_bytes()
    done = call("restore", copy, "--journal", house.path)
    assert done.exit_code == 1
    assert any(part in done.stderr for part in complaint.split("|")), done.stderr
    assert house.path.read_bytes() == before
    assert not list(house.folder.glob("*restor*"))
    house.start()


def test_the_journal_is_no_backup_of_itself(house: House) -> None:
    house.crash()
    done = call("restore", house.path, "--journal", house.path)
    assert (done.exit_code, "is the journal itself" in done.stderr) == (1, True)
    house.start()


def test_an_older_copy_is_brought_up(house: House, tmp_path: Path) -> None:
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
    house.crash()
    done = call("restore", older, "--journal", house.path)
    assert f"brought from format 0001 to {FORMAT}" in done.stdout
    assert held(house) == ["old"]
    house.start()
    turns(house)
    assert house.replies() == []


def test_resuming_what_is_not_held_ends_with_1_and_a_sentence(house: House, copy: Path) -> None:
    six_wait(house)
    for arguments in (("erp-0",), ("--all",), ("--all", "--discard")):
        done = call("resume", *arguments, "--journal", house.path)
        assert done.exit_code == 1
        assert "held in" in done.stderr
    back_up(house, copy)
    restore(house, copy, held=6)
    done = call("resume", "erp-0", "erp-9", "--journal", house.path)
    assert done.exit_code == 1
    assert "no request erp-9 is held" in done.stderr
    assert len(held(house)) == 6


@pytest.mark.parametrize("arguments", [(), ("erp-1", "--all")])
def test_resuming_says_which_or_all(house: House, arguments: tuple[str, ...]) -> None:
    assert call("resume", *arguments, "--journal", house.path).exit_code == 2


def test_a_backup_of_a_journal_with_held_requests_holds_them_again(house: House, copy: Path) -> None:
    six_wait(house)
    back_up(house, copy)
    restore(house, copy, held=6)
    second = copy.with_name("second.sqlite")
    back_up(house, second)
    restore(house, second, held=6)

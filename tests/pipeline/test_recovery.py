"""Killed at any instant: nothing acknowledged is lost and nothing is started twice (G1, G4)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest

from butler_mqtt.clock import now_ms, seconds_since
from butler_mqtt.domain.model import Task, TaskType
from butler_mqtt.errors import JournalError, QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import Crash, Site, cut_after_effect, killed_after_effect

STEPS: list[list[str]] = [
    [],
    ["turn"],
    ["turn", "find"],
    ["turn", "find", "turn"],
    ["turn", "find", "turn", "post"],
    ["turn", "find", "turn", "post", "turn"],
]


def killed(harness: Harness, act: Callable[[], object]) -> None:
    with pytest.raises(Crash):
        act()
    harness.restart()


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: "-".join(steps) or "nothing")
def test_a_daemon_killed_after_any_step_starts_the_task_once_and_answers(
    harness: Harness, steps: list[str]
) -> None:
    harness.site.lasting = False
    task_id = harness.site.add("Sales")
    message = harness.send({"taskId": task_id})
    for step in steps:
        getattr(harness, step)()
    acknowledged = list(harness.broker.acknowledged)
    harness.restart()
    if not acknowledged:
        harness.send({"taskId": task_id}, packet_id=message.packet_id, dup=True)
    harness.until(harness.replies)
    harness.quiet()
    assert harness.site.posts == [task_id]
    assert {(reply["status"], reply["totalTasksStarted"]) for reply in harness.replies()} == {("ok", 1)}
    assert len({one.payload for one in harness.broker.published if one.delivery is not None}) == 1
    assert len(harness.rows(tables.deliveries)) == 1


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_daemon_killed_around_any_commit_starts_the_task_once_and_answers(
    harness: Harness, where: str, turns: int
) -> None:
    harness.site.lasting = False
    task_id = harness.site.add("Sales")
    harness.turn()
    message = harness.send({"taskId": task_id})
    for _ in range(turns):
        harness.step()
    harness.journal.fail(where, Crash())
    killed(harness, harness.turn)
    if not harness.broker.acknowledged:
        harness.send({"taskId": task_id}, packet_id=message.packet_id, dup=True)
    harness.until(harness.replies)
    harness.quiet()
    assert harness.site.posts == [task_id]
    assert len(harness.rows(tables.deliveries)) == 1


def test_a_daemon_killed_between_the_effect_and_the_answer_adopts(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.site.script.append(killed_after_effect)
    harness.send({"taskId": task_id})
    harness.turn()
    harness.find()
    harness.turn()
    killed(harness, harness.post)
    reply = harness.replied(1)[0]
    assert reply["tasksStarted"][0]["adopted"] is True
    assert harness.site.posts == [task_id]


def intended(harness: Harness) -> str:
    """Ask for a task and go on until its intent is on disk and nothing is posted; give its id."""
    task_id = harness.site.add("Sales")
    harness.send({"taskId": task_id})
    harness.turn()
    harness.find()
    harness.turn()
    return task_id


def test_a_daemon_killed_between_intent_and_post_posts_after_two_looks(harness: Harness) -> None:
    task_id = intended(harness)
    harness.restart()
    snapshots = harness.site.snapshots
    assert harness.replied(1)[0]["totalTasksStarted"] == 1
    assert harness.site.snapshots >= snapshots + 2
    assert harness.site.posts == [task_id]


def test_what_is_posted_again_after_a_restart_goes_with_what_the_server_shows(harness: Harness) -> None:
    """The start of a user synchronisation is refused where its newest execution is not known."""
    posted: list[Task] = []
    harness.site.on_start = posted.append
    task_id = intended(harness)
    harness.restart()
    harness.replied(1)
    assert [(task.id, task.enabled, task.last_shown) for task in posted] == [(task_id, True, True)]


def test_the_two_looks_that_find_nothing_may_be_in_two_lives(harness: Harness) -> None:
    """A daemon killed every few seconds must get on, before its intents are too old to be repeated."""
    task_id = intended(harness)
    harness.restart()
    harness.until(lambda: harness.rows(tables.runs)[0]["nothing_at"])
    snapshots = harness.site.snapshots
    harness.restart()
    assert harness.replied(1)[0]["totalTasksStarted"] == 1
    assert harness.site.snapshots == snapshots + 1
    assert harness.site.posts == [task_id]
    assert harness.rows(tables.runs)[0]["nothing_at"] is None


def test_a_clock_that_is_set_between_two_lives_does_not_shorten_the_time_between_the_looks(
    harness: Harness,
) -> None:
    """By the clock, as an earlier version stored it, the first look was an hour ago."""
    intended(harness)
    harness.restart()
    harness.until(lambda: harness.rows(tables.runs)[0]["nothing_at"])
    assert 0 <= seconds_since(harness.rows(tables.runs)[0]["nothing_at"]) < 60
    harness.crash()
    connection = sqlite3.connect(harness.path)
    with connection:
        connection.execute("UPDATE runs SET nothing_at = ?", [now_ms() - 3_600_000])
    connection.close()
    harness.qlik_timings = replace(harness.qlik_timings, between_polls=60.0)
    harness.start()
    snapshots = harness.site.snapshots
    for _ in range(10):
        harness.step()
    assert (harness.site.snapshots, harness.site.posts) == (snapshots, [])


def test_a_daemon_killed_while_it_settles_goes_on_settling(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.site.script.append(cut_after_effect)
    harness.site.snapshot_errors.extend([QlikUnavailable("connection refused")] * 5)
    harness.send({"taskId": task_id})
    harness.until(lambda: harness.rows(tables.runs) and harness.rows(tables.runs)[0]["state"] == "posted")
    harness.restart()
    harness.restart()
    assert harness.replied(1)[0]["tasksStarted"][0]["adopted"] is True
    assert harness.site.posts == [task_id]


def test_a_kind_without_executions_killed_in_doubt_is_unknown_and_not_repeated(harness: Harness) -> None:
    def killed_before_effect(_site: Site, _task: Task) -> str | None:
        raise Crash

    harness.site.add("Sales", task_type=int(TaskType.DISTRIBUTE))
    harness.site.script.append(killed_before_effect)
    harness.send({"taskName": "Sales"})
    harness.turn()
    harness.find()
    harness.turn()
    killed(harness, harness.post)
    reply = harness.replied(1)[0]
    assert (reply["status"], reply["tasksFailed"][0]["status"]) == ("failed", "unknown")
    assert harness.site.posts == []


def test_replies_that_were_not_confirmed_are_published_again_after_a_restart(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.ask({"taskName": "Sales"}, correlation=b"c")
    harness.broker.confirm()
    harness.turn()
    harness.send({"tag": "none"}, correlation=b"d")
    harness.replied(2)
    harness.restart()
    harness.replied(3)
    answers = [one for one in harness.broker.published if one.delivery is not None]
    assert [one.correlation for one in answers] == [b"c", b"d", b"d"]
    assert answers[1] == answers[2]


def test_every_delivery_of_an_open_request_is_answered_after_a_restart(harness: Harness) -> None:
    harness.site.down = True
    harness.site.add("Sales")
    for number in range(3):
        harness.send({"requestId": "a", "taskName": "Sales"}, correlation=str(number).encode())
    harness.turn()
    harness.restart()
    harness.site.down = False
    harness.replied(3)
    assert len(harness.site.posts) == 1
    answers = [one for one in harness.broker.published if one.delivery is not None]
    assert [one.correlation for one in answers] == [b"0", b"1", b"2"]


def test_a_decided_request_keeps_what_was_not_found_and_denied_over_a_restart(harness: Harness) -> None:
    harness.site.add("Sales", tags=("t",))
    harness.site.add("Stock", tags=("t",), enabled=False)
    harness.send({"tag": ["t", "none"], "requestId": "a"})
    harness.turn()
    harness.find()
    harness.turn()
    harness.restart()
    reply = harness.replied(1)[0]
    assert reply["tasksNotFound"] == [{"tag": "none"}]
    assert reply["totalTasksStarted"] == 1
    assert reply["tasksFailed"][0]["code"] == "task_disabled"


def test_an_open_request_does_not_grow_younger_by_a_restart(make_harness: MakeHarness) -> None:
    harness = make_harness()
    harness.site.down = True
    harness.site.add("Sales")
    harness.send({"taskName": "Sales"}, expiry_seconds=1)
    harness.turn()
    harness.restart()
    assert harness.replied(1)[0]["code"] == "expired"


def test_a_waiting_start_waits_on_after_a_restart(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    running = harness.site.begin(task_id)
    harness.site.pass_time(60)
    reply = harness.ask({"taskName": "Sales"})
    assert reply["tasksQueued"][0]["behind"] == running
    harness.restart()
    harness.step()
    assert harness.site.posts == []
    harness.site.end(task_id)
    harness.until(lambda: harness.site.posts)
    assert harness.site.posts == [task_id]


# ---- the journal fails and the daemon lives


@pytest.mark.parametrize("where", ["before", "after", "reading"])
@pytest.mark.parametrize("turns", range(5))
def test_a_failed_transaction_changes_nothing_but_the_time(harness: Harness, where: str, turns: int) -> None:
    harness.site.lasting = False
    task_id = harness.site.add("Sales")
    harness.turn()
    harness.send({"taskId": task_id})
    harness.send({"taskId": task_id, "requestId": "a"})
    for _ in range(turns):
        harness.step()
    harness.journal.fail(where)
    harness.until(lambda: len({one.delivery for one in harness.broker.published} - {None}) == 2)
    harness.quiet()
    assert harness.site.posts == [task_id, task_id]
    assert len(harness.rows(tables.deliveries)) == 2
    assert sorted({packet_id for packet_id, _ in harness.broker.acknowledged}) == [1, 2]


def test_nothing_is_acknowledged_while_the_journal_cannot_be_written(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.turn()
    recorded: list[int] = []
    harness.broker.on_acknowledge = lambda _packet_id: recorded.append(len(harness.rows(tables.deliveries)))
    harness.send({"taskId": task_id})
    for _ in range(6):
        harness.journal.fail("before")
    harness.turn()
    assert recorded == [1]
    assert not harness.journal.faults
    assert harness.pipeline.fault is None
    assert harness.replied(1)[0]["totalTasksStarted"] == 1


def test_the_outcome_of_a_post_survives_a_full_disk(harness: Harness) -> None:
    task_id = intended(harness)
    harness.post()
    for _ in range(5):
        harness.journal.fail("before")
    reply = harness.replied(1)[0]
    assert "adopted" not in reply["tasksStarted"][0]
    assert harness.site.posts == [task_id]
    assert harness.site.snapshots == 0


def test_a_journal_that_waiting_cannot_mend_ends_the_loop(harness: Harness) -> None:
    harness.turn()
    harness.journal.fail("before", JournalError("the file is damaged", recoverable=False))
    harness.send({"tag": "t"})
    with pytest.raises(JournalError, match="damaged"):
        harness.turn()
    assert harness.broker.acknowledged == []


def test_a_disk_that_is_really_full_is_survived(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.turn()
    with harness.journal.transaction() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    for number in range(40):
        harness.send({"tag": "x" * 200, "requestId": f"r{number}", "sender": "s" * 100})
    harness.replied(40)
    assert "disk is full" in caplog.text
    assert len(harness.rows(tables.deliveries)) == 40


def test_low_disk_space_withholds_acknowledgements_and_finishes_what_is_open(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness()
    harness.site.add("Sales")
    harness.send({"taskName": "Sales"})
    harness.turn()
    harness.journal.room = False
    harness.until(harness.replies)
    harness.send({"tag": "none"})
    for _ in range(5):
        harness.step()
    assert len(harness.broker.acknowledged) == 1
    harness.journal.room = True
    harness.replied(2)
    assert len(harness.broker.acknowledged) == 2


# ---- faults of the program


def test_an_event_that_always_fails_costs_the_others_nothing(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.turn()
    harness.pipeline.emit("nonsense")  # type: ignore[arg-type]  # what no part of the program would hand in
    harness.send({"taskName": "Sales"})
    assert harness.replied(1)[0]["totalTasksStarted"] == 1


def test_an_arrival_that_cannot_even_be_refused_costs_the_others_nothing(harness: Harness) -> None:
    harness.turn()
    harness.send({"tag": "t"}, correlation=["no bytes"])
    harness.send({"tag": "u"})
    assert harness.replied(1)[0]["tasksNotFound"] == [{"tag": "u"}]
    assert [packet_id for packet_id, _ in harness.broker.acknowledged] == [2]


# ---- stopping


def test_what_is_queued_when_the_stop_cannot_wait_is_posted_after_the_restart_once(harness: Harness) -> None:
    task_id = intended(harness)
    harness.pipeline.dispatcher.post_workers.abandon()
    harness.post()
    assert harness.site.posts == []
    harness.restart()
    assert harness.replied()[0]["totalTasksStarted"] == 1
    assert harness.site.posts == [task_id]


def test_draining_starts_nothing_new_and_ends_what_is_in_hand(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_starts=1)))
    task_id = intended(harness)
    harness.send({"taskName": "Sales", "requestId": "later"})
    assert not harness.pipeline.drain(0.0)
    harness.post()
    harness.turn()
    harness.broker.confirm()
    harness.turn()
    harness.turn()
    assert harness.pipeline.drain(0.0)
    assert harness.site.posts == [task_id]
    harness.restart()
    harness.replied(2)

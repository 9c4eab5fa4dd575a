"""Killed at any instant: nothing acknowledged is lost and nothing is started twice (G1, G4)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from butler_mqtt.clock import now_ms, seconds_since
from butler_mqtt.domain.model import Task, TaskType
from butler_mqtt.errors import JournalError, QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from butler_mqtt.starting import reconciler
from tests.pipeline.conftest import MakeHouse
from tests.pipeline.harness import Crash, House, Site, cut_after_effect, killed_after_effect

STEPS: list[list[str]] = [
    [],
    ["turn"],
    ["turn", "find"],
    ["turn", "find", "turn"],
    ["turn", "find", "turn", "post"],
    ["turn", "find", "turn", "post", "turn"],
]


def killed(house: House, act: Callable[[], object]) -> None:
    with pytest.raises(Crash):
        act()
    house.restart()


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: "-".join(steps) or "nothing")
def test_a_daemon_killed_after_any_step_starts_the_task_once_and_answers(
    house: House, steps: list[str]
) -> None:
    house.site.lasting = False
    task_id = house.site.add("Sales")
    message = house.send({"taskId": task_id})
    for step in steps:
        getattr(house, step)()
    acknowledged = list(house.broker.acknowledged)
    house.restart()
    if not acknowledged:
        house.send({"taskId": task_id}, packet_id=message.packet_id, dup=True)
    house.until(house.replies)
    house.quiet()
    assert house.site.posts == [task_id]
    assert {(reply["status"], reply["totalTasksStarted"]) for reply in house.replies()} == {("ok", 1)}
    assert len({one.payload for one in house.broker.published if one.delivery is not None}) == 1
    assert len(house.rows(tables.deliveries)) == 1


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_daemon_killed_around_any_commit_starts_the_task_once_and_answers(
    house: House, where: str, turns: int
) -> None:
    house.site.lasting = False
    task_id = house.site.add("Sales")
    house.turn()
    message = house.send({"taskId": task_id})
    for _ in range(turns):
        house.step()
    house.journal.fail(where, Crash())
    killed(house, house.turn)
    if not house.broker.acknowledged:
        house.send({"taskId": task_id}, packet_id=message.packet_id, dup=True)
    house.until(house.replies)
    house.quiet()
    assert house.site.posts == [task_id]
    assert len(house.rows(tables.deliveries)) == 1


def test_a_daemon_killed_between_the_effect_and_the_answer_adopts(house: House) -> None:
    task_id = house.site.add("Sales")
    house.site.script.append(killed_after_effect)
    house.send({"taskId": task_id})
    house.turn()
    house.find()
    house.turn()
    killed(house, house.post)
    reply = house.replied(1)[0]
    assert reply["tasksStarted"][0]["adopted"] is True
    assert house.site.posts == [task_id]


def intended(house: House) -> str:
    """Ask for a task and go on until its intent is on disk and nothing is posted; give its id."""
    task_id = house.site.add("Sales")
    house.send({"taskId": task_id})
    house.turn()
    house.find()
    house.turn()
    return task_id


def test_a_daemon_killed_between_intent_and_post_posts_after_two_looks(house: House) -> None:
    task_id = intended(house)
    house.restart()
    looks = house.site.looks
    assert house.replied(1)[0]["totalTasksStarted"] == 1
    assert house.site.looks >= looks + 2
    assert house.site.posts == [task_id]


def test_the_two_looks_that_find_nothing_may_be_in_two_lives(house: House) -> None:
    """A daemon killed every few seconds must get on, before its intents are too old to be repeated."""
    task_id = intended(house)
    house.restart()
    house.until(lambda: house.rows(tables.runs)[0]["nothing_at"])
    looks = house.site.looks
    house.restart()
    assert house.replied(1)[0]["totalTasksStarted"] == 1
    assert house.site.looks == looks + 1
    assert house.site.posts == [task_id]
    assert house.rows(tables.runs)[0]["nothing_at"] is None


def test_a_clock_that_is_set_between_two_lives_does_not_shorten_the_time_between_the_looks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock, as an earlier version stored it, the first look was an hour ago."""
    intended(house)
    house.restart()
    house.until(lambda: house.rows(tables.runs)[0]["nothing_at"])
    assert 0 <= seconds_since(house.rows(tables.runs)[0]["nothing_at"]) < 60
    house.crash()
    connection = sqlite3.connect(house.path)
    with connection:
        connection.execute("UPDATE runs SET nothing_at = ?", [now_ms() - 3_600_000])
    connection.close()
    monkeypatch.setattr(reconciler, "BETWEEN_LOOKS_SECONDS", 60.0)
    house.start()
    looks = house.site.looks
    for _ in range(10):
        house.step()
    assert (house.site.looks, house.site.posts) == (looks, [])


def test_a_daemon_killed_while_it_settles_goes_on_settling(house: House) -> None:
    task_id = house.site.add("Sales")
    house.site.script.append(cut_after_effect)
    house.site.looking.extend([QlikUnavailable("connection refused")] * 5)
    house.send({"taskId": task_id})
    house.until(lambda: house.rows(tables.runs) and house.rows(tables.runs)[0]["state"] == "posted")
    house.restart()
    house.restart()
    assert house.replied(1)[0]["tasksStarted"][0]["adopted"] is True
    assert house.site.posts == [task_id]


def test_a_kind_without_executions_killed_in_doubt_is_unknown_and_not_repeated(house: House) -> None:
    def killed_before_effect(_site: Site, _task: Task) -> str | None:
        raise Crash

    house.site.add("Sales", task_type=int(TaskType.DISTRIBUTE))
    house.site.script.append(killed_before_effect)
    house.send({"taskName": "Sales"})
    house.turn()
    house.find()
    house.turn()
    killed(house, house.post)
    reply = house.replied(1)[0]
    assert (reply["status"], reply["tasksFailed"][0]["status"]) == ("failed", "unknown")
    assert house.site.posts == []


def test_replies_that_were_not_confirmed_are_published_again_after_a_restart(house: House) -> None:
    house.site.add("Sales")
    house.ask({"taskName": "Sales"}, correlation=b"c")
    house.broker.confirm()
    house.turn()
    house.send({"tag": "none"}, correlation=b"d")
    house.replied(2)
    house.restart()
    house.replied(3)
    answers = [one for one in house.broker.published if one.delivery is not None]
    assert [one.correlation for one in answers] == [b"c", b"d", b"d"]
    assert answers[1] == answers[2]


def test_every_delivery_of_an_open_request_is_answered_after_a_restart(house: House) -> None:
    house.site.down = True
    house.site.add("Sales")
    for number in range(3):
        house.send({"requestId": "a", "taskName": "Sales"}, correlation=str(number).encode())
    house.turn()
    house.restart()
    house.site.down = False
    house.replied(3)
    assert len(house.site.posts) == 1
    answers = [one for one in house.broker.published if one.delivery is not None]
    assert [one.correlation for one in answers] == [b"0", b"1", b"2"]


def test_a_decided_request_keeps_what_was_not_found_and_denied_over_a_restart(house: House) -> None:
    house.site.add("Sales", tags=("t",))
    house.site.add("Stock", tags=("t",), enabled=False)
    house.send({"tag": ["t", "none"], "requestId": "a"})
    house.turn()
    house.find()
    house.turn()
    house.restart()
    reply = house.replied(1)[0]
    assert reply["tasksNotFound"] == [{"tag": "none"}]
    assert reply["totalTasksStarted"] == 1
    assert reply["tasksFailed"][0]["code"] == "task_disabled"


def test_an_open_request_does_not_grow_younger_by_a_restart(make_house: MakeHouse) -> None:
    house = make_house()
    house.site.down = True
    house.site.add("Sales")
    house.send({"taskName": "Sales"}, expiry_seconds=1)
    house.turn()
    house.restart()
    assert house.replied(1)[0]["code"] == "expired"


def test_a_waiting_start_waits_on_after_a_restart(house: House) -> None:
    task_id = house.site.add("Sales")
    running = house.site.begin(task_id)
    house.site.pass_time(60)
    reply = house.ask({"taskName": "Sales"})
    assert reply["tasksQueued"][0]["behind"] == running
    house.restart()
    house.step()
    assert house.site.posts == []
    house.site.end(task_id)
    house.until(lambda: house.site.posts)
    assert house.site.posts == [task_id]


# ---- the journal fails and the daemon lives


@pytest.mark.parametrize("where", ["before", "after", "reading"])
@pytest.mark.parametrize("turns", range(5))
def test_a_failed_transaction_changes_nothing_but_the_time(house: House, where: str, turns: int) -> None:
    house.site.lasting = False
    task_id = house.site.add("Sales")
    house.turn()
    house.send({"taskId": task_id})
    house.send({"taskId": task_id, "requestId": "a"})
    for _ in range(turns):
        house.step()
    house.journal.fail(where)
    house.until(lambda: len({one.delivery for one in house.broker.published} - {None}) == 2)
    house.quiet()
    assert house.site.posts == [task_id, task_id]
    assert len(house.rows(tables.deliveries)) == 2
    assert sorted({packet_id for packet_id, _ in house.broker.acknowledged}) == [1, 2]


def test_nothing_is_acknowledged_while_the_journal_cannot_be_written(house: House) -> None:
    task_id = house.site.add("Sales")
    house.turn()
    recorded: list[int] = []
    house.broker.on_acknowledge = lambda _packet_id: recorded.append(len(house.rows(tables.deliveries)))
    house.send({"taskId": task_id})
    for _ in range(6):
        house.journal.fail("before")
    house.turn()
    assert recorded == [1]
    assert not house.journal.faults
    assert house.pipeline.fault is None
    assert house.replied(1)[0]["totalTasksStarted"] == 1


def test_the_outcome_of_a_post_survives_a_full_disk(house: House) -> None:
    task_id = intended(house)
    house.post()
    for _ in range(5):
        house.journal.fail("before")
    reply = house.replied(1)[0]
    assert "adopted" not in reply["tasksStarted"][0]
    assert house.site.posts == [task_id]
    assert house.site.looks == 0


def test_a_journal_that_waiting_cannot_mend_ends_the_loop(house: House) -> None:
    house.turn()
    house.journal.fail("before", JournalError("the file is damaged", mendable=False))
    house.send({"tag": "t"})
    with pytest.raises(JournalError, match="damaged"):
        house.turn()
    assert house.broker.acknowledged == []


def test_a_disk_that_is_really_full_is_survived(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.turn()
    with house.journal.transaction() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    for number in range(40):
        house.send({"tag": "x" * 200, "requestId": f"r{number}", "sender": "s" * 100})
    house.replied(40)
    assert "disk is full" in caplog.text
    assert len(house.rows(tables.deliveries)) == 40


def test_low_disk_space_withholds_acknowledgements_and_finishes_what_is_open(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    room: list[bool] = [True]
    monkeypatch.setattr(house.journal, "has_room", lambda: room[0])
    house.site.add("Sales")
    house.send({"taskName": "Sales"})
    house.turn()
    room[0] = False
    house.until(house.replies)
    house.send({"tag": "none"})
    for _ in range(5):
        house.step()
    assert len(house.broker.acknowledged) == 1
    room[0] = True
    house.replied(2)
    assert len(house.broker.acknowledged) == 2


# ---- faults of the program


def test_an_event_that_always_fails_costs_the_others_nothing(house: House) -> None:
    house.site.add("Sales")
    house.turn()
    house.pipeline.emit("nonsense")  # type: ignore[arg-type]  # what no part of the program would hand in
    house.send({"taskName": "Sales"})
    assert house.replied(1)[0]["totalTasksStarted"] == 1


def test_an_arrival_that_cannot_even_be_refused_costs_the_others_nothing(house: House) -> None:
    house.turn()
    house.send({"tag": "t"}, correlation=["no bytes"])
    house.send({"tag": "u"})
    assert house.replied(1)[0]["tasksNotFound"] == [{"tag": "u"}]
    assert [packet_id for packet_id, _ in house.broker.acknowledged] == [2]


# ---- stopping


def test_what_is_queued_when_the_stop_cannot_wait_is_posted_after_the_restart_once(house: House) -> None:
    task_id = intended(house)
    house.pipeline.starter.poster.abandon()
    house.post()
    assert house.site.posts == []
    house.restart()
    assert house.replied()[0]["totalTasksStarted"] == 1
    assert house.site.posts == [task_id]


def test_draining_starts_nothing_new_and_ends_what_is_in_hand(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(max_concurrent_starts=1)))
    task_id = intended(house)
    house.send({"taskName": "Sales", "requestId": "later"})
    assert not house.pipeline.drain(0.0)
    house.post()
    house.turn()
    house.broker.confirm()
    house.turn()
    house.turn()
    assert house.pipeline.drain(0.0)
    assert house.site.posts == [task_id]
    house.restart()
    house.replied(2)

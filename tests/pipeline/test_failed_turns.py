"""What once went wrong in the pipeline, each with the smallest way to repeat it."""

from __future__ import annotations

import time

import pytest

from butler_mqtt.domain.completions import Confirmed, Looked
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from butler_mqtt.starting import reconciler
from tests.pipeline.conftest import MakeHouse
from tests.pipeline.harness import House, cut_after_effect, cut_before_effect


def test_a_request_that_means_too_many_tasks_can_come_twice(house: House) -> None:
    body = {"requestId": "big", "tag": [f"tag {number}" for number in range(201)]}
    assert house.ask(body)["code"] == "too_many_tasks"
    assert house.ask(body)["code"] == "too_many_tasks"


def test_an_arrival_held_in_a_turn_that_failed_is_recorded_once(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(max_open_requests=1)))
    task = house.site.add("Sales")
    house.send({"taskId": house.site.add("Other")})
    house.turn()
    house.send({"taskId": task})
    house.journal.fail("before")
    house.replied(2)
    for _ in range(5):
        house.step()
    assert house.site.posts.count(task) == 1
    assert len(house.rows(tables.deliveries)) == 2


def test_a_held_arrival_is_not_lost_when_the_turn_that_takes_it_in_fails(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(max_open_requests=1)))
    task = house.site.add("Sales")
    house.send({"taskId": house.site.add("Other")})
    house.turn()
    house.send({"taskId": task})
    # The turn that answers the first request makes room; the next one takes the second in and fails.
    house.until(house.replies)
    house.journal.fail("before")
    house.until(lambda: task in house.site.posts)
    house.quiet()
    assert house.site.posts.count(task) == 1


def test_a_decision_that_was_not_committed_starts_nothing(house: House) -> None:
    house.site.lasting = False
    task = house.site.add("Sales")
    house.send({"taskId": task})
    house.turn()
    house.find()
    # The arrival of this turn makes it read, which fails after the answer was taken in.
    house.send({"requestId": "a", "taskId": house.site.add("Other")})
    house.journal.fail("reading")
    house.replied(2)
    for _ in range(5):
        house.step()
    assert house.site.posts.count(task) == 1


def test_an_answer_belongs_to_the_question_it_was_given_to(house: House) -> None:
    first, second = house.site.add("First"), house.site.add("Second")
    house.send({"taskId": first})
    house.turn()
    house.find()
    house.send({"taskId": second})
    # The turn takes in the first answer and asks the second question; then its commit fails.
    house.journal.fail("before")
    replies = house.replied(2)
    assert [reply["status"] for reply in replies] == ["ok", "ok"]
    assert sorted(house.site.posts) == [first, second]


def test_a_caller_that_cannot_be_told_does_not_repeat_the_turn(house: House) -> None:
    def gone(_request_id: str) -> None:
        raise RuntimeError("the event loop is closed")

    task = house.site.add("Sales")
    house.call({"taskId": task}, on_stored=gone)
    house.until(lambda: house.site.posts)
    for _ in range(5):
        house.step()
    assert house.site.posts == [task]
    assert len(house.rows(tables.requests)) == 1


def test_a_commit_that_took_effect_and_reported_failure_records_a_call_once(house: House) -> None:
    house.site.lasting = False
    task = house.site.add("Sales")
    house.turn()
    house.journal.fail("after")
    answers = house.call({"taskId": task})
    house.until(lambda: answers)
    for _ in range(5):
        house.step()
    assert house.site.posts == [task]


def test_an_expired_request_of_a_backlog_is_answered_once(make_house: MakeHouse) -> None:
    house = make_house()
    house.site.down = True
    for number in range(1001):
        house.send({"requestId": f"r{number}", "taskId": house.site.add(f"t{number}")}, expiry_seconds=1)
    house.replied(1001)
    for _ in range(5):
        house.step()
    assert len(house.replies()) == 1001
    assert {reply["code"] for reply in house.replies()} == {"expired"}
    house.broker.confirm()
    house.until(lambda: not house.rows(tables.outbox))


def _backlog(house: House, requests: int) -> None:
    """Let requests wait, more than are kept in memory, and the server's first answer be on its way."""
    house.site.down = True
    for number in range(requests):
        house.send({"requestId": f"r{number}", "tag": "none"})
    house.turn()
    house.find()
    while len(house.broker.acknowledged) < requests:
        house.turn()
    house.site.down = False
    while len(house.site.asked) < 2:
        house.turn()
        house.find()


def test_requests_that_arrive_while_a_backlog_is_read_are_found_too(house: House) -> None:
    _backlog(house, 1100)
    for number in range(1100, 1200):
        house.send({"requestId": f"r{number}", "tag": "none"})
    assert {reply["requestId"] for reply in house.replied(1200)} == {f"r{number}" for number in range(1200)}


def test_a_repetition_that_arrives_while_its_request_is_read_is_answered(house: House) -> None:
    _backlog(house, 1010)
    house.send({"requestId": "r1005", "tag": "none"})
    assert [reply["requestId"] for reply in house.replied(1011)].count("r1005") == 2


def test_a_late_confirmation_is_not_taken_for_that_of_a_newer_message(house: House) -> None:
    house.ask({"tag": "none"})
    first = house.broker.published[0]
    house.broker.confirm()
    house.until(lambda: not house.rows(tables.outbox))
    # Ids go on after the file was read again, although the row with the highest one is gone.
    house.journal.fail("before")
    house.turn()
    house.ask({"tag": "none"})
    house.pipeline.emit(Confirmed(first.id))
    house.turn()
    assert len(house.rows(tables.outbox)) == 1


def test_a_run_in_doubt_is_looked_at_although_the_commit_that_says_so_reported_failure(house: House) -> None:
    task = house.site.add("Sales")
    house.site.script.append(cut_after_effect)
    house.send({"taskId": task})
    house.turn()
    house.find()
    house.turn()
    house.post()
    house.journal.fail("after")
    reply = house.replied(1)[0]
    assert reply["tasksStarted"][0]["adopted"] is True


def test_two_looks_are_apart_when_they_were_taken_and_not_when_they_are_taken_in(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "BETWEEN_LOOKS_SECONDS", 1e-6)
    task = house.site.add("Sales")
    house.site.script.append(cut_before_effect)
    house.send({"taskId": task})
    for _ in range(3):
        house.turn()
        house.find()
        house.post()
    (run,) = house.rows(tables.runs)
    asked_at, look = time.monotonic(), house.site.look(house.site.tasks[task])
    for _ in range(2):
        house.pipeline.emit(Looked(run["id"], asked_at, look))
        house.turn()
    house.post()
    assert house.site.posts == []
    house.until(lambda: house.site.posts == [task])

"""What once went wrong in the pipeline, each with the smallest way to repeat it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from butler_mqtt.domain.completions import Polled, PublicationConfirmed
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_LOOP, SHORT_QLIK, Harness
from tests.pipeline.site_double import cut_after_effect, cut_before_effect

#: Requests kept in memory where a test is about more.
IN_MEMORY = 100


def test_a_request_that_means_too_many_tasks_can_come_twice(harness: Harness) -> None:
    body = {"requestId": "big", "tag": [f"tag {number}" for number in range(201)]}
    assert harness.ask(body)["code"] == "too_many_tasks"
    assert harness.ask(body)["code"] == "too_many_tasks"


def test_an_arrival_held_in_a_turn_that_failed_is_recorded_once(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_open_requests=1)))
    task = harness.site.add("Sales")
    harness.send({"taskId": harness.site.add("Other")})
    harness.turn()
    harness.send({"taskId": task})
    harness.journal.fail("before")
    harness.replied(2)
    for _ in range(5):
        harness.step()
    assert harness.site.posts.count(task) == 1
    assert len(harness.rows(tables.deliveries)) == 2


def test_a_held_arrival_is_not_lost_when_the_turn_that_takes_it_in_fails(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_open_requests=1)))
    task = harness.site.add("Sales")
    harness.send({"taskId": harness.site.add("Other")})
    harness.turn()
    harness.send({"taskId": task})
    # The turn that answers the first request makes room; the next one takes the second in and fails.
    harness.until(harness.replies)
    harness.journal.fail("before")
    harness.until(lambda: task in harness.site.posts)
    harness.quiet()
    assert harness.site.posts.count(task) == 1


def test_a_decision_that_was_not_committed_starts_nothing(harness: Harness) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.send({"taskId": task})
    harness.turn()
    harness.find()
    # The arrival of this turn makes it read, which fails after the answer was taken in.
    harness.send({"requestId": "a", "taskId": harness.site.add("Other")})
    harness.journal.fail("reading")
    harness.replied(2)
    for _ in range(5):
        harness.step()
    assert harness.site.posts.count(task) == 1


def test_an_answer_belongs_to_the_question_it_was_given_to(harness: Harness) -> None:
    first, second = harness.site.add("First"), harness.site.add("Second")
    harness.send({"taskId": first})
    harness.turn()
    harness.find()
    harness.send({"taskId": second})
    # The turn takes in the first answer and asks the second question; then its commit fails.
    harness.journal.fail("before")
    replies = harness.replied(2)
    assert [reply["status"] for reply in replies] == ["ok", "ok"]
    assert sorted(harness.site.posts) == [first, second]


def test_a_caller_that_cannot_be_told_does_not_repeat_the_turn(harness: Harness) -> None:
    def gone(_request_id: str) -> None:
        raise RuntimeError("the event loop is closed")

    task = harness.site.add("Sales")
    harness.call({"taskId": task}, on_stored=gone)
    harness.until(lambda: harness.site.posts)
    for _ in range(5):
        harness.step()
    assert harness.site.posts == [task]
    assert len(harness.rows(tables.requests)) == 1


def test_a_commit_that_took_effect_and_reported_failure_records_a_call_once(harness: Harness) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.turn()
    harness.journal.fail("after")
    answers = harness.call({"taskId": task})
    harness.until(lambda: answers)
    for _ in range(5):
        harness.step()
    assert harness.site.posts == [task]


def test_an_expired_request_of_a_backlog_is_answered_once(make_harness: MakeHarness) -> None:
    harness = make_harness(in_memory=IN_MEMORY)
    harness.site.down = True
    for number in range(IN_MEMORY + 1):
        harness.send({"requestId": f"r{number}", "taskId": harness.site.add(f"t{number}")}, expiry_seconds=1)
    harness.replied(IN_MEMORY + 1)
    for _ in range(5):
        harness.step()
    assert len(harness.replies()) == IN_MEMORY + 1
    assert {reply["code"] for reply in harness.replies()} == {"expired"}
    harness.broker.confirm()
    harness.until(lambda: not harness.rows(tables.outbox))


def _backlog(harness: Harness, requests: int) -> None:
    """Let requests wait, more than are kept in memory, and the server's first answer be on its way."""
    harness.site.down = True
    for number in range(requests):
        harness.send({"requestId": f"r{number}", "tag": "none"})
    harness.turn()
    harness.find()
    while len(harness.broker.acknowledged) < requests:
        harness.turn()
    harness.site.down = False
    while len(harness.site.asked) < 2:
        harness.turn()
        harness.find()


def test_requests_that_arrive_while_a_backlog_is_read_are_found_too(make_harness: MakeHarness) -> None:
    harness = make_harness(in_memory=IN_MEMORY)
    _backlog(harness, 110)
    for number in range(110, 120):
        harness.send({"requestId": f"r{number}", "tag": "none"})
    assert {reply["requestId"] for reply in harness.replied(120)} == {f"r{number}" for number in range(120)}


def test_a_repetition_that_arrives_while_its_request_is_read_is_answered(make_harness: MakeHarness) -> None:
    harness = make_harness(in_memory=IN_MEMORY)
    _backlog(harness, 110)
    harness.send({"requestId": "r105", "tag": "none"})
    assert [reply["requestId"] for reply in harness.replied(111)].count("r105") == 2


def test_a_late_confirmation_is_not_taken_for_that_of_a_newer_message(harness: Harness) -> None:
    harness.ask({"tag": "none"})
    first = harness.broker.published[0]
    harness.broker.confirm()
    harness.until(lambda: not harness.rows(tables.outbox))
    # Ids go on after the file was read again, although the row with the highest one is gone.
    harness.journal.fail("before")
    harness.turn()
    harness.ask({"tag": "none"})
    harness.pipeline.emit(PublicationConfirmed(first.id))
    harness.turn()
    assert len(harness.rows(tables.outbox)) == 1


def test_a_run_in_doubt_is_looked_at_although_the_commit_that_says_so_reported_failure(
    harness: Harness,
) -> None:
    task = harness.site.add("Sales")
    harness.site.script.append(cut_after_effect)
    harness.send({"taskId": task})
    harness.turn()
    harness.find()
    harness.turn()
    harness.post()
    harness.journal.fail("after")
    reply = harness.replied(1)[0]
    assert reply["tasksStarted"][0]["adopted"] is True


def test_two_looks_are_apart_when_they_were_taken_and_not_when_they_are_taken_in(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, between_polls=1e-6))
    task = harness.site.add("Sales")
    harness.site.script.append(cut_before_effect)
    harness.send({"taskId": task})
    for _ in range(3):
        harness.turn()
        harness.find()
        harness.post()
    (run,) = harness.rows(tables.runs)
    asked_at, snapshot = time.monotonic(), harness.site.snapshot(harness.site.tasks[task])
    for _ in range(2):
        harness.pipeline.emit(Polled(run["id"], asked_at, snapshot))
        harness.turn()
    harness.post()
    assert harness.site.posts == []
    harness.until(lambda: harness.site.posts == [task])


def test_after_a_failed_turn_no_more_starts_are_on_their_way_than_may_be(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_starts=1)))
    for number in range(9):
        harness.send({"taskId": harness.site.add(f"Task {number}")})
    harness.turn()
    harness.find()
    for _ in range(3):
        harness.turn()
    in_hand = harness.pipeline.dispatcher.in_hand
    assert in_hand < 9
    harness.journal.fail("before")
    for _ in range(3):
        harness.turn()
        harness.find()
    assert harness.pipeline.dispatcher.in_hand == in_hand


@pytest.mark.parametrize("where", ["before", "after"])
def test_what_the_broker_took_is_not_published_again_after_a_failed_turn(
    harness: Harness, where: str
) -> None:
    harness.ask({"taskId": harness.site.add("Sales")})
    harness.broker.confirm()
    harness.journal.fail(where)
    harness.until(lambda: not any(row["delivery"] for row in harness.rows(tables.outbox)))
    assert len(harness.replies()) == 1


def test_what_a_lost_connection_left_open_is_published_once_after_a_failed_turn(harness: Harness) -> None:
    harness.ask({"taskId": harness.site.add("Sales")})
    harness.broker.lose()
    harness.journal.fail("before")
    harness.until(lambda: len(harness.replies()) > 1)
    harness.step()
    assert len(harness.replies()) == 2


def test_a_message_that_is_refused_in_a_failed_turn_waits_for_its_next_attempt(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(timings=replace(SHORT_LOOP, publish_pause_seconds=60.0))
    harness.ask({"taskId": harness.site.add("Sales")})
    for identity in list(harness.broker.in_flight):
        harness.broker.refuse(identity)
    harness.journal.fail("before")
    harness.step()
    harness.step()
    assert len(harness.replies()) == 1

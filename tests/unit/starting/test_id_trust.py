"""Which execution ids are believed at once."""

from __future__ import annotations

from butler_mqtt.domain.model import Execution, Task
from butler_mqtt.domain.open_work import Doubt
from butler_mqtt.starting.id_trust import MAX_UNPROVED, IdTrust
from butler_mqtt.starting.node_clocks import NodeClocks
from tests.unit.starting.starts import run, start

RUNNING = Task("task", "Sales", last=Execution("old", "result", None, 2))
ENDED = Task("task", "Sales", last=Execution("old", "result", None, 7))


def trust(*, clocks_differ: bool = False) -> IdTrust:
    clocks = NodeClocks()
    clocks.differ = clocks_differ
    return IdTrust(clocks)


def test_a_task_that_ran_when_it_was_read_may_be_answered_with_its_old_id() -> None:
    assert trust().may_be_old(run(task=RUNNING), "new")
    assert not trust().may_be_old(run(task=ENDED), "new")


def test_the_id_of_the_execution_that_was_waited_for_is_never_believed() -> None:
    waited = run(start(behind="old"), task=ENDED)
    assert trust().may_be_old(waited, "old")
    assert not trust().may_be_old(waited, "new")


def test_a_task_read_for_an_earlier_request_is_doubted_until_enough_ids_proved_new() -> None:
    judge, doubted = trust(), run(start(found_before=True), task=ENDED, doubt=Doubt.CLAIMED)
    for _ in range(MAX_UNPROVED):
        assert judge.may_be_old(doubted, "new")
        judge.began(doubted)
    assert not judge.may_be_old(doubted, "new")


def test_one_old_id_ends_all_trust_and_one_empty_id_all_doubt() -> None:
    doubted = run(start(found_before=True), task=ENDED, doubt=Doubt.CLAIMED)
    judge = trust()
    judge.ran_already(run(doubt=Doubt.EMPTY))
    assert not judge.may_be_old(doubted, "new")
    judge.ran_already(doubted)
    for _ in range(MAX_UNPROVED + 1):
        judge.began(doubted)
    assert judge.may_be_old(doubted, "new")


def test_a_task_is_read_once_more_where_its_reading_is_gone_or_clocks_differ() -> None:
    assert trust().needs_refresh([start(), start(unread=True)])
    assert not trust().needs_refresh([start(found_before=True)])
    assert trust(clocks_differ=True).needs_refresh([start(found_before=True)])


def test_a_start_that_waited_is_read_once_more_only_while_ids_are_unproved() -> None:
    judge, waited = trust(), [start(reason="running")]
    assert [judge.needs_refresh(waited) for _ in range(MAX_UNPROVED + 1)] == [True] * MAX_UNPROVED + [False]
    assert not trust().needs_refresh([start(reason="running", seen_behind=True)])


def test_a_start_with_a_reading_of_its_own_is_not_read_once_more_where_clocks_differ() -> None:
    assert not trust(clocks_differ=True).needs_refresh([start()])

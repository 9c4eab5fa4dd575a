"""Callers get the reply to their delivery, once, and are forgotten when nobody waits any more."""

from __future__ import annotations

from butler_mqtt.ledger.callers import Callers


def test_a_caller_is_answered_once() -> None:
    callers, answers = Callers(30.0), list[str]()
    callers.add(1, answers.append)
    for _ in range(2):
        callers.answer(1, "a")
    assert answers == ["a"]


def test_a_reply_for_which_nobody_waits_goes_nowhere() -> None:
    Callers(30.0).answer(1, "a")


def test_who_waits_no_more_is_forgotten() -> None:
    times = iter([0.0, 1.0, 30.5, 31.5])
    callers, answers = Callers(30.0, times.__next__), list[str]()
    kept = []
    for delivery in range(4):
        callers.add(delivery, answers.append)
        kept.append(list(callers.deliveries))
    assert kept == [[0], [0, 1], [1, 2], [2, 3]]

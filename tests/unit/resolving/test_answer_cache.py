"""Answers of the Qlik server that are used again for some seconds."""

from __future__ import annotations

import time

from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import QlikRefused
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.resolving.answer_cache import MAX_RENEWED, AnswerCache

DAILY, WEEKLY = Selector(SelectorKind.TAG, "daily"), Selector(SelectorKind.TAG, "weekly")
TASK = Task("task", "Sales")
#: An age at which an answer is used, and is to be renewed; and one at which it is not used any more.
STALE, OLD = 450.0, 600.0


def cache() -> AnswerCache:
    return AnswerCache(QlikTimings(cache_age=500.0, renewal_age=400.0))


def asked(age: float) -> float:
    return time.monotonic() - age


def test_an_answer_is_used_as_long_as_it_is_young_and_only_with_all_others() -> None:
    answers = cache()
    answers.store({DAILY: (TASK,)}, asked(0))
    assert answers.get([DAILY]) == {DAILY: (TASK,)}
    assert answers.get([DAILY, WEEKLY]) is None
    answers.store({DAILY: (TASK,)}, asked(OLD))
    assert answers.get([DAILY]) is None


def test_an_answer_that_names_no_task_or_is_a_refusal_is_not_used_again() -> None:
    answers = cache()
    answers.store({DAILY: (TASK,), WEEKLY: (TASK,)}, asked(0))
    answers.store({DAILY: (), WEEKLY: QlikRefused("no", 403)}, asked(0))
    assert answers.get([DAILY]) is None
    assert answers.get([WEEKLY]) is None


def test_only_an_answer_in_use_is_renewed_and_once() -> None:
    answers = cache()
    answers.store({DAILY: (TASK,), WEEKLY: (TASK,)}, asked(STALE))
    assert not answers.stale
    answers.get([DAILY])
    assert answers.stale
    assert answers.take_renewals() == [DAILY]
    assert answers.take_renewals() == []


def test_one_that_has_come_anew_need_not_be_renewed() -> None:
    answers = cache()
    answers.store({DAILY: (TASK,)}, asked(STALE))
    answers.get([DAILY])
    answers.store({DAILY: (TASK,)}, asked(0))
    assert not answers.stale
    assert answers.take_renewals() == []


def test_as_many_are_renewed_at_once_as_go_into_one_question() -> None:
    answers = cache()
    many = [Selector(SelectorKind.TAG, str(number)) for number in range(MAX_RENEWED + 5)]
    answers.store(dict.fromkeys(many, (TASK,)), asked(STALE))
    answers.get(many)
    assert answers.take_renewals() == many[:MAX_RENEWED]


def test_what_is_too_old_is_dropped_and_not_renewed() -> None:
    answers = cache()
    answers.store({DAILY: (TASK,)}, asked(STALE))
    answers.get([DAILY])
    answers.store({WEEKLY: (TASK,)}, asked(OLD))
    answers.drop_old()
    answers.drop_unused()
    assert answers.get([WEEKLY]) is None
    assert answers.take_renewals() == [DAILY]

"""Questions about stages whose turn has come."""

from __future__ import annotations

import time

from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import RequestError
from butler_mqtt.resolving.stage_questions import StageQuestions, selectors_of

ONE, TWO, THREE = (Selector(SelectorKind.TAG, name) for name in ("a", "b", "c"))
TASK = Task("task", "Sales")
ERROR = RequestError("qrs_unavailable", "Qlik Sense cannot be reached", "details")


def test_a_question_is_asked_once_and_its_answer_returned_once() -> None:
    questions = StageQuestions()
    number = questions.ask((ONE, TWO))
    assert questions.take(10) == {number: (ONE, TWO)}
    assert questions.take(10) == {}
    assert not questions
    questions.answered([number], {ONE: (TASK,), TWO: (), THREE: ()})
    assert questions.answers() == [(number, {ONE: (TASK,), TWO: ()})]
    assert questions.answers() == []


def test_as_many_are_taken_as_there_is_room_and_one_in_any_case() -> None:
    questions = StageQuestions()
    large, small = questions.ask((ONE, TWO, THREE)), questions.ask((ONE,))
    assert questions.take(1) == {large: (ONE, TWO, THREE)}
    assert questions.take(1) == {small: (ONE,)}


def test_what_the_server_did_not_answer_is_asked_again() -> None:
    questions = StageQuestions()
    number = questions.ask((ONE,))
    questions.take(10)
    questions.put_back([number, 99])
    assert questions
    assert questions.take(10) == {number: (ONE,)}


def test_only_what_waits_for_long_is_given_up_also_in_flight() -> None:
    questions = StageQuestions()
    old = questions.ask((ONE,))
    questions.take(10)
    between = time.monotonic()
    young = questions.ask((TWO,))
    questions.give_up(between, ERROR)
    assert questions.answers() == [(old, ERROR)]
    questions.answered([old], {ONE: ()})
    assert questions.answers() == []
    assert questions.take(10) == {young: (TWO,)}


def test_nothing_comes_of_questions_that_were_forgotten() -> None:
    questions = StageQuestions()
    number = questions.ask((ONE,))
    questions.reset()
    questions.answered([number], {ONE: ()})
    assert questions.answers() == []
    assert questions.ask((ONE,)) != number


def test_the_selectors_of_several_questions_are_one_list() -> None:
    assert list(selectors_of({1: (ONE, TWO), 2: (), 3: (THREE,)})) == [ONE, TWO, THREE]

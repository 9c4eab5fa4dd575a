"""Grouping, repeating and setting aside, whatever happens when, on a real journal."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from butler_mqtt.alerting.alert_book import MAX_WAITING
from butler_mqtt.domain.alert import decode
from butler_mqtt.settings import AlertTarget
from tests.unit.alerting.conftest import Make
from tests.unit.alerting.turning import EACH, GROUPED, Turning


def test_a_refused_alert_is_tried_after_pauses_that_grow_to_five_minutes(make: Make) -> None:
    turning = make(EACH)
    turning.fail()
    for pause in (5, 10, 20, 40, 80, 160, 300, 300):
        turning.refuse()
        turning.wait(pause - 0.5)
        assert not turning.desk.given
        turning.wait(0.5)
        assert len(turning.desk.given) == 1


def test_it_is_set_aside_after_an_hour_and_the_next_one_is_tried(make: Make) -> None:
    turning = make(EACH)
    turning.fail("a")
    turning.wait(3599)
    turning.fail("b")
    turning.wait(1)
    turning.refuse()
    assert [(row["subject"], row["quarantined_at"], row["reason"]) for row in turning.rows()] == [
        ("a", 3_600_000, "no"),
        ("b", None, None),
    ]
    turning.wait(5)
    assert turning.take().title == "butler-mqtt: task b failed"


def test_what_a_target_will_never_take_is_set_aside_after_five_refusals(make: Make) -> None:
    turning = make(EACH)
    turning.fail()
    for _ in range(5):
        turning.refuse(final=True)
        turning.wait(300)
    (row,) = turning.rows()
    assert (row["attempts"], row["quarantined_at"] is not None) == (5, True)


def test_what_came_while_one_was_refused_goes_with_it(make: Make) -> None:
    turning = make(EACH)
    turning.fail()
    turning.fail()
    turning.refuse()
    turning.wait(5)
    assert turning.take().title == "butler-mqtt: task a failed (2 times)"
    assert not turning.rows()


def test_the_interval_outlives_a_restart(make: Make) -> None:
    turning = make(GROUPED)
    turning.fail()
    turning.take()
    turning.crash()
    turning.fail()
    turning.wait(299)
    assert not turning.desk.given
    turning.wait(1)
    assert len(turning.desk.given) == 1


@pytest.mark.parametrize("waits", [False, True], ids=["sent", "waiting"])
def test_a_clock_that_is_set_back_keeps_no_alert_back(make: Make, *, waits: bool) -> None:
    turning = make(GROUPED)
    turning.wait(10_000)
    turning.fail()
    turning.take()
    if waits:
        turning.fail()
    turning.now -= 9_000
    if not waits:
        turning.fail()
    turning.wait(300)
    assert len(turning.desk.given) == 1


def test_too_many_are_counted_in_one(make: Make) -> None:
    turning = make(EACH)
    for number in range(MAX_WAITING + 31):
        turning.fail(str(number))  # the first of them is in hand
    assert len(turning.rows()) == MAX_WAITING + 2
    assert decode(turning.rows()[-1]["content"]).count == 30


def test_what_waits_for_a_target_that_is_gone_is_set_aside(make: Make) -> None:
    turning = make(EACH)
    turning.fail()
    turning.target = AlertTarget("other", "json://h")
    turning.crash()
    (row,) = turning.rows()
    assert row["reason"] == "the target is not configured any more"


def test_one_in_hand_and_one_behind_it_are_one_after_a_crash(make: Make) -> None:
    turning = make(EACH)
    turning.fail()
    turning.fail()
    turning.crash()
    turning.wait(0)
    assert turning.take().title == "butler-mqtt: task a failed (2 times)"
    assert not turning.rows()


def test_a_failure_that_waits_is_taken_back_when_its_task_recovers(make: Make) -> None:
    turning = make(GROUPED)
    turning.fail()
    turning.take()
    turning.fail()
    turning.fail("b")
    turning.recover()
    assert turning.titles(700) == ["b failed", "a recovered"]
    assert not turning.rows()


def test_a_recovery_that_waits_is_taken_back_when_its_task_fails_again(make: Make) -> None:
    turning = make(GROUPED)
    for change in (turning.fail, turning.recover):
        change()
        turning.take()
    turning.wait(200)
    turning.recover()
    turning.wait(99)
    turning.fail()
    assert turning.titles(700) == ["a failed"]


def test_a_failure_that_the_target_did_not_take_goes_before_the_recovery(make: Make) -> None:
    turning = make(GROUPED)
    turning.fail()
    turning.fail()
    turning.recover()
    turning.refuse()
    assert turning.titles(700) == ["a failed", "a recovered"]


def test_a_target_that_wants_no_recoveries_gets_the_failure_that_waits(make: Make) -> None:
    turning = make(replace(GROUPED, on=("executionFailed",)))
    turning.fail()
    turning.take()
    turning.fail()
    turning.recover()
    assert turning.titles(700) == ["a failed"]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            (
                ("fail", 0),
                ("recover", 0),
                ("take", 0),
                ("refuse", 0),
                ("crash", 0),
                ("wait", 5),
                ("wait", 299),
            )
        ),
        max_size=20,
    )
)
@example([("fail", 0), ("recover", 0), ("fail", 0), ("refuse", 0)])
@example([("recover", 0), ("refuse", 0), ("fail", 0), ("recover", 0)])
@example([("fail", 0), ("recover", 0), ("fail", 0), ("crash", 0)])
def test_the_last_alert_of_a_task_is_always_what_happened_last(steps: list[tuple[str, int]]) -> None:
    happened, told = "", ""
    with tempfile.TemporaryDirectory() as folder:
        turning = Turning(Path(folder), GROUPED)
        for what, seconds in steps:
            if what in {"fail", "recover"}:
                happened = f"{what}ed"
                (turning.fail if what == "fail" else turning.recover)()
            elif what == "wait":
                turning.wait(seconds)
            elif what == "crash":
                turning.crash()
            elif turning.desk.given:
                letter = turning.take() if what == "take" else turning.refuse()
                told = letter.title.split()[3] if what == "take" else told
        told = [told, *(title.split()[1] for title in turning.titles(1200))][-1]
        turning.journal.close()
    assert told == happened


STEPS = st.lists(
    st.one_of(
        st.sampled_from("ab").map(lambda subject: ("fail", subject)),
        st.sampled_from((1, 5, 60, 299, 300, 1000)).map(lambda seconds: ("wait", seconds)),
        st.sampled_from((("take", 0), ("refuse", 0), ("crash", 0))),
    ),
    max_size=30,
)


@settings(max_examples=20, deadline=None)
@given(STEPS)
def test_whatever_happens_all_is_counted_and_the_interval_is_kept(steps: list[tuple[str, object]]) -> None:
    raised: Counter[str] = Counter()
    told: Counter[str] = Counter()
    last: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        turning = Turning(Path(folder), GROUPED)

        def take() -> None:
            letter = turning.take()
            subject = letter.title.split()[2]
            times = letter.title.partition("(")[2]
            told[subject] += int(times.split()[0]) if times else 1
            assert turning.now - last.get(subject, -300.0) >= 300
            last[subject] = turning.now

        for what, value in steps:
            assert len(turning.desk.given) <= 1
            if what == "fail":
                raised[str(value)] += 1
                turning.fail(str(value))
            elif what == "wait":
                turning.wait(float(str(value)))
            elif what == "crash":
                turning.crash()
            elif turning.desk.given:
                (take if what == "take" else turning.refuse)()
        for _ in range(2 * len(steps) + 2):
            turning.wait(300)
            if turning.desk.given:
                take()
        assert not turning.rows() or all(row["quarantined_at"] for row in turning.rows())
        for row in turning.rows():
            told[row["subject"]] += decode(row["content"]).count
        assert told == raised
        turning.journal.close()

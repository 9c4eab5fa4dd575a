"""An outage of the Qlik server is one warning, and its end one line."""

from __future__ import annotations

import logging
import time as clock_of_machine
from datetime import timedelta

import pytest
from hypothesis import example, given

from butler_mqtt.clock import from_ms, to_ms
from butler_mqtt.domain.reconciliation import SERVER_CLOCK_SLACK
from butler_mqtt.qrs.answer_errors import http_date, retry_seconds
from butler_mqtt.qrs.server_state import ServerState
from butler_mqtt.qrs.transport import HttpAnswer
from tests.unit.dates import HTTP_DATES


def test_an_outage_is_one_warning_and_its_end_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "butler_mqtt")
    now = [100.0]
    state = ServerState("sense:4242", lambda: now[0])
    state.note_answer(HttpAnswer(200, b"{}"))
    for _ in range(5):
        state.note_failure("connection refused")
        now[0] += 12.0
    for _ in range(5):
        state.note_answer(HttpAnswer(200, b"{}"))
    assert [(one.levelname, getattr(one, "action", ""), one.getMessage()) for one in caplog.records] == [
        ("WARNING", "qrs_unreachable", "Qlik server sense:4242 is not reached: connection refused"),
        ("WARNING", "qrs_reached", "Qlik server sense:4242 is reached again after 60 s"),
    ]


def test_a_server_that_comes_and_goes_is_one_warning_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "butler_mqtt")
    now = [100.0]
    state = ServerState("sense:4242", lambda: now[0])
    for _ in range(24):
        state.note_failure("POST x: 400 with an HTML page titled 'Bad Request'")
        state.note_answer(HttpAnswer(200, b"{}"))
        now[0] += 5.0
    actions = [getattr(one, "action", "") for one in caplog.records]
    assert actions == ["qrs_unreachable", "qrs_reached"] * 2


def test_an_outage_of_less_than_a_minute_ends_with_information(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "butler_mqtt")
    now = [100.0]
    state = ServerState("sense:4242", lambda: now[0])
    state.note_failure("connection refused")
    now[0] += 59.0
    state.note_answer(HttpAnswer(200, b"{}"))
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


def test_an_outage_that_begins_as_one_of_many_short_ones_is_a_warning_once_it_lasts_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [100.0]
    state = ServerState("sense:4242", lambda: now[0])
    for _ in range(2):
        state.note_answer(HttpAnswer(200, b"{}"))
        state.note_failure("connection refused")
    caplog.clear()
    for _ in range(30):
        now[0] += 10.0
        state.note_failure("connection refused")
    state.note_answer(HttpAnswer(200, b"{}"))
    assert [(one.levelname, getattr(one, "action", "")) for one in caplog.records] == [
        ("WARNING", "qrs_unreachable"),
        ("WARNING", "qrs_reached"),
    ]


def answer(date: str, retry_after: str = "") -> HttpAnswer:
    return HttpAnswer(200, b"{}", date=date, retry_after=retry_after)


@given(HTTP_DATES)
@example("Fri, 31 Dec 9999 23:59:59 -0100")
@example("Mon, 01 Jan 0001 00:00:00 +0100")
@example("Fri, 31 Dec 9999 23:59:59 GMT")
def test_any_date_of_the_server_leaves_a_clock_that_can_be_reckoned_with(date: str) -> None:
    server = ServerState("qlik:4242", clock_of_machine.monotonic)
    server.note_answer(answer(date, date))
    assert server.reachable
    shown = server.server_time()
    if shown is not None:
        assert shown - SERVER_CLOCK_SLACK < shown + timedelta(days=1)
        assert from_ms(to_ms(shown)) is not None
    moment = http_date(date)
    assert moment is None or 1970 <= moment.year < 9999
    assert (retry_seconds(answer(date, date)) or 0.0) >= 0.0

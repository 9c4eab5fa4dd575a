"""Lines about waiting are repeated once a minute, however often is tried."""

from __future__ import annotations

import logging

from butler_mqtt.repeated_lines import MAX_CAUSES, PAUSE_SECONDS, RepeatedLines


def test_lines_of_one_cause_are_information_once_a_minute() -> None:
    tries = [12.0 * number for number in range(11)]
    clock = iter(tries)
    lines = RepeatedLines(clock.__next__)
    shown = [at for at in tries if lines.level("connection refused") == logging.INFO]
    assert shown == [0.0, PAUSE_SECONDS, 2 * PAUSE_SECONDS]


def test_another_cause_has_a_line_of_its_own() -> None:
    lines = RepeatedLines(lambda: 0.0)
    assert [lines.level(cause) for cause in ("refused", "no such host", "refused")] == [
        logging.INFO,
        logging.INFO,
        logging.DEBUG,
    ]


def test_causes_that_differ_each_time_do_not_fill_the_log() -> None:
    lines = RepeatedLines(lambda: 0.0)
    assert sum(lines.level(str(number)) == logging.INFO for number in range(100)) == MAX_CAUSES

"""An outage of the broker is one warning, whoever tries how often."""

from __future__ import annotations

import logging

from butler_mqtt.mqtt.outages import MAX_REASONS, Outages


def test_the_first_failure_of_an_outage_is_a_warning_and_no_other() -> None:
    outages = Outages()
    assert [outages.unreachable("refused") for _ in range(3)] == [
        logging.WARNING,
        logging.DEBUG,
        logging.DEBUG,
    ]


def test_another_reason_is_information_once() -> None:
    outages = Outages()
    outages.unreachable("refused")
    assert [outages.unreachable("no such host") for _ in range(2)] == [logging.INFO, logging.DEBUG]


def test_reasons_that_differ_each_time_do_not_fill_the_log() -> None:
    outages = Outages()
    levels = [outages.unreachable(f"port {number}") for number in range(100)]
    assert sum(level > logging.DEBUG for level in levels) == MAX_REASONS


def test_the_end_of_an_outage_says_how_long_it_was_and_the_next_one_warns_again() -> None:
    clock = iter([10.0, 71.5, 100.0])
    outages = Outages(clock.__next__)
    assert outages.reached() is None
    outages.unreachable("refused")
    assert outages.reached() == 61.5
    assert outages.reached() is None
    assert outages.unreachable("refused") == logging.WARNING

"""The filters of rules: what the log says of the broker's answers."""

from __future__ import annotations

import logging
from collections.abc import Collection

import pytest

from butler_mqtt.domain.completions import RuleFilterAnswered
from butler_mqtt.ledger.rule_records import RuleRecords
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.pipeline.rule_filters import RuleFilters


class Asked:
    """Filters, and a broker that answers for them."""

    def __init__(self) -> None:
        turn = UnitOfWork()
        turn.number_from({"rule_filters": 0})
        turn.begin()
        self.filters = RuleFilters(RuleRecords(turn))

    def want(self, *filters: str) -> None:
        self.filters.want(filters)

    def answer(self, *filters: str, problem: str | None = None) -> None:
        rows = {topic_filter: row for row, topic_filter in self.filters.wanted.items()}
        for one in filters:
            event = RuleFilterAnswered(rows[one], subscribed=problem is None, problem=problem)
            self.filters.answered(event, ["orders"])


@pytest.fixture
def asked(caplog: pytest.LogCaptureFixture) -> Asked:
    caplog.set_level(logging.INFO)
    return Asked()


def summaries(records: Collection[logging.LogRecord]) -> list[str]:
    return [one.getMessage() for one in records if getattr(one, "action", "") == "rules_subscribed"]


def test_the_last_answer_is_told_once(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    asked.want("a", "b")
    asked.answer("a")
    assert summaries(caplog.records) == []
    asked.answer("b", "a", "b")
    assert summaries(caplog.records) == ["rules: 2 topic filters are subscribed to, of 2"]


def test_what_was_refused_is_counted(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    asked.want("a", "b")
    asked.answer("a", problem="not authorized")
    asked.answer("b")
    assert summaries(caplog.records) == ["rules: 1 topic filter is subscribed to, of 2"]


def test_a_change_is_complete_with_the_answers_for_what_is_new(
    asked: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    asked.want("a", "b")
    asked.answer("a", "b")
    asked.want("b", "c", "d")
    asked.want("b", "c")
    asked.answer("b", "c")
    assert summaries(caplog.records)[1:] == ["rules: 2 topic filters are subscribed to, of 2"]

"""How many requests a sender may send in a minute."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butler_mqtt.domain.senders import OPERATOR, Caller
from butler_mqtt.intake.sender_limits import WINDOW_MS, Admission, TooManyRequests
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.settings import Sender, Settings

ERP = Sender("erp", requests_per_minute=3)
CRM = Sender("crm")
SETTINGS = Settings(senders=(ERP, CRM))
NOW = 1_900_000_000_000


@pytest.fixture
def admission(journal: Journal) -> Admission:
    made = Admission(SETTINGS)
    with journal.transaction() as transaction:
        made.load(transaction)
    return made


def counted(admission: Admission, at: int, caller: Caller | None = None) -> int | None:
    """Return after how many seconds a request may be sent again that came *at* a time; None: it is taken."""
    refusal = admission.counted(caller or Caller("erp", ERP), at)
    return refusal.retry_after if isinstance(refusal, TooManyRequests) else None


def test_one_more_than_the_limit_is_refused_until_the_first_is_a_minute_old(admission: Admission) -> None:
    assert [counted(admission, NOW + number) for number in range(3)] == [None] * 3
    assert counted(admission, NOW + 3) == 60
    assert counted(admission, NOW + WINDOW_MS - 1) == 1
    assert counted(admission, NOW + WINDOW_MS) is None
    assert counted(admission, NOW + WINDOW_MS) == 1


def test_a_refused_request_does_not_count(admission: Admission) -> None:
    for number in range(100):
        counted(admission, NOW + number)
    assert counted(admission, NOW + WINDOW_MS) is None


def test_only_senders_with_a_limit_have_one_and_operators_have_none(admission: Admission) -> None:
    for caller in (Caller("crm", CRM), Caller(None), Caller("unknown"), Caller("erp", ERP, OPERATOR)):
        assert [counted(admission, NOW, caller) for _ in range(10)] == [None] * 10


@pytest.mark.parametrize("back", [WINDOW_MS, 10 * WINDOW_MS])
def test_a_clock_that_is_set_back_keeps_nobody_out(admission: Admission, back: int) -> None:
    for _ in range(3):
        counted(admission, NOW)
    assert counted(admission, NOW - back) is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3 * WINDOW_MS), max_size=30).map(sorted))
def test_in_no_minute_are_more_taken_than_allowed(journal: Journal, times: list[int]) -> None:
    admission = Admission(SETTINGS)
    with journal.transaction() as transaction:
        admission.load(transaction)
    taken = [at for at in times if counted(admission, at) is None]
    assert all(later - first >= WINDOW_MS for first, later in zip(taken, taken[3:], strict=False))

"""The two gates of every start, and when they judge it again."""

from __future__ import annotations

from butler_mqtt.domain.model import Task
from butler_mqtt.domain.senders import UNKNOWN
from butler_mqtt.resolving.gates import Gates
from butler_mqtt.settings import Sender, Settings, StartTaskFilter
from butler_mqtt.steady_clock import elapsed_ms
from tests.unit.starting.starts import start

DAILY, OTHER = Task("daily", "Daily", tags=("daily",)), Task("other", "Other")
ALLOWS_DAILY = StartTaskFilter(enable=True, tags=("daily",))
OPEN = Settings()
CLOSED = Settings(start_task_filter=ALLOWS_DAILY)
LONGEST = 60.0


def test_what_was_judged_by_this_configuration_is_not_judged_again() -> None:
    gates, judged = Gates(CLOSED, LONGEST), start()
    assert gates.changed([judged])
    gates.let_through([judged])
    assert not gates.changed([judged])
    gates.reconfigured(CLOSED)
    assert gates.changed([judged])


def test_where_everything_may_start_nothing_is_judged_again() -> None:
    gates = Gates(OPEN, LONGEST)
    assert not gates.changed([start()])
    assert gates.shut_out([start()], OTHER, elapsed_ms()) == []


def test_only_what_may_not_go_on_is_shut_out() -> None:
    gates = Gates(CLOSED, LONGEST)
    assert gates.shut_out([start()], DAILY, elapsed_ms()) == []
    shut = start()
    assert gates.shut_out([shut], OTHER, elapsed_ms()) == [shut]


def test_the_gate_of_a_sender_is_judged_beside_the_allow_list() -> None:
    gates = Gates(
        Settings(senders=(Sender("erp", allow_task=ALLOWS_DAILY),), unknown_senders="deny"), LONGEST
    )
    of_erp, of_nobody, of_one_that_is_gone = (start(identity=one) for one in ("erp", UNKNOWN, "crm"))
    those = [of_erp, of_nobody, of_one_that_is_gone]
    assert gates.shut_out(those, DAILY, elapsed_ms()) == [of_nobody, of_one_that_is_gone]
    assert gates.shut_out(those, OTHER, elapsed_ms()) == [of_nobody, of_one_that_is_gone]
    gates.reconfigured(Settings(senders=(Sender("erp", allow_task=ALLOWS_DAILY),)))
    assert gates.shut_out(those, OTHER, elapsed_ms()) == [of_erp, of_one_that_is_gone]


def test_a_start_is_good_for_so_long_since_its_task_was_read() -> None:
    gates = Gates(CLOSED, LONGEST)
    young, old = start(), start()
    gates.shut_out([young], DAILY, elapsed_ms() - 59_000)
    gates.shut_out([old], DAILY, elapsed_ms() - 61_000)
    assert not gates.changed([young])
    assert gates.changed([old])


def test_one_that_was_judged_lately_keeps_its_time_beside_one_that_was_not() -> None:
    gates, lately, before = Gates(CLOSED, LONGEST), start(), start()
    gates.let_through([lately])
    gates.shut_out([lately, before], DAILY, elapsed_ms() - 61_000)
    assert not gates.changed([lately])
    assert gates.changed([before])

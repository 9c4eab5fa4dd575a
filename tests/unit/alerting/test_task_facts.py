"""What alerts say of tasks, and whom they are for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from butler_mqtt.alerting.task_facts import TaskFacts
from butler_mqtt.domain.model import Task
from butler_mqtt.journal.sqlite import Journal, highest_ids
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.settings import AlertTarget

ALL = AlertTarget("all", "json://h")
DAILY = AlertTarget("daily", "json://h", tags=("daily",))
SALES = AlertTarget("sales", "json://h", custom_properties=(("App", "Sales"),))
BARE = Task("task", "Load")
READ = Task(
    "task", "Load", enabled=True, tags=("Daily",), custom_properties=(("App", "Sales"),), app_name="X"
)


class Rig:
    """Facts on a real journal; each step is written."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turn = UnitOfWork()
        with journal.transaction() as transaction:
            self._turn.number_from(highest_ids(transaction))
        self.facts = TaskFacts(self._turn)

    def do(self, step: Callable[[], None]) -> None:
        self._turn.begin()
        with self._journal.transaction() as transaction:
            step()
            self._turn.unit.write(transaction)

    def restart(self) -> None:
        self.facts = TaskFacts(self._turn)
        with self._journal.transaction() as transaction:
            self.facts.load(transaction)


@pytest.fixture
def rig(journal: Journal) -> Rig:
    return Rig(journal)


def test_what_was_read_of_a_task_decides_also_where_only_its_id_is_known_now(rig: Rig) -> None:
    assert rig.facts.wanted(ALL, BARE)
    assert not rig.facts.wanted(DAILY, BARE)
    rig.do(lambda: rig.facts.note(READ))
    assert rig.facts.wanted(DAILY, BARE)
    assert rig.facts.wanted(SALES, BARE)
    assert rig.facts.app(BARE) == "X"


def test_a_task_without_facts_does_not_wipe_out_those_that_are_known(rig: Rig) -> None:
    rig.do(lambda: rig.facts.note(READ))
    rig.do(lambda: rig.facts.note(BARE))
    assert rig.facts.app(BARE) == "X"


def test_facts_outlive_a_restart_and_follow_the_task(rig: Rig) -> None:
    rig.do(lambda: rig.facts.note(READ))
    rig.do(lambda: rig.facts.note(Task("task", "Load", enabled=False, app_id="id")))
    rig.restart()
    assert not rig.facts.wanted(DAILY, BARE)
    assert rig.facts.app(BARE) == "id"

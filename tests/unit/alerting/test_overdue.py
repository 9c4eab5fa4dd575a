"""Tasks that must succeed regularly: when that is told, and when it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from butler_mqtt.alerting.conditions import Conditions
from butler_mqtt.alerting.overdue import OverdueTasks, selector
from butler_mqtt.alerting.task_alerts import TaskAlerts
from butler_mqtt.alerting.task_facts import TaskFacts
from butler_mqtt.domain.model import Execution, Task
from butler_mqtt.settings import OverdueEntry
from tests.unit.alerting.conftest import Make
from tests.unit.alerting.turning import EACH, Turning

DAILY = OverdueEntry("tag", "daily", every_seconds=100)
#: Server time at the beginning, far from ours.
SERVER = datetime(2031, 1, 1, tzinfo=UTC)


@dataclass
class Watched:
    """Entries whose tasks a test shows, with the times of their last results in seconds."""

    turning: Turning
    entries: Sequence[OverdueEntry] = (DAILY,)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        turn, book = self.turning.turn, self.turning.book
        facts = TaskFacts(turn)
        alerts = TaskAlerts(book, Conditions(turn), facts, lambda: round(1000 * self.turning.now))
        self.overdue = OverdueTasks(turn, alerts, lambda: round(1000 * self.turning.now))
        self.turning.do(lambda transaction: self.overdue.load(transaction, self.entries))

    def restart(self) -> None:
        self.turning.crash()
        self.begin()

    def at(self, now: float, **tasks: tuple[int, float] | None) -> list[str]:
        """Show tasks at a time, each with status and time of its last result; return what is told."""
        self.turning.now = now
        shown = [Task(name, name, 0, True, last=_last(result)) for name, result in tasks.items()]
        found = {selector(one): tuple(shown) for one in self.entries}
        server_time = SERVER + timedelta(seconds=now)
        self.turning.do(lambda _: self.overdue.read(found, server_time))
        return self.told()

    def told(self) -> list[str]:
        titles = []
        while self.turning.desk.given:
            titles.append(self.turning.take().title.removeprefix("butler-mqtt: task "))
        return titles


def _last(result: tuple[int, float] | None) -> Execution | None:
    if result is None:
        return None
    status, stopped = result
    return Execution(None, "r", None, status, stopped=SERVER + timedelta(seconds=stopped))


@pytest.fixture
def watched(make: Make) -> Watched:
    return Watched(make(EACH))


def test_it_is_told_once_when_the_last_success_is_too_old_and_once_when_there_is_another(
    watched: Watched,
) -> None:
    assert watched.at(1000, a=(7, 950)) == []
    assert watched.at(1049, a=(7, 950)) == []
    assert watched.at(1050, a=(7, 950)) == ["a is overdue"]
    assert watched.at(2000, a=(8, 1900)) == []
    assert watched.at(2100, a=(7, 2090)) == ["a recovered: it is not overdue any more"]
    assert watched.at(2189, a=(7, 2090)) == []


def test_a_failure_does_not_hide_the_success_before_it(watched: Watched) -> None:
    assert watched.at(1000, a=(7, 950)) == []
    assert watched.at(1040, a=(8, 1030)) == []
    assert watched.at(1050, a=(8, 1030)) == ["a is overdue"]


def test_without_a_known_success_it_counts_from_the_first_start_with_the_entry(watched: Watched) -> None:
    assert watched.at(99, a=None) == []
    watched.restart()
    assert watched.at(100, a=None) == ["a is overdue"]
    watched.restart()
    assert watched.at(200, a=None) == []


def test_a_task_that_comes_later_counts_from_then(watched: Watched) -> None:
    assert watched.at(10, a=(7, 5)) == []
    assert watched.at(90, a=(7, 85), b=None) == []
    assert watched.at(180, a=(7, 170), b=None) == []
    assert watched.at(190, a=(7, 170), b=None) == ["b is overdue"]


def test_what_is_not_shown_is_not_judged(watched: Watched) -> None:
    assert watched.at(10, a=(7, 5)) == []
    watched.turning.now = 5000
    watched.turning.do(lambda _: watched.overdue.read({}, None))  # the server was away
    assert watched.told() == []
    assert watched.at(5001, a=(7, 4990)) == []


def test_an_execution_of_ours_counts_at_once(watched: Watched) -> None:
    assert watched.at(105, a=None) == ["a is overdue"]
    watched.turning.do(lambda _: watched.overdue.succeeded(Task("a", "a")))
    assert watched.told() == ["a recovered: it is not overdue any more"]


def test_a_task_that_an_entry_does_not_mean_any_more_is_forgotten(watched: Watched) -> None:
    assert watched.at(105, a=None) == ["a is overdue"]
    assert watched.at(110) == []
    assert watched.at(120, a=None) == []


def test_another_entry_begins_anew(watched: Watched) -> None:
    assert watched.at(50, a=None) == []
    watched.entries = (replace(DAILY, every_seconds=60),)
    watched.restart()
    assert watched.at(109, a=None) == []
    assert watched.at(110, a=None) == ["a is overdue"]


def test_an_entry_without_tasks_is_named_once(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.at(1)
    watched.at(2)
    assert [one.getMessage() for one in caplog.records] == [
        "alerts.overdue: the Qlik server shows no task with tag daily: nothing is watched there"
    ]

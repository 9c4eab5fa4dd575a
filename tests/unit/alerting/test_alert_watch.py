"""What is read for alerts: seldom, all at once, and nothing while they are off or the server is away."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.alerting.alert_watch import AlertWatch
from butler_mqtt.domain.completions import AlertFactsRead
from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.settings import AlertSettings, OverdueEntry, Settings

DAILY, HOURLY = (Selector(SelectorKind.TAG, tag) for tag in ("daily", "hourly"))
ENTRIES = tuple(OverdueEntry("tag", one.value, "", 3600) for one in (DAILY, HOURLY, HOURLY))
ON = Settings(alerts=AlertSettings(enable=True, overdue=ENTRIES))
SERVER_TIME = datetime(2031, 1, 1, tzinfo=UTC)


@dataclass
class Finder:
    """The Qlik server: what it answers, or raises."""

    answer: dict[Selector, tuple[Task, ...] | QlikRefused] = field(default_factory=dict)
    error: QlikError | None = None
    asked: list[Sequence[Selector]] = field(default_factory=list)

    def find(self, selectors: Sequence[Selector]) -> dict[Selector, tuple[Task, ...] | QlikRefused]:
        self.asked.append(selectors)
        if self.error is not None:
            raise self.error
        return self.answer


def read(settings: Settings, finder: Finder, times: int = 1) -> list[AlertFactsRead]:
    told: list[AlertFactsRead] = []
    watch = AlertWatch(settings, told.append, lambda: SERVER_TIME, threading.Event(), AlertTimings())
    for _ in range(times):
        watch.read(finder)
    return told


def test_all_entries_are_one_question_that_is_not_repeated_at_once() -> None:
    task = Task("a", "a")
    finder = Finder({DAILY: (task,), HOURLY: ()})
    told = read(ON, finder, times=3)
    assert finder.asked == [[DAILY, HOURLY]]
    assert told[-1] == AlertFactsRead({DAILY: (task,), HOURLY: ()}, SERVER_TIME)


def test_a_refused_entry_does_not_hide_the_others() -> None:
    told = read(ON, Finder({DAILY: (), HOURLY: QlikRefused("no such filter", status=400)}))
    assert told[-1].tasks == {DAILY: ()}


def test_while_the_server_is_away_nothing_is_told_of_tasks() -> None:
    assert [one.tasks for one in read(ON, Finder(error=QlikUnavailable("no route")))] == [{}]


def test_while_alerts_are_off_nothing_is_read() -> None:
    finder = Finder()
    assert read(replace(ON, alerts=replace(ON.alerts, enable=False)), finder) == []
    assert finder.asked == []


def test_other_settings_are_used_soon() -> None:
    told: list[AlertFactsRead] = []
    watch = AlertWatch(Settings(), told.append, lambda: None, threading.Event(), AlertTimings())
    finder = Finder()
    watch.read(finder)
    watch.reconfigured(ON)
    watch.read(finder)
    assert finder.asked == [[DAILY, HOURLY]]


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "once"])
def test_it_ends_when_it_is_told_to(ended: bool) -> None:
    stop = threading.Event()
    if ended:
        stop.set()
    watch = AlertWatch(ON, lambda _read: stop.set(), lambda: None, stop, AlertTimings())
    watch.work(Finder())
    assert stop.is_set()

"""Starts that are posted again: both gates judge them by their task as it is then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.completions import Reconfigured
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.settings import MqttSettings, Sender, Settings, StartTaskFilter
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_QLIK, Harness
from tests.pipeline.site_double import OUR_USER, Crash, cut_after_effect, cut_before_effect

DAILY = StartTaskFilter(enable=True, tags=("daily",))
WEEKLY = StartTaskFilter(enable=True, tags=("weekly",))
ERP = Sender("erp", "start/erp", allow_task=DAILY)
CRM = Sender("crm", "start/crm", allow_task=WEEKLY)
#: Seconds for which a reading of a task is good.
AGE = 0.1

#: What becomes of the first POST.
UNREACHABLE, IN_DOUBT = QlikUnavailable("connection refused"), cut_before_effect
FAULTS = pytest.mark.parametrize("fault", [UNREACHABLE, IN_DOUBT], ids=["unreachable", "in doubt"])


@pytest.fixture
def make(make_harness: MakeHarness) -> Callable[..., Harness]:
    """Make a harness with the senders erp and crm, which may start daily and weekly tasks."""

    def start(longest_pause: float = SHORT_QLIK.longest_pause, **fields: Any) -> Harness:
        senders = fields.pop("senders", (ERP, CRM))
        mqtt = MqttSettings(sender_topics=tuple(one.topic for one in senders if one.topic))
        settings = Settings(senders=senders, mqtt=mqtt, **fields)
        timings = replace(SHORT_QLIK, cache_age=AGE, renewal_age=AGE, longest_pause=longest_pause)
        return make_harness(settings, qlik_timings=timings)

    return start


def publish(harness: Harness, topic: str, **body: Any) -> None:
    harness.deliver(harness.message(body)._replace(topic=topic))


def posted_in_vain(harness: Harness, *faults: Any) -> None:
    """Let the next POSTs fail, and the server be out of reach until what they were judged by is too old."""
    harness.site.script.extend(faults)
    harness.until(lambda: not harness.site.script)
    harness.turn()
    harness.site.down = True
    begin = time.monotonic()
    harness.until(lambda: time.monotonic() > begin + AGE)
    harness.site.down = False


def starts(harness: Harness) -> list[tuple[str | None, str]]:
    """Return the starts by sender and state."""
    senders = {row["id"]: row["identity"] for row in harness.rows(tables.requests)}
    return [(senders[row["request"]], row["state"]) for row in harness.rows(tables.starts)]


def run_states(harness: Harness) -> list[str]:
    return [row["state"] for row in harness.rows(tables.runs)]


@FAULTS
def test_a_start_whose_task_lost_its_tag_is_denied(make: Callable[..., Harness], fault: Any) -> None:
    harness = make()
    task = harness.site.add("Sales", tags=("daily",))
    publish(harness, "start/erp", requestId="r", taskId=task)
    posted_in_vain(harness, fault)
    harness.site.change(task, tags=())
    [reply] = harness.replied()
    assert [one["taskId"] for one in reply["tasksDenied"]] == [task]
    assert reply["status"] == "failed"
    assert starts(harness) == [("erp", "denied")]
    assert run_states(harness) == ["none"]
    assert harness.site.posts == []


@FAULTS
def test_a_start_whose_task_lost_its_custom_property_is_denied(
    make: Callable[..., Harness], fault: Any
) -> None:
    pair = ("group", "a")
    harness = make(senders=(), start_task_filter=StartTaskFilter(enable=True, custom_properties=(pair,)))
    task = harness.site.add("Sales", custom_properties=(pair,))
    harness.send({"taskId": task})
    posted_in_vain(harness, fault)
    harness.site.change(task, custom_properties=(("group", "b"),))
    [reply] = harness.replied()
    assert [one["taskId"] for one in reply["tasksDenied"]] == [task]
    assert harness.site.posts == []


@FAULTS
def test_a_start_whose_task_may_be_started_by_what_it_has_now_begins(
    make: Callable[..., Harness], fault: Any
) -> None:
    harness = make(start_task_filter=StartTaskFilter(enable=True, tags=("a", "b")), senders=())
    task = harness.site.add("Sales", tags=("a",))
    harness.send({"taskId": task})
    posted_in_vain(harness, fault)
    harness.site.change(task, tags=("b",))
    [reply] = harness.replied()
    assert reply["totalTasksStarted"] == 1
    assert harness.site.posts == [task]


@FAULTS
def test_of_a_shared_run_only_what_its_sender_may_start_no_more_is_denied(
    make: Callable[..., Harness], fault: Any
) -> None:
    harness = make()
    task = harness.site.add("Sales", tags=("daily", "weekly"))
    first = harness.site.begin(task)
    publish(harness, "start/erp", requestId="e", taskId=task)
    publish(harness, "start/crm", requestId="c", taskId=task)
    harness.replied(2)
    harness.site.end(task)
    posted_in_vain(harness, fault)
    harness.site.change(task, tags=("weekly",))
    harness.until(lambda: starts(harness) == [("erp", "denied"), ("crm", "running")])
    assert harness.site.posts == [task]
    assert harness.site.running(task).id != first  # type: ignore[union-attr]


def test_one_that_waited_is_told_by_an_event_that_it_is_denied(make: Callable[..., Harness]) -> None:
    harness = make()
    task = harness.site.add("Sales", tags=("daily",))
    harness.site.begin(task)
    publish(harness, "start/erp", requestId="e", taskId=task)
    harness.replied()
    harness.site.end(task)
    posted_in_vain(harness, IN_DOUBT)
    harness.site.change(task, tags=())
    harness.until(lambda: starts(harness) == [("erp", "denied")])
    harness.quiet()
    assert b'"code":"all_denied"' in harness.broker.events[-1].payload.replace(b" ", b"")


def test_a_stage_whose_start_is_denied_fails_and_the_next_does_not_begin(
    make: Callable[..., Harness],
) -> None:
    harness = make()
    task, other = (harness.site.add(name, tags=("daily",)) for name in ("Sales", "Stock"))
    publish(harness, "start/erp", requestId="r", stages=[{"taskId": task}, {"taskId": other}])
    posted_in_vain(harness, IN_DOUBT)
    harness.site.change(task, tags=())
    harness.replied()
    harness.quiet()
    assert [row["state"] for row in harness.rows(tables.stages)] == ["failed", "notStarted"]
    assert harness.site.posts == []


def test_killed_in_doubt_it_is_denied_by_what_the_new_process_reads(make: Callable[..., Harness]) -> None:
    harness = make()
    task = harness.site.add("Sales", tags=("daily",))

    def killed_before_effect(_site: object, _task: object) -> str | None:
        raise Crash

    publish(harness, "start/erp", requestId="r", taskId=task)
    harness.site.script.append(killed_before_effect)
    with pytest.raises(Crash):
        harness.replied()
    harness.site.change(task, tags=())
    harness.restart()
    [reply] = harness.replied()
    assert [one["taskId"] for one in reply["tasksDenied"]] == [task]
    assert harness.site.posts == []


def test_what_had_begun_all_the_same_is_adopted_whatever_the_tags(make: Callable[..., Harness]) -> None:
    harness = make()
    task = harness.site.add("Sales", tags=("daily",))
    publish(harness, "start/erp", requestId="r", taskId=task)
    posted_in_vain(harness, cut_after_effect)
    harness.site.change(task, tags=())
    [reply] = harness.replied()
    assert [one["adopted"] for one in reply["tasksStarted"]] == [True]


def test_a_gate_that_is_tightened_while_the_task_is_read_judges(make: Callable[..., Harness]) -> None:
    harness = make()
    task = harness.site.add("Sales", tags=("daily",))
    publish(harness, "start/erp", requestId="r", taskId=task)
    posted_in_vain(harness, UNREACHABLE)
    asked = len(harness.site.asked)
    harness.until(lambda: len(harness.site.asked) > asked)
    harness.settings = replace(harness.settings, senders=(replace(ERP, allow_task=WEEKLY), CRM))
    harness.pipeline.emit(Reconfigured(harness.settings))
    [reply] = harness.replied()
    assert [one["taskId"] for one in reply["tasksDenied"]] == [task]
    assert harness.site.posts == []


def test_one_that_is_cancelled_while_its_task_is_read_does_not_begin(make: Callable[..., Harness]) -> None:
    harness = make()
    task = harness.site.add("Sales", tags=("daily",))
    publish(harness, "start/erp", requestId="r", taskId=task)
    posted_in_vain(harness, UNREACHABLE)
    asked = len(harness.site.asked)
    harness.until(lambda: len(harness.site.asked) > asked)
    publish(harness, "start/erp", cancel="r")
    harness.replied(2)
    assert starts(harness) == [("erp", "cancelled")]
    assert run_states(harness) == ["none"]
    assert harness.site.posts == []


def test_one_whose_time_is_over_while_its_task_cannot_be_read_expires(make: Callable[..., Harness]) -> None:
    harness = make()
    task = harness.site.add("Sales", tags=("daily",))
    publish(harness, "start/erp", requestId="r", taskId=task, expiresAt=stamp_ms(now_ms() + 400))
    posted_in_vain(harness, UNREACHABLE)
    harness.site.down = True
    [reply] = harness.replied()
    assert reply["code"] == "expired"
    assert run_states(harness) == ["none"]


def test_with_the_gates_open_a_task_is_not_read_for_another_post(make: Callable[..., Harness]) -> None:
    harness = make(senders=())
    task = harness.site.add("Sales")
    harness.send({"taskId": task})
    posted_in_vain(harness, UNREACHABLE)
    harness.replied()
    assert len(harness.site.asked) == 1


def test_what_was_read_before_posts_were_paused_is_read_once_more(make: Callable[..., Harness]) -> None:
    harness = make(longest_pause=3 * AGE)
    task, other = (harness.site.add(name, tags=("daily",)) for name in ("Sales", "Stock"))
    publish(harness, "start/erp", requestId="r", taskId=task, notBefore=stamp_ms(now_ms() + 50))
    harness.replied()
    publish(harness, "start/erp", requestId="s", taskId=other)
    dispatcher = harness.pipeline.dispatcher
    while not len(dispatcher.runs):
        harness.turn()
        harness.find()
    while not len(dispatcher.refresh):
        harness.turn()
    harness.site.script.append(QlikUnavailable("429 with too many calls", retry_after=60.0))
    for act in (harness.post, harness.turn, harness.find, harness.turn):
        act()
    harness.site.change(task, tags=())
    harness.until(lambda: ("erp", "denied") in starts(harness))
    harness.until(lambda: harness.site.posts)
    assert harness.site.posts == [other]


def test_no_more_tasks_are_read_ahead_than_are_posted_soon(make_harness: MakeHarness) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, most_read=2))
    tasks = [harness.site.add(f"Task {number}") for number in range(5)]
    harness.send({"taskId": tasks, "notBefore": stamp_ms(now_ms() + 50)})
    harness.replied()
    harness.site.asked.clear()
    harness.until(lambda: len(harness.site.posts) == 5)
    assert [len(asked) for asked in harness.site.asked] == [2, 2, 1]


@pytest.mark.parametrize("senders", [(ERP, CRM), ()], ids=["gates", "no gates"])
def test_what_had_effect_after_all_while_the_server_was_out_of_reach_is_adopted(
    make: Callable[..., Harness], senders: tuple[Sender, ...]
) -> None:
    harness = make(senders=senders)
    task = harness.site.add("Sales", tags=("daily",))
    publish(harness, "start/erp" if senders else harness.settings.mqtt.task_start_topic, taskId=task)
    posted_in_vain(harness, IN_DOUBT, UNREACHABLE)
    late = harness.site.begin(task, OUR_USER)
    harness.site.end(task)
    [reply] = harness.replied()
    assert [(one["executionId"], one["adopted"]) for one in reply["tasksStarted"]] == [(late, True)]
    assert harness.site.posts == []

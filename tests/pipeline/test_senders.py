"""Senders at the daemon's core: identity, gates, rates, ids and cancels of others, changes while it runs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.completions import Reconfigured
from butler_mqtt.domain.model import Arrival
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.settings import (
    KeyValueStoreSettings,
    MqttSettings,
    Sender,
    Settings,
    StartTask,
    StartTaskFilter,
)
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_QLIK, Harness
from tests.pipeline.site_double import cut_before_effect

DAILY = StartTaskFilter(enable=True, tags=("daily",))
NOTHING = StartTaskFilter(enable=True)
ERP = Sender("erp", "start/erp", ("erp-token",), allow_task=DAILY)
CRM = Sender("crm", "start/crm", ("crm-token",))


def settings_of(*senders: Sender, **fields: Any) -> Settings:
    """Return settings with these senders, and with their topics."""
    topics = tuple(one.topic for one in senders if one.topic is not None)
    return Settings(senders=senders, mqtt=MqttSettings(sender_topics=topics), **fields)


@pytest.fixture
def harness(make_harness: MakeHarness) -> Harness:
    """Give a harness with the senders erp, which may start daily tasks alone, and crm."""
    return make_harness(settings_of(ERP, CRM, key_value_store=KeyValueStoreSettings(enable=True)))


def ask(harness: Harness, topic: str, **body: Any) -> dict[str, Any]:
    """Publish a request on *topic* and return its reply."""
    before = len(harness.replies())
    publish(harness, topic, **body)
    return harness.replied(before + 1)[-1]


def publish(harness: Harness, topic: str, **body: Any) -> None:
    harness.deliver(harness.message(body)._replace(topic=topic))


def call(harness: Harness, body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Send a request through REST and return its reply."""
    answers = harness.call(body, **fields)
    harness.until(lambda: answers)
    reply: dict[str, Any] = json.loads(answers[0])
    return reply


def reconfigure(harness: Harness, settings: Settings) -> None:
    """Have the daemon take another configuration over, as SIGHUP does."""
    harness.settings = settings
    harness.pipeline.emit(Reconfigured(settings))
    harness.turn()


def identities(harness: Harness) -> list[str | None]:
    return [row["identity"] for row in harness.rows(tables.requests)]


def states(harness: Harness) -> list[str]:
    return [str(row["state"]) for row in harness.rows(tables.starts)]


# ---- who it is


def test_the_journal_keeps_where_each_request_came_from_and_what_it_calls_itself(harness: Harness) -> None:
    task = harness.site.add("Sales", tags=("daily",))
    ask(harness, "start/erp", taskId=task, sender="crm")
    ask(harness, "qliksense/task/start", taskId=task, sender="erp")
    call(harness, {"taskId": task}, principal="crm-token")
    call(harness, {"taskId": task}, principal="anna", role="operator")
    assert identities(harness) == ["erp", "unknown", "crm", "operator"]
    assert [row["sender"] for row in harness.rows(tables.requests)] == ["crm", "erp", None, None]


def test_without_senders_no_identity_is_kept(make_harness: MakeHarness) -> None:
    harness = make_harness()
    task = harness.site.add("Sales")
    assert harness.ask({"taskId": task, "sender": "erp"})["status"] == "ok"
    assert identities(harness) == [None]


# ---- the gates


@pytest.mark.parametrize("selector", ["taskId", "taskName", "customProperty", "stages"])
def test_a_sender_starts_what_its_own_gate_lets_through_whatever_the_selector(
    harness: Harness, selector: str
) -> None:
    pair = (("group", "a"),)
    daily = harness.site.add("Sales", tags=("daily",), custom_properties=pair)
    other = harness.site.add("Stock", custom_properties=pair)
    wanted: dict[str, Any] = {
        "taskId": [daily, other],
        "taskName": ["Sales", "Stock"],
        "customProperty": {"name": "group", "value": "a"},
        "stages": [{"taskId": other, "onFailure": "continue"}, {"taskId": daily}],
    }
    reply = ask(harness, "start/erp", **{selector: wanted[selector]})
    assert [one["taskId"] for one in reply["tasksDenied"]] == [other]
    harness.until(lambda: daily in harness.site.posts)
    assert harness.site.posts == [daily]


@pytest.mark.parametrize("door", ["mqtt", "rest"])
def test_a_sender_without_a_task_it_may_start_is_refused_at_either_door(harness: Harness, door: str) -> None:
    other = harness.site.add("Stock")
    if door == "mqtt":
        reply = ask(harness, "start/erp", taskId=other)
    else:
        reply = call(harness, {"taskId": other}, principal="erp-token")
    assert reply["code"] == "all_denied"
    # startTaskFilter is off and so is not named: nobody is to look there.
    assert reply["details"].startswith("allowTask of the sender erp allows none")
    assert harness.site.posts == []
    assert ask(harness, "start/crm", taskId=other)["status"] == "ok"


def test_both_gates_have_to_let_a_task_through(make_harness: MakeHarness) -> None:
    both = StartTaskFilter(enable=True, tags=("weekly",))
    harness = make_harness(settings_of(ERP, CRM, start_task_filter=both))
    daily = harness.site.add("Sales", tags=("daily",))
    shared = harness.site.add("Stock", tags=("daily", "weekly"))
    weekly = harness.site.add("Staff", tags=("weekly",))
    reply = ask(harness, "start/erp", taskId=[daily, shared, weekly])
    assert [one["taskId"] for one in reply["tasksStarted"]] == [shared]
    assert ask(harness, "start/crm", taskId=daily)["code"] == "all_denied"


# ---- gates that change while a request waits


def waits(harness: Harness, how: str) -> str:
    """Let a request of erp wait for something, and return its task."""
    task = harness.site.add("Sales", tags=("daily",))
    if how == "running":
        harness.site.begin(task)
        reply = ask(harness, "start/erp", requestId="r", taskId=task)
    elif how == "notBefore":
        soon = stamp_ms(now_ms() + 300)
        reply = ask(harness, "start/erp", requestId="r", taskId=task, notBefore=soon)
    else:
        first = harness.site.add("Stock", tags=("daily",))
        reply = ask(harness, "start/erp", requestId="r", stages=[{"taskId": first}, {"taskId": task}])
        harness.until(lambda: harness.site.running(first))
    assert [one["reason"] for one in reply["tasksQueued"]] == [how]
    return task


def let_go(harness: Harness) -> None:
    """End what runs, and step until nothing waits any more."""

    def over() -> bool:
        for task_id in harness.site.tasks:
            if harness.site.running(task_id):
                harness.site.end(task_id)
        return not {"planned", "waiting", "running"} & set(states(harness))

    harness.until(over)


@pytest.mark.parametrize("change", ["reload", "restart"])
@pytest.mark.parametrize("how", ["running", "notBefore", "stage"])
def test_what_waits_when_a_gate_is_tightened_is_judged_again_before_it_starts(
    harness: Harness, how: str, change: str
) -> None:
    task = waits(harness, how)
    posts = list(harness.site.posts)
    tightened = replace(harness.settings, senders=(replace(ERP, allow_task=NOTHING), CRM))
    if change == "reload":
        reconfigure(harness, tightened)
    else:
        harness.settings = tightened
        harness.restart()
    let_go(harness)
    assert harness.site.posts == posts
    harness.quiet()
    [event] = [one for one in task_events(harness) if one["taskId"] == task and one["event"] == "failed"]
    assert event["code"] == "all_denied"
    assert states(harness)[-1] == "denied"


@pytest.mark.parametrize("how", ["running", "notBefore", "stage"])
def test_a_task_that_lost_its_tag_while_a_start_of_it_waited_is_not_started(
    make_harness: MakeHarness, how: str
) -> None:
    timings = replace(SHORT_QLIK, cache_age=0.1, renewal_age=0.1)
    harness = make_harness(settings_of(ERP), qlik_timings=timings)
    task = waits(harness, how)
    posts = list(harness.site.posts)
    harness.site.change(task, tags=("retired",))
    judged_at = time.monotonic()
    harness.until(lambda: time.monotonic() > judged_at + 0.1)
    let_go(harness)
    assert harness.site.posts == posts
    assert states(harness)[-1] == "denied"


def task_events(harness: Harness) -> list[dict[str, Any]]:
    found = [json.loads(one.payload) for one in harness.broker.events]
    return [one for one in found if "taskId" in one]


@pytest.mark.parametrize("change", ["reload", "restart"])
@pytest.mark.parametrize("how", ["running", "notBefore", "stage"])
def test_what_waits_when_the_configuration_changes_and_may_start_still_does(
    harness: Harness, how: str, change: str
) -> None:
    task = waits(harness, how)
    changed = replace(harness.settings, senders=(ERP, replace(CRM, allow_task=NOTHING)))
    if change == "reload":
        reconfigure(harness, changed)
    else:
        harness.settings = changed
        harness.restart()
    let_go(harness)
    assert task in harness.site.posts
    assert states(harness)[-1] == "succeeded"


def test_a_sender_that_is_removed_starts_nothing_of_what_waits(harness: Harness) -> None:
    waits(harness, "running")
    reconfigure(harness, replace(harness.settings, senders=(CRM,)))
    let_go(harness)
    assert harness.site.posts == []


def test_a_start_that_shares_a_run_with_one_that_is_denied_begins(harness: Harness) -> None:
    task = harness.site.add("Sales", tags=("daily",))
    harness.site.begin(task)
    ask(harness, "start/erp", taskId=task)
    ask(harness, "start/crm", taskId=task)
    reconfigure(harness, replace(harness.settings, senders=(replace(ERP, allow_task=NOTHING), CRM)))
    let_go(harness)
    assert harness.site.posts == [task]
    assert states(harness) == ["denied", "succeeded"]


@pytest.mark.parametrize(
    "fault", [QlikUnavailable("connection refused"), cut_before_effect], ids=["unreachable", "in doubt"]
)
def test_a_start_that_is_posted_again_is_judged_again(harness: Harness, fault: Any) -> None:
    task = harness.site.add("Sales", tags=("daily",))
    harness.site.script.append(fault)
    publish(harness, "start/erp", requestId="r", taskId=task)
    harness.until(lambda: not harness.site.script)
    reconfigure(harness, replace(harness.settings, senders=(replace(ERP, allow_task=NOTHING), CRM)))
    harness.site.pass_time(10)
    [reply] = harness.replied()
    assert [one["taskId"] for one in reply["tasksDenied"]] == [task]
    assert reply["status"] == "failed"
    assert harness.site.posts == []
    # The task is free for the next.
    assert ask(harness, "start/crm", taskId=task)["status"] == "ok"


def test_a_request_that_is_not_decided_yet_is_judged_by_the_new_gate(harness: Harness) -> None:
    task = harness.site.add("Sales", tags=("daily",))
    publish(harness, "start/erp", taskId=task)
    harness.turn()
    reconfigure(harness, replace(harness.settings, senders=(replace(ERP, allow_task=NOTHING), CRM)))
    [reply] = harness.replied()
    assert reply["code"] == "all_denied"


# ---- who may do what


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        ({"dryRun": True}, ("dryRun",)),
        ({}, ("start",)),
        ({"parameters": {"orders": {"company": "7"}}}, ("start", "parameters")),
    ],
    ids=["dry run", "start", "parameters"],
)
def test_what_a_sender_may_not_do_is_forbidden(
    make_harness: MakeHarness, body: dict[str, Any], allowed: tuple[str, ...]
) -> None:
    store = KeyValueStoreSettings(enable=True)
    harness = make_harness(
        settings_of(
            Sender("all", "start/all", may=allowed),
            *(Sender(f"no-{one}", f"start/no-{one}", may=tuple({*allowed} - {one})) for one in allowed),
            key_value_store=store,
        )
    )
    task = harness.site.add("Sales")
    for one in allowed:
        reply = ask(harness, f"start/no-{one}", requestId="r", taskId=task, **body)
        assert reply["code"] == "forbidden"
        assert one in reply["details"]
    assert harness.rows(tables.parameters) == []
    # Nothing was recorded under the id.
    assert ask(harness, "start/all", requestId="r", taskId=task, **body)["status"] == "ok"


def test_unknown_senders_are_refused_where_that_is_configured(make_harness: MakeHarness) -> None:
    harness = make_harness(settings_of(ERP, unknown_senders="deny"))
    task = harness.site.add("Sales", tags=("daily",))
    assert ask(harness, "qliksense/task/start", requestId="r", taskId=task)["code"] == "forbidden"
    assert ask(harness, "qliksense/task/start", nonsense=1)["code"] == "forbidden"
    assert call(harness, {"taskId": task}, principal="other")["code"] == "forbidden"
    assert harness.site.posts == []
    assert ask(harness, "start/erp", requestId="r", taskId=task)["status"] == "ok"


def test_a_reader_starts_and_cancels_nothing(make_harness: MakeHarness) -> None:
    harness = make_harness()
    task = harness.site.add("Sales")
    for body in ({"taskId": task}, {"taskId": task, "dryRun": True}, {"cancel": "r"}):
        assert call(harness, body, principal="eve", role="reader")["code"] == "forbidden"
    assert harness.site.posts == []


def test_an_operator_who_repeats_a_request_of_a_sender_passes_that_sender_s_gate(harness: Harness) -> None:
    other = harness.site.add("Stock")
    anna = {"principal": "anna", "role": "operator"}
    assert call(harness, {"taskId": other}, **anna, on_behalf_of="erp")["code"] == "all_denied"
    assert call(harness, {"taskId": other}, **anna)["status"] == "ok"
    assert identities(harness) == ["erp", "operator"]


# ---- ids and cancels of others


@pytest.mark.parametrize("same", [True, False], ids=["same content", "other content"])
def test_the_id_of_another_sender_s_request_is_a_conflict_without_details(
    harness: Harness, same: bool
) -> None:
    task, other = harness.site.add("Sales", tags=("daily",)), harness.site.add("Stock")
    assert ask(harness, "start/erp", requestId="r", taskId=task)["status"] == "ok"
    reply = ask(harness, "start/crm", requestId="r", taskId=task if same else other)
    assert reply["code"] == "request_id_conflict"
    assert "erp" not in str(reply)
    assert call(harness, {"requestId": "r", "taskId": task}, principal="crm-token")["code"] == reply["code"]
    assert harness.site.posts == [task]


def test_a_sender_that_sends_again_gets_its_reply_through_either_door(harness: Harness) -> None:
    task = harness.site.add("Sales", tags=("daily",))
    first = ask(harness, "start/erp", requestId="r", taskId=task)
    assert call(harness, {"requestId": "r", "taskId": task}, principal="erp-token") == first
    assert harness.site.posts == [task]


def test_a_request_from_before_there_were_senders_may_come_again(make_harness: MakeHarness) -> None:
    harness = make_harness()
    task = harness.site.add("Sales", tags=("daily",))
    first = harness.ask({"requestId": "r", "taskId": task})
    reconfigure(harness, settings_of(ERP, CRM))
    assert ask(harness, "start/erp", requestId="r", taskId=task) == first
    assert harness.site.posts == [task]


@pytest.mark.parametrize("by", ["start/crm", "qliksense/task/start"])
def test_another_sender_s_request_cannot_be_cancelled_and_is_not_known(harness: Harness, by: str) -> None:
    waits(harness, "running")
    missing = ask(harness, by, cancel="none-such")
    reply = ask(harness, by, cancel="r")
    assert reply["code"] == missing["code"] == "unknown_request"
    assert reply["details"] == missing["details"].replace("none-such", "r")
    assert states(harness) == ["waiting"]


def test_a_request_is_cancelled_by_its_own_sender_and_by_an_operator(harness: Harness) -> None:
    waits(harness, "running")
    assert call(harness, {"cancel": "r"}, principal="erp-token")["status"] == "ok"
    assert states(harness) == ["cancelled"]
    task = next(iter(harness.site.tasks))
    ask(harness, "start/erp", requestId="s", taskId=task)
    reply = call(harness, {"cancel": "s"}, principal="anna", role="operator")
    assert [one["taskId"] for one in reply["tasksCancelled"]] == [task]


@pytest.mark.parametrize(
    ("asker", "named"),
    [({"principal": "erp-token"}, []), ({"principal": "anna", "role": "operator"}, ["theirs"])],
    ids=["sender", "operator"],
)
def test_a_cancel_names_requests_of_other_senders_to_operators_alone(
    make_harness: MakeHarness, asker: dict[str, Any], named: list[str]
) -> None:
    harness = make_harness(settings_of(ERP, CRM, start_task=StartTask(allow_stop=True)))
    task = harness.site.add("Sales", tags=("daily",))
    harness.site.begin(task)
    ask(harness, "start/crm", requestId="theirs", taskId=task)
    ask(harness, "start/erp", requestId="ours", taskId=task)
    harness.site.end(task)
    harness.until(lambda: states(harness) == ["running", "running"])
    reply = call(harness, {"cancel": "ours", "stopRunning": True}, **asker)
    assert [one["sharedWith"] for one in reply["tasksRunning"]] == [named]
    assert harness.site.stops == []


def test_a_cancel_needs_the_right_to(make_harness: MakeHarness) -> None:
    harness = make_harness(settings_of(replace(ERP, may=("start",))))
    waits(harness, "running")
    assert ask(harness, "start/erp", cancel="r")["code"] == "forbidden"
    assert states(harness) == ["waiting"]


# ---- rates


LIMITED = replace(ERP, requests_per_minute=3)


def test_a_sender_has_so_many_requests_a_minute_through_both_doors_together(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(settings_of(LIMITED, CRM))
    task = harness.site.add("Sales", tags=("daily",))
    for number in range(3):
        assert ask(harness, "start/erp", requestId=f"r{number}", taskId=task)["status"] == "ok"
    reply = call(harness, {"requestId": "r3", "taskId": task}, principal="erp-token")
    assert reply["code"] == "rate_limited"
    assert 0 < reply["retryAfterSeconds"] <= 60
    assert ask(harness, "start/erp", requestId="r3", taskId=task)["code"] == "rate_limited"
    # One that is known is not a new one, and others have their own.
    assert ask(harness, "start/erp", requestId="r1", taskId=task)["status"] == "ok"
    assert ask(harness, "start/crm", taskId=task)["status"] == "ok"


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_the_last_minute_is_counted_by_the_journal(make_harness: MakeHarness, how: str) -> None:
    harness = make_harness(settings_of(LIMITED, CRM))
    task = harness.site.add("Sales", tags=("daily",))
    for number in range(3):
        ask(harness, "start/erp", requestId=f"r{number}", taskId=task)
    if how == "restart":
        harness.restart()
    else:
        reconfigure(harness, settings_of(LIMITED, CRM, unknown_senders="deny"))
    assert ask(harness, "start/erp", requestId="r3", taskId=task)["code"] == "rate_limited"
    reconfigure(harness, settings_of(replace(LIMITED, requests_per_minute=4), CRM))
    assert ask(harness, "start/erp", requestId="r3", taskId=task)["status"] == "ok"
    assert ask(harness, "start/erp", requestId="r4", taskId=task)["code"] == "rate_limited"


def test_a_minute_later_the_next_request_is_taken(make_harness: MakeHarness) -> None:
    harness = make_harness(settings_of(replace(LIMITED, requests_per_minute=1)))
    task = harness.site.add("Sales", tags=("daily",))

    def arrive(request_id: str, at: int) -> dict[str, Any]:
        before = len(harness.replies())
        message = harness.message({"requestId": request_id, "taskId": task})._replace(topic="start/erp")
        harness.pipeline.emit(Arrival("mqtt", message.payload, at, message))
        return harness.replied(before + 1)[-1]

    now = now_ms()
    assert arrive("a", now - 59_000)["status"] == "ok"
    assert arrive("b", now)["retryAfterSeconds"] == 1
    assert arrive("b", now + 1_000)["status"] == "ok"


def test_malformed_requests_count_too(make_harness: MakeHarness) -> None:
    harness = make_harness(settings_of(LIMITED))
    codes = [ask(harness, "start/erp", nonsense=1)["code"] for _ in range(4)]
    assert codes == ["invalid_request"] * 3 + ["rate_limited"]


def test_no_reply_goes_to_a_topic_of_a_sender(harness: Harness) -> None:
    task = harness.site.add("Sales", tags=("daily",))
    ask(harness, "start/erp", taskId=task, replyTopic="start/crm")
    assert harness.broker.published[-1].topic == harness.settings.mqtt.task_start_reply_topic


def test_senders_cost_a_start_no_further_reading_of_its_task(make_harness: MakeHarness) -> None:
    harness = make_harness(settings_of(ERP, start_task=StartTask()))
    task = harness.site.add("Sales", tags=("daily",))
    ask(harness, "start/erp", taskId=task)
    assert len(harness.site.asked) == 1


def test_a_clock_that_is_set_back_locks_no_sender_out(make_harness: MakeHarness) -> None:
    harness = make_harness(settings_of(replace(LIMITED, requests_per_minute=1)))
    task = harness.site.add("Sales", tags=("daily",))
    codes: list[str | None] = []
    now = now_ms()
    for number, at in enumerate((now + 3_600_000, now, now + 1_000)):
        message = harness.message({"requestId": f"r{number}", "taskId": task})._replace(topic="start/erp")
        harness.pipeline.emit(Arrival("mqtt", message.payload, at, message))
        codes.append(harness.replied(number + 1)[-1].get("code"))
    assert codes == [None, None, "rate_limited"]

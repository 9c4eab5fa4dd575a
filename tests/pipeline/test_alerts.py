"""Alerts about requests, written with what they tell and sent through Apprise to a real web server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import Reconfigured
from butler_mqtt.errors import OutcomeUnknown, QlikUnavailable
from butler_mqtt.journal import held_requests, tables
from butler_mqtt.settings import AlertSettings, AlertTarget, Settings, StartTask
from tests.brokers import free_port, until
from tests.integration.alerting.targets import Webhook, webhook
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_LOOP, Harness
from tests.pipeline.rule_fixtures import MakeRules
from tests.pipeline.rule_harness import rule
from tests.pipeline.site_double import Crash

QUICK = replace(SHORT_LOOP, alerts=AlertTimings(first_pause=0.01, most_pause=0.05))


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as served:
        yield served


def alerting(url: str, **target: object) -> Settings:
    """Give settings with one target, without grouping unless asked for."""
    given = {"min_interval_seconds": 0.0, **target}
    return Settings(alerts=AlertSettings(True, (AlertTarget("bi", url, **given),)))  # type: ignore[arg-type]


def run(harness: Harness, task: str, status: int, request_id: str) -> None:
    """Have a task started by a request and end with *status*."""
    harness.send({"requestId": request_id, "taskId": task, "sender": "erp"})
    harness.until(lambda: harness.site.running(task))
    harness.site.end(task, status)
    harness.until(
        lambda: all(row["state"] not in {"planned", "running"} for row in harness.rows(tables.starts))
    )


def test_a_failure_is_one_alert_and_so_is_the_success_after_it(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    harness = make_harness(alerting(hook.url), timings=QUICK)
    task = harness.site.add("Sales", app_name="Sales dashboard")
    run(harness, task, 8, "erp-1")
    run(harness, task, 8, "erp-2")
    run(harness, task, 7, "erp-3")
    run(harness, task, 7, "erp-4")
    harness.until(lambda: len(hook.came) == 3)
    assert hook.titles() == [
        "butler-mqtt: task Sales failed",
        "butler-mqtt: task Sales failed",
        "butler-mqtt: task Sales recovered",
    ]
    second = hook.came[1]["message"]
    assert f"Task: Sales ({task})" in second
    assert "App: Sales dashboard" in second
    assert "Requested by: erp-2 (erp, mqtt)" in second
    assert "In a row: 2nd failure since" in second
    assert "it succeeded after 2 failures since" in hook.came[2]["message"]
    harness.until(lambda: not harness.rows(tables.alerts))
    assert not harness.rows(tables.alert_conditions)


@pytest.mark.parametrize(
    ("status", "title"), [(6, "was aborted"), (9, "was skipped by Qlik Sense"), (12, "failed")]
)
def test_every_end_that_is_no_success_is_told(
    make_harness: MakeHarness, hook: Webhook, status: int, title: str
) -> None:
    harness = make_harness(alerting(hook.url), timings=QUICK)
    run(harness, harness.site.add("Sales"), status, "erp-1")
    harness.until(lambda: hook.came)
    assert hook.titles() == [f"butler-mqtt: task Sales {title}"]


def test_a_start_that_came_to_nothing_is_told_with_its_code(make_harness: MakeHarness, hook: Webhook) -> None:
    harness = make_harness(alerting(hook.url), timings=QUICK)
    harness.ask({"taskId": harness.site.add("Sales", enabled=False), "requestId": "erp-1"})
    harness.until(lambda: hook.came)
    assert hook.titles() == ["butler-mqtt: task Sales was not started"]
    assert "Reason: task_disabled: " in hook.came[0]["message"]


def test_an_outcome_that_nobody_can_tell_is_told(make_harness: MakeHarness, hook: Webhook) -> None:
    harness = make_harness(alerting(hook.url), timings=QUICK)
    task = harness.site.add("Replicate", task_type=3)
    harness.site.script.append(OutcomeUnknown("cut off"))
    harness.ask({"taskId": task, "requestId": "erp-1"})
    harness.until(lambda: hook.came)
    assert hook.titles() == ["butler-mqtt: task Replicate may have been started or not"]


def test_a_request_that_the_server_was_away_for_is_told(make_harness: MakeHarness, hook: Webhook) -> None:
    settings = replace(alerting(hook.url), start_task=StartTask(request_deadline_seconds=0.05))
    harness = make_harness(settings, timings=QUICK)
    harness.site.resolve_errors.extend(QlikUnavailable("no route") for _ in range(1000))
    harness.ask({"tag": "daily", "requestId": "erp-1"})
    harness.until(lambda: hook.came)
    assert hook.titles() == ["butler-mqtt: a request was refused: qrs_unavailable"]


def test_only_what_a_target_asked_for_reaches_it(make_harness: MakeHarness, hook: Webhook) -> None:
    settings = alerting(hook.url, on=("executionFailed",), tags=("finance",))
    harness = make_harness(settings, timings=QUICK)
    other, asked = harness.site.add("Other"), harness.site.add("Asked", tags=("Finance",))
    run(harness, other, 8, "erp-1")
    run(harness, asked, 6, "erp-2")
    run(harness, asked, 8, "erp-3")
    harness.until(lambda: hook.came and not harness.rows(tables.alerts))
    assert hook.titles() == ["butler-mqtt: task Asked failed"]


def test_the_tags_of_a_task_are_known_after_a_restart_in_between(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    harness = make_harness(alerting(hook.url, tags=("finance",)), timings=QUICK)
    task = harness.site.add("Sales", tags=("finance",), app_name="Dashboard")
    harness.send({"requestId": "erp-1", "taskId": task})
    harness.until(lambda: harness.site.running(task))
    harness.restart()
    harness.site.end(task, 8)
    harness.until(lambda: hook.came)
    assert "App: Dashboard" in hook.came[0]["message"]


def test_the_script_log_is_told_to_who_asked_for_it(make_harness: MakeHarness, hook: Webhook) -> None:
    with webhook() as plain:
        settings = alerting(hook.url, script_log=True)
        other = AlertTarget("other", plain.url)
        alerts = replace(settings.alerts, targets=(*settings.alerts.targets, other))
        harness = make_harness(replace(settings, alerts=alerts), timings=QUICK)
        harness.site.log_lines = ["LOAD *", "Error: no such file"]
        run(harness, harness.site.add("Sales"), 8, "erp-1")
        harness.until(lambda: hook.came and plain.came)
        assert "  Error: no such file" in hook.came[0]["message"]
        assert "no such file" not in plain.came[0]["message"]


def test_what_comes_within_the_interval_goes_as_one_alert_at_its_end(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    harness = make_harness(alerting(hook.url, min_interval_seconds=1.0), timings=QUICK)
    task = harness.site.add("Sales")
    run(harness, task, 8, "erp-1")
    harness.until(lambda: hook.came)
    for number in range(3):
        run(harness, task, 8, f"erp-{2 + number}")
    assert len(hook.came) == 1
    harness.until(lambda: len(hook.came) == 2)
    assert hook.titles()[1] == "butler-mqtt: task Sales failed (3 times)"
    assert "In a row: 4th failure" in hook.came[1]["message"]


def test_of_a_turn_that_did_not_get_on_disk_nothing_is_sent(make_harness: MakeHarness, hook: Webhook) -> None:
    harness = make_harness(alerting(hook.url), timings=QUICK)
    harness.send({"requestId": "erp-1", "taskId": harness.site.add("Sales", enabled=False)})
    for act in (harness.turn, harness.find, harness.turn, harness.post):
        act()
    harness.journal.fail("before", Crash())
    with pytest.raises(Crash):
        harness.turn()
    harness.restart()
    harness.until(lambda: hook.came and not harness.rows(tables.alerts))
    assert len(hook.came) == 1


def test_killed_before_it_is_sent_it_is_sent_once_after_the_restart(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    harness = make_harness(alerting(f"json://127.0.0.1:{free_port()}/"), timings=QUICK)
    run(harness, harness.site.add("Sales"), 8, "erp-1")
    harness.crash()
    harness.settings = alerting(hook.url)
    harness.start()
    harness.until(lambda: not harness.rows(tables.alerts))
    assert hook.titles() == ["butler-mqtt: task Sales failed"]
    assert len(harness.rows(tables.alert_conditions)) == 1


def test_killed_between_sending_and_its_record_it_is_sent_again(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    harness = make_harness(alerting(hook.url), timings=QUICK)
    hook.gate.clear()
    run(harness, harness.site.add("Sales"), 8, "erp-1")
    harness.until(lambda: hook.calls)
    hook.gate.set()
    until(lambda: hook.came)
    harness.restart()
    harness.until(lambda: not harness.rows(tables.alerts))
    assert len(hook.came) == 2


def test_what_a_target_does_not_take_is_set_aside_with_its_reason(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    hook.status = 404
    harness = make_harness(alerting(hook.url), timings=QUICK)
    run(harness, harness.site.add("Sales"), 8, "erp-1")
    harness.until(lambda: [row for row in harness.rows(tables.alerts) if row["quarantined_at"]])
    (row,) = harness.rows(tables.alerts)
    assert "error=404" in row["reason"]
    assert "s3cret" not in row["reason"]
    assert row["attempts"] == hook.calls
    assert "error=404" in harness.pipeline.turns.alerts.faults()["bi"]


def test_a_target_that_comes_back_gets_what_waited_and_is_healthy_again(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    hook.status = 503
    harness = make_harness(alerting(hook.url), timings=QUICK)
    run(harness, harness.site.add("Sales"), 8, "erp-1")
    harness.until(lambda: hook.calls >= 2)
    hook.status = 200
    harness.until(lambda: hook.came and not harness.rows(tables.alerts))
    assert harness.pipeline.turns.alerts.faults() == {}


def test_a_target_that_never_answers_holds_up_neither_starts_nor_other_targets(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    with webhook() as silent:
        silent.gate.clear()
        settings = alerting(hook.url)
        slow = AlertTarget("slow", f"{silent.url}?rto=30", min_interval_seconds=0.0)
        alerts = replace(settings.alerts, targets=(slow, *settings.alerts.targets))
        harness = make_harness(replace(settings, alerts=alerts), timings=QUICK)
        task = harness.site.add("Sales")
        for number in range(5):
            run(harness, task, 8, f"erp-{number}")
        harness.until(lambda: len(hook.came) == 5)
        assert silent.calls == 1
        (waiting, _sending) = [row for row in harness.rows(tables.alerts) if row["target"] == "slow"]
        assert waiting["sent_at"] is None


def test_targets_that_change_in_the_turn_of_a_failure_lose_nothing_of_it(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    settings = alerting(hook.url)
    harness = make_harness(settings, timings=QUICK)
    task = harness.site.add("Sales")
    harness.send({"requestId": "erp-1", "taskId": task})
    harness.until(lambda: harness.site.running(task))
    harness.site.end(task, 8)
    more = (*settings.alerts.targets, AlertTarget("more", hook.url, on=()))
    both = (settings, replace(settings, alerts=AlertSettings(True, more)))
    for number in range(20):  # with each turn, so that it is that of the failure too
        harness.pipeline.emit(Reconfigured(both[number % 2]))
        harness.step()
    harness.until(lambda: hook.came and not harness.rows(tables.alerts))
    assert hook.titles() == ["butler-mqtt: task Sales failed"]


def test_what_waits_for_a_target_that_is_taken_away_is_set_aside(make_harness: MakeHarness) -> None:
    settings = alerting(f"json://127.0.0.1:{free_port()}/")
    harness = make_harness(settings, timings=QUICK)
    for name in ("Sales", "Orders"):
        run(harness, harness.site.add(name), 8, f"erp-{name}")
    other = AlertSettings(True, (AlertTarget("other", "json://127.0.0.1:9/"),))
    harness.pipeline.emit(Reconfigured(replace(settings, alerts=other)))
    harness.until(lambda: all(row["quarantined_at"] for row in harness.rows(tables.alerts)))
    assert {row["reason"] for row in harness.rows(tables.alerts)} == {"the target is not configured any more"}


def test_alerts_that_are_switched_on_again_go_on(make_harness: MakeHarness, hook: Webhook) -> None:
    settings = alerting(f"json://127.0.0.1:{free_port()}/")
    harness = make_harness(settings, timings=QUICK)
    run(harness, harness.site.add("Sales"), 8, "erp-1")
    harness.pipeline.emit(Reconfigured(Settings()))
    harness.step()
    assert [row["quarantined_at"] for row in harness.rows(tables.alerts)] == [None]
    harness.pipeline.emit(Reconfigured(alerting(hook.url)))
    harness.until(lambda: not harness.rows(tables.alerts))
    assert hook.titles() == ["butler-mqtt: task Sales failed"]


def test_while_alerts_are_off_nothing_is_written(harness: Harness) -> None:
    run(harness, harness.site.add("Sales"), 8, "erp-1")
    for table in (tables.alerts, tables.alert_conditions, tables.alert_tasks):
        assert harness.rows(table) == []


def test_a_dead_letter_is_told(make_harness: MakeHarness, hook: Webhook) -> None:
    harness = make_harness(alerting(hook.url, on=("replyUndeliverable",)), timings=QUICK)
    harness.ask({"requestId": "erp-1", "taskId": harness.site.add("Sales")})
    harness.broker.refuse(harness.broker.published[-1].id, final=True)
    harness.until(lambda: hook.came)
    assert hook.titles() == ["butler-mqtt: a reply for qliksense/task/start/reply cannot be delivered"]
    assert "Requested by: erp-1" in hook.came[0]["message"]


def test_a_message_that_a_rule_cannot_make_a_request_of_is_told_with_the_rule(
    make_rules: MakeRules, hook: Webhook
) -> None:
    harness = make_rules(rule(payload="json"), alerts=alerting(hook.url, on=("ruleFailed",)).alerts)
    harness.published("erp/orders", b"no JSON")
    harness.until(lambda: hook.came)
    assert hook.titles() == ["butler-mqtt: a message could not be made a request (rule orders)"]


def test_what_was_not_sent_when_a_backup_was_made_is_set_aside_in_it(
    make_harness: MakeHarness, hook: Webhook
) -> None:
    harness = make_harness(alerting(f"json://127.0.0.1:{free_port()}/"), timings=QUICK)
    run(harness, harness.site.add("Sales"), 8, "erp-1")
    harness.crash()
    with harness.journal_file() as copy:
        held_requests.hold(copy, now_ms())
    harness.settings = alerting(hook.url)
    harness.start()
    run(harness, harness.site.add("Orders"), 8, "erp-2")
    harness.until(lambda: hook.came)
    assert hook.titles() == ["butler-mqtt: task Orders failed"]
    assert [row["reason"] for row in harness.rows(tables.alerts) if row["quarantined_at"] is not None] == [
        "a backup was restored: it may have been sent already"
    ]

"""An event that a fault of ours keeps from being applied is dropped; what it would have told comes again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from butler_mqtt.domain.completions import (
    AlertSent,
    PublicationsLost,
    PublisherReady,
    RuleSessionBegan,
    SessionBegan,
)
from butler_mqtt.domain.model import Selector, Task
from butler_mqtt.errors import QlikRefused
from butler_mqtt.journal import tables
from butler_mqtt.settings import AlertSettings, AlertTarget, MqttSettings, Sender, Settings
from tests.brokers import until
from tests.integration.alerting.targets import webhook
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_LOOP, Harness
from tests.pipeline.rule_fixtures import MakeRules
from tests.pipeline.site_double import Site, cut_after_effect


def drop_what_is_queued(harness: Harness) -> None:
    """Let the turn with the one event of the queue fail, and fail again when it is repeated."""
    fault = RuntimeError("a fault of ours")
    harness.journal.fail("start", fault)
    harness.journal.faults.extend([None, None])  # what is open is read again, in two transactions
    harness.journal.fail("start", fault)
    harness.turn()
    assert not harness.journal.faults


def dropped(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("dropped")]


def test_executions_are_polled_on(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    harness.until(lambda: harness.pipeline.dispatcher.tracker.polling)
    harness.until(lambda: not harness.pipeline.dispatcher.tracker.polling)
    while not harness.pipeline.dispatcher.tracker.polling:
        harness.turn()
    harness.follow()
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: ExecutionsPolled"]
    harness.site.end(task)
    harness.until(lambda: harness.rows(tables.runs)[0]["state"] == "ended")


def test_tasks_are_resolved_on(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    task = harness.site.add("Sales")
    harness.send({"taskId": task})
    harness.turn()
    harness.turn()
    harness.find()
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: Resolved"]
    assert harness.replied()[0]["totalTasksStarted"] == 1


def test_a_start_is_reconciled(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    task = harness.site.add("Sales")
    harness.send({"taskId": task})
    harness.turn()
    harness.find()
    harness.turn()
    harness.post()
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: Posted"]
    assert harness.replied()[0]["tasksStarted"][0]["adopted"] is True
    assert harness.site.posts == [task]


def test_a_run_in_doubt_is_polled_on(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    task = harness.site.add("Sales")
    harness.send({"taskId": task})
    harness.turn()
    harness.find()
    harness.turn()
    harness.site.script.append(cut_after_effect)
    harness.post()
    harness.turn()
    harness.snapshot()
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: Polled"]
    assert harness.replied()[0]["tasksStarted"][0]["adopted"] is True


def test_a_message_is_published_again(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    harness.ask({"tag": "none"})
    harness.broker.confirm()
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: PublicationConfirmed"]
    harness.replied(2)
    harness.broker.confirm()
    harness.until(lambda: not harness.rows(tables.outbox))


def test_what_the_broker_delivers_again_is_recognised(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    message = harness.send({"tag": "none"})
    harness.replied()
    harness.turn()
    harness.generation += 1
    harness.pipeline.emit(SessionBegan(harness.generation, present=True))
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: SessionBegan"]
    harness.deliver(message._replace(dup=True))
    harness.turn()
    assert len(harness.rows(tables.deliveries)) == 1


def test_a_message_that_the_broker_refused_is_published_again(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.ask({"tag": "none"})
    harness.broker.refuse(harness.broker.published[0].id)
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: PublicationRefused"]
    harness.replied(2)


def test_what_was_in_flight_when_the_connection_ended_is_published_again(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.ask({"tag": "none"})
    harness.pipeline.emit(PublicationsLost(tuple(harness.broker.in_flight)))
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: PublicationsLost"]
    harness.replied(2)


def test_a_suspected_message_is_sent_alone_although_it_was_not_told_of_the_connection(
    make_harness: MakeHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_harness(timings=replace(SHORT_LOOP, quiet_seconds=0.01))
    harness.ask({"tag": "none"})
    for replies in (1, 2):
        harness.replied(replies)
        harness.pipeline.emit(PublicationsLost(tuple(harness.broker.in_flight), "connection closed"))
        harness.turn()
    harness.until(lambda: harness.rows(tables.outbox)[0]["reason"])
    harness.pipeline.emit(PublisherReady())
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: PublisherReady"]
    harness.replied(3)


def test_an_alert_is_sent_again(make_harness: MakeHarness, caplog: pytest.LogCaptureFixture) -> None:
    with webhook() as hook:
        hook.gate.clear()
        target = AlertTarget("bi", hook.url, min_interval_seconds=0.0)
        harness = make_harness(Settings(alerts=AlertSettings(True, (target,))))
        harness.ask({"taskId": harness.site.add("Sales", enabled=False)})
        until(lambda: hook.calls == 1)
        harness.turn()
        harness.pipeline.emit(AlertSent("bi", harness.rows(tables.alerts)[0]["id"]))
        drop_what_is_queued(harness)
        assert dropped(caplog) == ["dropped after a fault: AlertSent"]
        # It is with the thread of its target once more, behind the one that is being sent.
        harness.step()
        harness.step()
        hook.gate.set()
        until(lambda: hook.calls == 2)


def test_a_message_for_rules_that_the_broker_delivers_again_is_recognised(
    make_rules: MakeRules, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_rules()
    message = harness.published("erp/orders", "closed", 7)
    harness.replied()
    harness.turn()
    harness.generation += 1
    harness.pipeline.emit(RuleSessionBegan(harness.generation, present=True))
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: RuleSessionBegan"]
    harness.bring_again(message)
    harness.turn()
    assert len(harness.rows(tables.requests)) == 1


def test_one_that_is_refused_so_counts_for_the_limit_of_its_sender(make_harness: MakeHarness) -> None:
    erp = Sender("erp", "start/erp", requests_per_minute=2)
    harness = make_harness(Settings(senders=(erp,), mqtt=MqttSettings(sender_topics=("start/erp",))))
    harness.turn()
    for number in range(3):
        harness.deliver(harness.message({"tag": "none"})._replace(topic="start/erp"))
        if not number:
            drop_what_is_queued(harness)
        harness.replied(number + 1)
    assert [one.get("code") for one in harness.replies()] == ["internal_error", None, "rate_limited"]


def test_a_request_is_refused_acknowledged_and_answered(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.turn()
    harness.send({"tag": "none"})
    drop_what_is_queued(harness)
    assert dropped(caplog) == ["dropped after a fault: Arrival"]
    assert harness.broker.acknowledged == [(1, harness.generation)]
    assert harness.replied()[0]["code"] == "internal_error"


# ---- turns that are repeated, and succeed then


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_fault_about_a_commit_starts_nothing_twice(harness: Harness, where: str, turns: int) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.turn()
    harness.send({"taskId": task})
    for _ in range(turns):
        harness.step()
    harness.journal.fail(where, RuntimeError("a fault of ours"))
    harness.replied()
    harness.quiet()
    assert harness.site.posts == [task]
    assert len(harness.rows(tables.deliveries)) == len(harness.broker.acknowledged) == 1
    assert len(harness.replies()) == 1


# ---- requests that cannot be decided


class Forgetful(Site):
    """A server of whose answers one is missing."""

    def find(self, selectors: Sequence[Selector]) -> dict[Selector, tuple[Task, ...] | QlikRefused]:
        return {selector: one for selector, one in super().find(selectors).items() if selector.value != "bad"}


def bugs(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if getattr(record, "action", "") == "bug"]


def test_a_request_that_cannot_be_decided_is_refused_and_the_others_are_decided(
    make_harness: MakeHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_harness(site=Forgetful())
    task = harness.site.add("Sales")
    bodies: list[dict[str, object]] = [
        {"taskId": task},
        {"tag": "bad"},
        {"taskName": "Sales", "dryRun": True},
    ]
    for number, body in enumerate(bodies):
        harness.send({"requestId": f"r{number}", **body})
    replies = {reply["requestId"]: reply for reply in harness.replied(3)}
    assert replies["r1"]["code"] == "internal_error"
    assert [replies[one]["status"] for one in ("r0", "r2")] == ["ok", "ok"]
    assert bugs(caplog) == ["request r1 cannot be decided and is refused"]


def test_a_request_whose_decision_cannot_be_recorded_is_refused_and_the_others_are_decided(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    task, unprintable = harness.site.add("Sales"), harness.site.add("\ud800")
    bodies: list[dict[str, object]] = [
        {"taskId": task},
        {"taskId": unprintable, "dryRun": True},
        {"taskName": "Sales"},
    ]
    for number, body in enumerate(bodies):
        harness.send({"requestId": f"r{number}", **body})
    replies = {reply["requestId"]: reply for reply in harness.replied(3)}
    assert replies["r1"]["code"] == "internal_error"
    assert [replies[one]["status"] for one in ("r0", "r2")] == ["ok", "ok"]
    assert bugs(caplog)[0] == "request r1 cannot be decided and is refused"

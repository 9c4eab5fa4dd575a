"""A thread for each target: none holds up another one, and none ends."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from butler_mqtt.alerting.alert_sender import AlertSender, OutgoingAlert, TargetRefused
from butler_mqtt.domain.completions import AlertNotSent, AlertSent
from butler_mqtt.settings import AlertTarget

SECONDS = 10.0
BI, OPS = AlertTarget("bi", "json://bi"), AlertTarget("ops", "json://ops")


class Target:
    """Takes alerts, fails with what it has for one, and waits while it is closed."""

    def __init__(self) -> None:
        self.faults: dict[str, Exception] = {}
        self.open = threading.Event()
        self.open.set()

    def send(self, title: str, body: str, *, good: bool) -> None:
        del body, good
        assert self.open.wait(SECONDS)
        if title in self.faults:
            raise self.faults[title]


class Rig:
    """A sender with two targets."""

    def __init__(self) -> None:
        self.targets = {BI.url: Target(), OPS.url: Target()}
        self.events: SimpleQueue[AlertSent | AlertNotSent] = SimpleQueue()
        self.sender = AlertSender(self.events.put, self.targets.__getitem__)

    def send(self, target: AlertTarget, row: int, title: str = "title") -> None:
        self.sender.send(target, OutgoingAlert(row, title, "body", good=False))

    def event(self) -> AlertSent | AlertNotSent:
        return self.events.get(timeout=SECONDS)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_target_that_does_not_answer_holds_up_no_other(rig: Rig) -> None:
    rig.targets[BI.url].open.clear()
    rig.send(BI, 1)
    rig.send(OPS, 2)
    assert rig.event() == AlertSent("ops", 2)
    rig.targets[BI.url].open.set()
    assert rig.event() == AlertSent("bi", 1)


@pytest.mark.parametrize(
    ("fault", "event"),
    [
        (TargetRefused("404"), AlertNotSent("bi", 1, "404")),
        (TargetRefused("no such channel", final=True), AlertNotSent("bi", 1, "no such channel", final=True)),
        (ValueError("json://secret@bi"), AlertNotSent("bi", 1, "a fault: ValueError")),
    ],
    ids=["refused", "for good", "fault"],
)
def test_a_fault_is_reported_without_the_url_and_the_next_is_sent(
    rig: Rig, fault: Exception, event: AlertNotSent
) -> None:
    rig.targets[BI.url].faults["bad"] = fault
    rig.send(BI, 1, "bad")
    rig.send(BI, 2)
    assert [rig.event(), rig.event()] == [event, AlertSent("bi", 2)]


def test_a_target_that_cannot_be_made_is_tried_again_with_the_next(rig: Rig) -> None:
    made = rig.targets.pop(BI.url)
    rig.send(BI, 1)
    assert rig.event() == AlertNotSent("bi", 1, "a fault: KeyError")
    rig.targets[BI.url] = made
    rig.send(BI, 2)
    assert rig.event() == AlertSent("bi", 2)


def test_what_was_handed_over_before_a_target_went_is_still_sent(rig: Rig) -> None:
    rig.send(BI, 1)
    rig.send(BI, 2)
    rig.sender.keep([OPS])
    assert [rig.event(), rig.event()] == [AlertSent("bi", 1), AlertSent("bi", 2)]

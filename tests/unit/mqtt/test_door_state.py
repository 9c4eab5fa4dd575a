"""The state of the door is reported when it changes."""

from __future__ import annotations

from butler_mqtt.mqtt.door_state import DoorState, ReportedState


def test_each_change_is_reported_once() -> None:
    seen: list[DoorState] = []
    reported = ReportedState(seen.append)
    reported.become(DoorState.CONNECTING, "connection refused")
    reported.become(DoorState.READY, "subscribed")
    reported.become(DoorState.READY, "subscribed")
    reported.become(DoorState.REFUSED, "not authorized")
    assert seen == [DoorState.READY, DoorState.REFUSED]


def test_a_new_reason_counts_without_a_change() -> None:
    reported = ReportedState(lambda _state: None)
    assert (reported.state, reported.reason) == (DoorState.CONNECTING, "no answer yet")
    reported.become(DoorState.CONNECTING, "connection refused")
    assert (reported.state, reported.reason) == (DoorState.CONNECTING, "connection refused")


def test_nothing_follows_the_end() -> None:
    seen: list[DoorState] = []
    reported = ReportedState(seen.append)
    reported.become(DoorState.STOPPED, "stopped")
    reported.become(DoorState.CONNECTING, "lost")
    assert (reported.state, seen) == (DoorState.STOPPED, [DoorState.STOPPED])

"""Notifying the service manager, by its protocol."""

from __future__ import annotations

import os

import pytest

from butler_mqtt.daemon.systemd import Notify


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
    ids=["no watchdog", "any process", "this process", "another", "zero", "no number", "negative"],
)
def test_it_is_known_within_what_time_the_watchdog_is_to_be_fed(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert Notify({"NOTIFY_SOCKET": "/run/nowhere", **environ}).watchdog_seconds == seconds


def test_nobody_watches_without_a_socket_or_with_one_of_another_kind() -> None:
    for address in ("", "vsock:2:1234"):
        notify = Notify({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
        assert notify.watchdog_seconds is None
        notify.ready()


def test_a_manager_that_is_not_there_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    notify = Notify({"NOTIFY_SOCKET": "/nowhere/at/all"})
    for _ in range(3):
        notify.alive()
    assert [getattr(one, "action", "") for one in caplog.records] == ["notify_failed"]


def test_any_text_can_be_a_status() -> None:
    Notify({"NOTIFY_SOCKET": "/nowhere/at/all"}).status("journal \udcff cannot be opened")

"""Outages, the disk and certificates: one alert, and one when it is over, whatever is restarted between."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.alerting.conditions import Conditions
from butler_mqtt.alerting.neighbour_alerts import NeighbourAlerts, Neighbours
from tests.unit.alerting.conftest import Make
from tests.unit.alerting.turning import EACH, Turning

DAY = 86400.0


@dataclass
class Around:
    """What the neighbours show."""

    turning: Turning
    since: float | None = None
    reachable: bool = True
    obstacle: str | None = None
    has_room: bool = True

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin as after the start of a process."""
        turning = self.turning
        self.conditions = Conditions(turning.turn)
        self.alerts = NeighbourAlerts(
            turning.book,
            self.conditions,
            AlertTimings(),
            lambda: turning.now,
            lambda: round(1000 * turning.now),
        )
        self.alerts.neighbours = Neighbours(
            lambda: self.since, lambda: self.reachable, lambda: "sense:4242: refused", lambda: self.obstacle
        )
        turning.do(self.conditions.load)

    def restart(self) -> None:
        self.turning.crash()
        self.begin()

    def after(self, seconds: float) -> list[str]:
        """Let time pass, and return the titles of what the target then takes."""
        self.turning.now += seconds
        self.turning.do(lambda _: self.alerts.step(disk_has_room=self.has_room))
        return self.taken()

    def taken(self) -> list[str]:
        titles = []
        while self.turning.desk.given:
            titles.append(self.turning.take().title.removeprefix("butler-mqtt: "))
        return titles


@pytest.fixture
def around(make: Make) -> Around:
    return Around(make(EACH))


def test_the_qlik_server_is_alerted_after_a_minute_and_once_more_when_it_is_back(around: Around) -> None:
    assert around.after(0) == []
    around.since, around.reachable = around.turning.now, False
    assert around.after(59) == []
    assert around.after(1) == ["the Qlik server is not reached"]
    assert around.after(600) == []
    around.since, around.reachable = None, True
    assert around.after(1) == ["the Qlik server is reached again"]
    assert around.after(600) == []


def test_an_outage_that_outlives_the_process_is_told_once(around: Around) -> None:
    around.since, around.reachable = 0.0, False
    assert around.after(60) == ["the Qlik server is not reached"]
    around.restart()
    around.since = None  # not asked yet
    assert around.after(1) == []
    around.since = around.turning.now
    assert around.after(90) == []
    around.since, around.reachable = None, True
    assert around.after(1) == ["the Qlik server is reached again"]


def test_a_broker_that_comes_and_goes_within_a_minute_is_no_alert(around: Around) -> None:
    around.obstacle = "connecting"
    assert around.after(40) == []
    around.obstacle = None
    assert around.after(30) == []
    around.obstacle = "connecting"
    assert around.after(50) == []
    assert around.after(60) == ["no requests arrive from the broker"]
    around.obstacle = None
    assert around.after(1) == ["requests arrive from the broker again"]


def test_a_full_disk_is_told_at_once(around: Around) -> None:
    around.has_room = False
    assert around.after(0) == ["the disk of the journal is nearly full"]
    around.has_room = True
    assert around.after(1) == ["the disk of the journal has room again"]


def test_a_certificate_is_told_14_days_before_its_end_and_when_it_is_renewed(around: Around) -> None:
    def read(days: float) -> list[str]:
        around.turning.do(lambda _: around.alerts.certificates({"cert.clientCert": days * DAY}))
        return around.taken()

    assert read(15) == []
    assert read(13) == ["the certificate cert.clientCert expires in 13 d"]
    assert read(12) == []
    assert read(365) == ["the certificate cert.clientCert is renewed"]
    assert read(-1) == ["the certificate cert.clientCert has expired"]


def test_the_alert_says_since_when_and_why(around: Around) -> None:
    around.since, around.reachable = 0.0, False
    around.turning.now += 60
    around.turning.do(lambda _: around.alerts.step(disk_has_room=True))
    assert around.turning.take().body.splitlines() == [
        "When: 1970-01-01 00:01:00 UTC",
        "Reason: sense:4242: refused",
        "Since: 1970-01-01 00:00:00 UTC",
    ]

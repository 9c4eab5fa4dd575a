"""Watches the connection to the broker: ready, refused for too long, or taken over by another daemon."""

from __future__ import annotations

import logging
import time

from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.mqtt.door import Door
from butler_mqtt.mqtt.door_state import DoorState
from butler_mqtt.repeated_lines import RepeatedLines
from butler_mqtt.settings import MqttSettings

_log = logging.getLogger("butler_mqtt.daemon")


class BrokerWatch:
    """
    Decides when the state of the MQTT door ends the process.

    Args:
        door: The connection on which requests arrive.
        settings: Of the broker, for the texts.
        refused_seconds: For which the broker may refuse us.
    """

    def __init__(self, door: Door, settings: MqttSettings, refused_seconds: float) -> None:
        self._door = door
        self._settings = settings
        self._refused_seconds = refused_seconds
        self._refused_since: float | None = None
        self._was_ready = False
        self._ready_lines = RepeatedLines()

    @property
    def obstacle(self) -> str | None:
        """Return why no requests arrive, None while they can."""
        if self._door.ready:
            return None
        state = self._door.state.replace("_", " ")
        broker = f"{self._settings.broker_host}:{self._settings.broker_port}"
        return f"{state}, broker {broker}: {self._door.reason}"

    def check(self) -> ExitCode | None:
        """Read the state of the door and log a change; return the exit code if the process is to end."""
        door = self._door
        if door.ready and not self._was_ready:
            _log.log(
                self._ready_lines.level("ready"),
                "ready: requests are taken from %s on %s:%s",
                self._settings.task_start_topic,
                self._settings.broker_host,
                self._settings.broker_port,
                extra={"action": "ready"},
            )
        self._was_ready = door.ready
        if door.state is DoorState.GIVEN_UP:
            _log.critical("ending: %s", door.reason, extra={"action": "mqtt_given_up"})
            return ExitCode.CLIENT_ID_IN_USE
        if door.state is not DoorState.REFUSED:
            self._refused_since = None if door.ready else self._refused_since
            return None
        self._refused_since = self._refused_since or time.monotonic()
        if time.monotonic() - self._refused_since < self._refused_seconds:
            return None
        _log.critical(
            "ending: the broker has refused us for %.0f s: %s",
            self._refused_seconds,
            door.reason,
            extra={"action": "mqtt_refused"},
        )
        return ExitCode.UNAVAILABLE

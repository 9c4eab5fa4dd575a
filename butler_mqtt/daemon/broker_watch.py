"""Watches the connection to the broker: ready, refused for too long, or taken over by another daemon."""

from __future__ import annotations

import logging
import time

from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.mqtt.door import Door
from butler_mqtt.mqtt.door_state import DoorState
from butler_mqtt.repeated_lines import RepeatedLines
from butler_mqtt.settings import Settings

#: Topics named in the line that says that requests are taken.
MOST_TOPICS = 5

_log = logging.getLogger("butler_mqtt.daemon")


class BrokerWatch:
    """
    Decides when the state of the MQTT door ends the process.

    Args:
        door: The connection on which requests arrive.
        settings: For the texts.
        refused_seconds: For which the broker may refuse us.
    """

    def __init__(self, door: Door, settings: Settings, refused_seconds: float) -> None:
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
        mqtt = self._settings.mqtt
        return f"{state}, broker {mqtt.broker_host}:{mqtt.broker_port}: {self._door.reason}"

    def reconfigured(self, settings: Settings) -> None:
        """Name what is configured now."""
        self._settings = settings

    def check(self) -> ExitCode | None:
        """Read the state of the door and log a change; return the exit code if the process is to end."""
        door = self._door
        if door.ready and not self._was_ready:
            _log.log(
                self._ready_lines.level("ready"),
                "ready: requests are taken from %s",
                taken_from(self._settings),
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


def taken_from(settings: Settings) -> str:
    """Return where requests arrive, and where the page is if it is on, for people."""
    mqtt, rest = settings.mqtt, settings.rest
    topics = list(mqtt.start_topics)
    if len(topics) > MOST_TOPICS:
        topics[MOST_TOPICS:] = [f"{len(topics) - MOST_TOPICS} more"]
    text = f"{', '.join(topics)} on {mqtt.broker_host}:{mqtt.broker_port}"
    if not (settings.web_page.enable and rest.enable):
        return text
    host = f"[{rest.server_host}]" if ":" in rest.server_host else rest.server_host
    own = f"{'https' if rest.tls.enable else 'http'}://{host}:{rest.server_port}"
    # As browsers have it, where there is a proxy or a name.
    return f"{text}; the page is at {next(iter(settings.web_page.origins), own)}/ui/"

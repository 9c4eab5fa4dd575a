"""
The daemon's status on `statusTopic`: birth, will, and recognising another daemon with our client id.

A broker gives a client id to whoever connected last, so two daemons close each
other's connection for ever. The one that was there first must see it and leave.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from paho.mqtt import client as paho
from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt import settings
from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.paho_client import login_name, named

logger = logging.getLogger("butler_mqtt.mqtt")

#: What a status says of the Qlik server (QRS).
REACHABLE, UNREACHABLE = "reachable", "unreachable"
#: Seconds between two status messages about the Qlik server at least, should it come and go.
QRS_SECONDS = 5.0

#: MQTT 5 reason code of a DISCONNECT.
SESSION_TAKEN_OVER = 0x8E


def new_instance() -> str:
    """Return a name for this process that no other process has, 32 hex digits."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Status:
    """
    One retained message on `statusTopic`; `status` is `online` or `offline`.

    `qrs` says whether the Qlik server answers, once it has not; None before
    that, and of a daemon that is offline.
    """

    status: str
    instance: str
    started_at: datetime
    version: str
    qrs: str | None = None

    def payload(self) -> bytes:
        """Return the JSON object as it is published."""
        # Microseconds, since the start times of two daemons decide which one is the newcomer.
        started = self.started_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        known = {} if self.qrs is None else {"qrs": self.qrs}
        return json.dumps(
            {
                "status": self.status,
                "instance": self.instance,
                "startedAt": started,
                "version": self.version,
                **known,
            }
        ).encode()


def parse(payload: bytes) -> Status | None:
    """Read a status message; None for anything that is not one."""
    try:
        value = json.loads(payload)
        started = datetime.fromisoformat(value["startedAt"])
        if started.tzinfo is None:
            return None
        # In UTC at once: an offset can lead beyond the calendar.
        started = started.astimezone(UTC)
        qrs = value.get("qrs")
        return Status(
            str(value["status"]),
            str(value["instance"]),
            started,
            str(value.get("version", "")),
            qrs if qrs in (REACHABLE, UNREACHABLE) else None,  # not a set: it may be a list
        )
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError):
        return None


class Presence:
    """
    What this daemon publishes on `statusTopic`, and what others publish there; for the network thread.

    Args:
        mqtt: The topic, and the user for the log.
        ours: Our status while online.
        qrs_unreachable: Whether the Qlik server does not answer.
        clock: Monotonic time in seconds.
    """

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        ours: Status,
        qrs_unreachable: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mqtt = mqtt
        self._qrs_unreachable = qrs_unreachable
        self._clock = clock
        #: What the last status message said of the Qlik server, and from when on the next may differ.
        self._said: str | None = None
        self._next_change = 0.0
        self._online = ours
        self._retain = True
        self._birth_id: int | None = None
        #: Whether the broker has acknowledged a birth of ours; a status found before is a predecessor's.
        self.born = False
        #: Whether this connection has birth, will and the subscription to `statusTopic`.
        self.shown = True

    def prepare(self, client: paho.Client, *, shown: bool) -> None:
        """Begin a connection, before CONNECT: with a will, if it is *shown*."""
        self.shown = shown
        self._birth_id = None
        if shown:
            offline = replace(self._online, status="offline").payload()
            client.will_set(self._mqtt.status_topic, offline, qos=1, retain=self._retain)

    def publish_birth(self, client: paho.Client) -> str:
        """Publish `online`; returns what was sent, for people."""
        self._birth_id = self._publish_online(client).mid
        return self._named()

    def refresh(self, client: paho.Client) -> str | None:
        """Publish what has changed about the Qlik server; returns what was sent, None when nothing was."""
        if self._qrs() == self._said or self._birth_id is None or self._clock() < self._next_change:
            return None
        self._next_change = self._clock() + QRS_SECONDS
        self._publish_online(client)
        return self._named()

    def _named(self) -> str:
        return f"the status{', retained,' if self._retain else ''} to {self._mqtt.status_topic}"

    def repeat(self, client: paho.Client) -> None:
        """Publish `online` again: the late will of a predecessor has replaced our retained birth."""
        self._publish_online(client)

    def publish_offline(self, client: paho.Client) -> paho.MQTTMessageInfo:
        """Publish `offline`, on any thread."""
        return self._publish(client, replace(self._online, status="offline"))

    def acknowledged(self, packet_id: int, reason: ReasonCode) -> None:
        """Record the PUBACK of a publication on this connection, if it is the birth's."""
        if packet_id != self._birth_id:
            return
        self.born = not reason.is_failure
        if reason.is_failure:
            logger.warning(
                "The broker refused our status on %s (%s): allow %s to write it",
                self._mqtt.status_topic,
                named(reason),
                login_name(self._mqtt),
                extra={"action": "mqtt_status_refused"},
            )

    def drop_retain(self) -> None:
        """Publish without the retain flag from now on, for a broker that keeps no retained messages."""
        if self._retain:
            self._retain = False
            logger.warning(
                "The broker keeps no retained messages: who subscribes to %s later will not see our status",
                self._mqtt.status_topic,
                extra={"action": "mqtt_limits"},
            )

    def is_foreign(self, status: Status) -> bool:
        """Return whether *status* was published by another process."""
        return status.instance != self._online.instance

    def evidence(self, status: Status, *, retained: bool) -> str | None:
        """
        Judge a status message that came after our own birth was acknowledged.

        A retained one counts when its daemon is newer than us, even if it says
        `offline`: that is the will of the newcomer, whose connection has just
        ended by ours. An older one is a predecessor's, shown again by a
        broker that lost its latest state. A live one counts when it says
        `online`; a late will of a predecessor does not.

        Returns:
            What shows that another daemon uses our client id; None if nothing does.
        """
        if not self.is_foreign(status):
            return None
        counts = status.started_at > self._online.started_at if retained else status.status == "online"
        return f"another daemon, instance {status.instance}, published its status" if counts else None

    def _publish_online(self, client: paho.Client) -> paho.MQTTMessageInfo:
        self._said = self._qrs()
        return self._publish(client, replace(self._online, qrs=self._said))

    def _qrs(self) -> str | None:
        if self._qrs_unreachable():
            return UNREACHABLE
        return None if self._said is None else REACHABLE

    def _publish(self, client: paho.Client, status: Status) -> paho.MQTTMessageInfo:
        return client.publish(self._mqtt.status_topic, status.payload(), qos=1, retain=self._retain)


def session_taken_over(ended: Ended) -> str | None:
    """
    Judge the end of a connection.

    Only the broker's own reason counts: it closes connections for many
    reasons without one (`hangups`).

    Returns:
        What shows that another daemon uses our client id; None if nothing does.
    """
    if ended.code == SESSION_TAKEN_OVER and ended.lasted is not None:
        return "the broker gave our session to another client"
    return None

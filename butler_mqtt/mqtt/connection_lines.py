"""What the log says of one client id's connections: each outage, refusal and reason once."""

from __future__ import annotations

import logging

from butler_mqtt import settings
from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.outages import Outages
from butler_mqtt.repeated_lines import RepeatedLines, end_of_outage

logger = logging.getLogger("butler_mqtt.mqtt")


class ConnectionLines:
    """
    Writes the lines.

    Args:
        mqtt: Names the broker.
        client_id: Whose connections they are about.
        keep_session: Whether the broker is asked to keep its session.
        outages: What other connections to the broker know of it.
    """

    def __init__(
        self, mqtt: settings.MqttSettings, client_id: str, outages: Outages, *, keep_session: bool
    ) -> None:
        #: The broker, for people.
        self.where = f"{mqtt.broker_host}:{mqtt.broker_port}"
        self._version = mqtt.protocol_version
        self._client_id = client_id
        self._outages = outages
        self._keep_session = keep_session
        self._last_refusal = ""
        self._lost_lines = RepeatedLines()
        #: Whether the end of the last connection was one of many, and so are the lines about the next.
        self.quiet = False

    def accepted(self, session_present: bool) -> None:
        """Log that the broker has accepted a connection; the end of an outage, as loudly as it was long."""
        gone = self._outages.reached()
        if gone is not None:
            self.quiet = False
        session = f", {'resumed' if session_present else 'new'} session" if self._keep_session else ""
        logger.log(
            (logging.DEBUG if self.quiet else logging.INFO) if gone is None else end_of_outage(gone),
            "Connected to %s as %s, MQTT %s%s%s",
            self.where,
            self._client_id,
            self._version,
            session,
            "" if gone is None else f"; the broker was not reached for {gone:.0f} s",
            extra={"action": "mqtt_connected"},
        )

    def ended(self, ended: Ended) -> None:
        """
        Log a refusal as an error once per reason, and a broker out of reach as a warning once.

        A connection that is lost again and again is a line a minute for each reason.
        """
        self.quiet = False
        again = ended.refused and ended.reason == self._last_refusal
        self._last_refusal = ended.reason if ended.refused else ""
        line = (
            "MQTT broker %s, client id %s: %s; trying again",
            self.where,
            self._client_id,
            ended.reason,
        )
        if ended.refused:
            logger.log(logging.DEBUG if again else logging.ERROR, *line, extra={"action": "mqtt_refused"})
        elif ended.lasted is None:
            logger.log(self._outages.unreachable(ended.reason), *line, extra={"action": "mqtt_unreachable"})
        else:
            self.quiet = self._lost_lines.level(ended.reason) == logging.DEBUG
            logger.log(logging.DEBUG if self.quiet else logging.INFO, *line, extra={"action": "mqtt_lost"})

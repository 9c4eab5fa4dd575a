"""The door's SUBSCRIBE and the broker's answer to it."""

from __future__ import annotations

import logging
import time

from paho.mqtt import client as paho
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from butler_mqtt import settings
from butler_mqtt.mqtt.paho_client import login_name, named

logger = logging.getLogger("butler_mqtt.mqtt")

#: A broker that takes longer to answer SUBSCRIBE is left and tried again.
SUBACK_SECONDS = 10.0


class RequestSubscription:
    """
    The subscription to `taskStartTopic` at QoS 1 and, beside it, to `statusTopic`.

    For the network thread.
    """

    def __init__(self, mqtt: settings.MqttSettings) -> None:
        self._mqtt = mqtt
        self._with_status = False
        self._until: float | None = None

    @property
    def overdue(self) -> bool:
        """Whether the broker has let the time for its answer pass."""
        return self._until is not None and time.monotonic() > self._until

    def send(self, client: paho.Client, *, with_status: bool) -> str:
        """
        Subscribe, whatever the session holds: it may be that of other settings.

        Returns:
            What was sent, for people.
        """
        task, status = self._mqtt.task_start_topic, self._mqtt.status_topic
        self._with_status = with_status
        self._until = time.monotonic() + SUBACK_SECONDS
        both = 2 if with_status else 1
        if self._mqtt.protocol_version != "5":
            client.subscribe([(task, 1), (status, 0)][:both])
        else:
            # Without No Local for the status: brokers apply it by client id, so it would hide the very
            # daemon that is to be recognised.
            wanted = [
                (task, SubscribeOptions(1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)),
                (status, SubscribeOptions(0, retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)),
            ]
            client.subscribe(wanted[:both])
        return f"SUBSCRIBE to {' and '.join((task, status)[:both])}"

    def end(self) -> None:
        """Wait for no answer any more."""
        self._until = None

    def refusal(self, reasons: list[ReasonCode], *, quiet: bool) -> str | None:
        """
        Return why requests cannot arrive by the SUBACK's *reasons*, with what to do; None if they can.

        Args:
            reasons: One for each topic.
            quiet: Say that they can at `debug` only.
        """
        self._until = None
        topic = self._mqtt.task_start_topic
        if reasons[0].value != 1:
            granted = named(reasons[0]) if reasons[0].is_failure else f"QoS {reasons[0].value} instead of 1"
            return (
                f"the subscription to {topic} was answered with {granted}; "
                f"the broker's ACL must let {login_name(self._mqtt)} read it at QoS 1"
            )
        logger.log(
            logging.DEBUG if quiet else logging.INFO,
            "Subscribed to %s at QoS 1",
            topic,
            extra={"action": "mqtt_subscribed"},
        )
        return None

    def sees_status(self, reasons: list[ReasonCode]) -> bool:
        """Return whether `statusTopic` was subscribed to; a refusal is logged."""
        if not self._with_status:
            return False
        if reasons[1].is_failure:
            logger.warning(
                "The broker refused the subscription to %s (%s): allow %s to read it, "
                "else a second daemon with this client id is recognised late",
                self._mqtt.status_topic,
                named(reasons[1]),
                login_name(self._mqtt),
                extra={"action": "mqtt_status_refused"},
            )
            return False
        return True

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
#: Unsubscriptions on one connection from what its session has of before.
MOST_LEFT = 1000


class RequestSubscription:
    """
    The subscription to the topics of requests at QoS 1 and, beside them, to `statusTopic`.

    For the network thread, but for `reconfigured`.
    """

    def __init__(self, mqtt: settings.MqttSettings) -> None:
        self._mqtt = mqtt
        #: Topics of requests as last subscribed to.
        self._topics: tuple[str, ...] = ()
        #: Topics that this connection was not subscribed to, or is not any more.
        self._left: set[str] = set()
        self._with_status = False
        self._sent_at = 0.0
        self._until: float | None = None

    @property
    def outdated(self) -> bool:
        """Whether requests arrive on other topics than when `send` was called last."""
        return self._topics != self._mqtt.start_topics

    def reconfigured(self, mqtt: settings.MqttSettings) -> None:
        """Use other topics from the next `send` on; called from another thread."""
        self._mqtt = mqtt

    @property
    def overdue(self) -> bool:
        """Whether the broker has let the time for its answer pass."""
        return self._until is not None and time.monotonic() > self._until

    def awaited(self) -> float:
        """Return for how many seconds the broker's answer is awaited."""
        return 0.0 if self._until is None else time.monotonic() - self._sent_at

    def postpone(self) -> None:
        """Give the broker its time again: the answer may stand behind messages that are not read yet."""
        if self._until is not None:
            self._until = time.monotonic() + SUBACK_SECONDS

    def began(self) -> None:
        """Begin with a connection: its session may hold any topic."""
        self._left.clear()

    def send(self, client: paho.Client, *, with_status: bool) -> str:
        """
        Subscribe, whatever the session holds: it may be that of other settings.

        Topics that this process subscribed to before and does not any more are unsubscribed.

        Returns:
            What was sent, for people.
        """
        mqtt = self._mqtt
        gone = [topic for topic in self._topics if topic not in mqtt.start_topics]
        self._topics, self._with_status = mqtt.start_topics, with_status
        self._sent_at = time.monotonic()
        self._until = self._sent_at + SUBACK_SECONDS
        self._left.difference_update(self._topics)
        if gone:
            self._left.update(gone)
            client.unsubscribe(gone)
        topics = [*self._topics, *([mqtt.status_topic] if with_status else [])]
        if mqtt.protocol_version != "5":
            client.subscribe([(topic, int(topic != mqtt.status_topic)) for topic in topics])
        else:
            # Without No Local for the status: brokers apply it by client id, so it would hide the very
            # daemon that is to be recognised.
            requests = SubscribeOptions(1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            status = SubscribeOptions(0, retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)
            client.subscribe([(one, status if one == mqtt.status_topic else requests) for one in topics])
        return f"SUBSCRIBE to {' and '.join(topics)}"

    def brought(self, client: paho.Client, topic: str) -> None:
        """
        Take that a message came on *topic*; unsubscribe when no requests are taken from it.

        Then the session has it from settings of before, as of a sender that was removed while
        the daemon was down. Topics of requests have no wildcards, so that this is the filter.
        """
        if topic in self._topics or topic in self._left or len(self._left) >= MOST_LEFT:
            return
        self._left.add(topic)
        client.unsubscribe(topic)
        logger.info(
            "Unsubscribed from %s: the broker's session still had it, and no requests are taken there",
            topic,
            extra={"action": "mqtt_unsubscribed"},
        )

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
        for topic, reason in zip(self._topics, reasons, strict=False):
            if reason.value != 1:
                granted = named(reason) if reason.is_failure else f"QoS {reason.value} instead of 1"
                return (
                    f"the subscription to {topic} was answered with {granted}; "
                    f"the broker's ACL must let {login_name(self._mqtt)} read it at QoS 1"
                )
        logger.log(
            logging.DEBUG if quiet else logging.INFO,
            "Subscribed to %s at QoS 1",
            ", ".join(self._topics),
            extra={"action": "mqtt_subscribed"},
        )
        return None

    def sees_status(self, reasons: list[ReasonCode]) -> bool:
        """Return whether `statusTopic` was subscribed to; a refusal is logged."""
        if not self._with_status:
            return False
        if reasons[-1].is_failure:
            logger.warning(
                "The broker refused the subscription to %s (%s): allow %s to read it, "
                "else a second daemon with this client id is recognised late",
                self._mqtt.status_topic,
                named(reasons[-1]),
                login_name(self._mqtt),
                extra={"action": "mqtt_status_refused"},
            )
            return False
        return True

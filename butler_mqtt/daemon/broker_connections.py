"""The three connections to the broker, joined to the pipeline: requests, messages for rules, replies."""

from __future__ import annotations

from collections.abc import Callable

from butler_mqtt import __version__
from butler_mqtt.clock import now_ms
from butler_mqtt.daemon.watchdog import Progress
from butler_mqtt.domain.completions import (
    AcknowledgementsRead,
    Completion,
    PublicationConfirmed,
    PublicationRefused,
    PublicationsLost,
    PublisherReady,
    RuleAcknowledgementsRead,
    RuleSessionBegan,
    SessionBegan,
)
from butler_mqtt.domain.model import Arrival, Message
from butler_mqtt.mqtt.door import Door
from butler_mqtt.mqtt.door_state import DoorState
from butler_mqtt.mqtt.outages import Outages
from butler_mqtt.mqtt.publisher import ReplyPublisher
from butler_mqtt.mqtt.rule_door import RuleDoor
from butler_mqtt.settings import MqttSettings


class BrokerConnections:
    """
    What the daemon has where MQTT is on.

    Args:
        mqtt: Where the broker is, and the topics.
        emit: Submits to the pipeline what happens; called from their threads.
        on_state: Called when the state of the door changes.
        on_fatal: Called with a fault that ends a thread.
        qrs_unreachable: Tells whether the Qlik server is out of reach as well.
        stay_away_seconds: How long a daemon stays away that another one took over from.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        emit: Callable[[Arrival | Completion], None],
        *,
        on_state: Callable[[], None],
        on_fatal: Callable[[BaseException], None],
        qrs_unreachable: Callable[[], bool],
        stay_away_seconds: float,
    ) -> None:
        self._mqtt = mqtt
        outages = Outages()
        self.door = door = Door(
            mqtt,
            version=__version__,
            on_message=lambda message: emit(_arrival("mqtt", message)),
            on_session=lambda generation, present: emit(SessionBegan(generation, present)),
            on_state=lambda _state: on_state(),
            on_read=lambda generation, count: emit(AcknowledgementsRead(generation, count)),
            on_fatal=on_fatal,
            stay_away_seconds=stay_away_seconds,
            outages=outages,
            qrs_unreachable=qrs_unreachable,
        )
        self.rule_door = RuleDoor(
            mqtt,
            on_message=lambda message: emit(_arrival("rule", message)),
            on_session=lambda generation, present: emit(RuleSessionBegan(generation, present)),
            on_read=lambda generation, count: emit(RuleAcknowledgementsRead(generation, count)),
            on_answer=emit,
            on_fatal=on_fatal,
            taken_over=lambda: door.state in {DoorState.TAKEN_OVER, DoorState.GIVEN_UP},
            outages=outages,
        )
        self.publisher = ReplyPublisher(
            mqtt,
            on_confirmed=lambda identity: emit(PublicationConfirmed(identity)),
            on_refused=lambda identity, reason, final: emit(PublicationRefused(identity, reason, final)),
            on_lost=lambda identities, hung_up: emit(PublicationsLost(tuple(identities), hung_up)),
            on_room=lambda: emit(PublisherReady()),
            on_fatal=on_fatal,
            instance=door.instance,
            outages=outages,
        )

    def start(self, progress: Progress, patience_seconds: float) -> None:
        """Connect; *progress* watches their threads, which may show none for so many seconds."""
        named = (("MQTT replies", self.publisher), ("MQTT door", self.door), ("MQTT rules", self.rule_door))
        for name, connection in named:
            connection.start()
            progress.watch(name, connection.progress, patience_seconds)

    def stop(self) -> None:
        """Disconnect, the replies last."""
        for connection in (self.door, self.rule_door, self.publisher):
            connection.stop()

    def reconfigured(self, mqtt: MqttSettings) -> None:
        """Take requests on other topics from now on."""
        if mqtt != self._mqtt:
            self._mqtt = mqtt
            self.door.reconfigured(mqtt)


def _arrival(door: str, message: Message) -> Arrival:
    return Arrival(door, message.payload, now_ms(), message)

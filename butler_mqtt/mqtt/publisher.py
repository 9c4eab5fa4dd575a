"""
What we publish: replies and events, on a connection of their own.

On the door's connection they would delay requests and acknowledgements (20 ms
at the 99th percentile). A QoS 1 publication counts as done at its PUBACK.
"""

from __future__ import annotations

import logging
import struct
import threading
from collections import deque
from collections.abc import Callable

from paho.mqtt import client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from butler_mqtt import settings
from butler_mqtt.domain.model import Publication
from butler_mqtt.mqtt.connection import BrokerConnection
from butler_mqtt.mqtt.connection_attempt import Ended
from butler_mqtt.mqtt.outages import Outages
from butler_mqtt.mqtt.paho_client import BrokerLimits, guarded, named
from butler_mqtt.mqtt.presence import new_instance
from butler_mqtt.mqtt.properties import PublicationProperties, variable_length

logger = logging.getLogger("butler_mqtt.mqtt")

#: Publications in flight at once, where the broker allows as many.
WINDOW = 200
#: PUBACK reasons that no repetition fixes: topic name invalid, payload format invalid.
_FINAL = frozenset({0x90, 0x99})
#: The largest remaining length an MQTT packet can state, in bytes.
_MAX_REMAINING = 268_435_455


class ReplyPublisher:
    """
    The publishing connection; keeps nothing of its own.

    The callables are called on the network thread or, for a publication that
    can never work, on the caller's of `publish`; they must return at once and
    should not raise.

    Args:
        mqtt: Where to connect.
        on_confirmed: Gets the id of a publication the broker has taken (PUBACK below 0x80).
        on_refused: Gets id, reason and whether it is final; else it may be tried again later.
        on_lost: Gets the ids that were in flight when a connection ended, to be published again, and how
            the broker closed it, as in `PublicationsLost`.
        on_room: Called when `publish` may work again: connected, or confirmations came.
        on_fatal: Gets the exception the network thread died of.
        instance: The process, as in `Door.instance`; makes the client id unique.
        window: Most publications in flight at once.
        outages: Shared with the other connections of the process.
    """

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        *,
        on_confirmed: Callable[[int], None],
        on_refused: Callable[[int, str, bool], None],
        on_lost: Callable[[list[int], str], None],
        on_room: Callable[[], None],
        on_fatal: Callable[[BaseException], None],
        instance: str | None = None,
        window: int = WINDOW,
        outages: Outages | None = None,
    ) -> None:
        self._on_confirmed = guarded(on_confirmed)
        self._on_refused = guarded(on_refused)
        self._on_lost = guarded(on_lost)
        self._on_room = guarded(on_room)
        self._cap = window
        self._window = 0
        self._largest: int | None = None
        self._client: paho.Client | None = None
        #: Packet id → publication id, of what is in flight.
        self._in_flight: dict[int, int] = {}
        self._lock = threading.Lock()
        #: PUBACKs of this turn. paho reports them while it holds the lock that its publish() takes, so
        #: taking ours there could end in a deadlock.
        self._answers: deque[tuple[int, ReasonCode]] = deque()
        self._connection = BrokerConnection(
            mqtt,
            client_id=f"{mqtt.client_id}-reply-{(instance or new_instance())[:8]}",
            keep_session=False,
            peer=self,
            on_fatal=on_fatal,
            outages=outages,
        )

    @property
    def connected(self) -> bool:
        """Whether publications can leave."""
        return self._client is not None

    @property
    def alive(self) -> bool:
        """Whether the network thread runs."""
        return self._connection.alive

    def progress(self) -> float:
        """Return the monotonic time of the network thread's last turn, for a watchdog."""
        return self._connection.progress()

    def start(self) -> None:
        """Begin to connect; raises RuntimeError when called twice."""
        self._connection.start()

    def publish(self, publication: Publication) -> bool:
        """
        Send one publication now, or not at all.

        Returns:
            False when not connected or when too many are in flight: wait for
            `on_room`. True when one of the other callables will report the outcome.
        """
        with self._lock:
            client = self._client
            if client is None or len(self._in_flight) >= self._window:
                return False
            try:
                properties = PublicationProperties(publication) if self._connection.is_v5 else None
                reason = self._too_large(publication, properties)
                if reason is None:
                    info = client.publish(
                        publication.topic, publication.payload, qos=1, properties=properties
                    )
                    if info.rc != paho.MQTT_ERR_SUCCESS:
                        return False  # the connection has just ended; paho's copy dies with the client object
                    self._in_flight[info.mid] = publication.id
                    return True
            except (ValueError, struct.error) as error:
                reason = f"no MQTT packet can carry it: {error}"
        self._on_refused(publication.id, reason, True)
        return True

    def stop(self, timeout: float = 5.0) -> None:
        """Disconnect and end the thread, within *timeout* seconds; what is in flight is reported lost."""
        self._connection.stop(timeout)

    # What the connection calls.

    @property
    def will_topic(self) -> str | None:
        """None: replies have no will."""
        return None

    def prepare(self, client: paho.Client) -> None:
        """Set callbacks."""
        client.on_publish = guarded(self._answered)

    def accepted(self, client: paho.Client, session_present: bool, limits: BrokerLimits) -> None:  # noqa: ARG002 (Peer's signature; a clean start has no session)
        """Open the window."""
        if limits.maximum_qos < 1:
            # QoS 0 has no PUBACK: a reply could be lost and we would call it delivered.
            self._connection.leave("the broker allows QoS 0 only, replies need QoS 1", refused=True)
            return
        with self._lock:
            self._window = max(min(self._cap, limits.receive_maximum), 1)
            self._largest = limits.maximum_packet_size
            self._client = client
        self._on_room()

    @guarded
    def turned(self) -> None:
        """Report the answers of this turn."""
        if self._answers:
            self._report_answers()
            self._on_room()

    def ended(self, ended: Ended) -> bool:
        """Report the last answers, then the rest as lost."""
        with self._lock:
            was_connected = self._client is not None
            self._client = None
        self._report_answers()
        with self._lock:
            lost = list(self._in_flight.values())
            self._in_flight.clear()
        if was_connected:
            hung_up = ended.hung_up and not self._connection.stopping
            self._on_lost(lost, ended.reason if hung_up else "")
        return True

    def _answered(
        self,
        _client: paho.Client,
        _userdata: object,
        packet_id: int,
        reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        self._answers.append((packet_id, reason))

    def _report_answers(self) -> None:
        while self._answers:
            packet_id, reason = self._answers.popleft()
            with self._lock:
                publication_id = self._in_flight.pop(packet_id, None)
            if publication_id is None:
                continue
            if reason.value < 0x80:
                self._on_confirmed(publication_id)
            else:
                self._on_refused(publication_id, named(reason), reason.value in _FINAL)

    def _too_large(self, publication: Publication, properties: PublicationProperties | None) -> str | None:
        packed = len(properties.packed) if properties is not None else 0
        remaining = 2 + len(publication.topic.encode()) + 2 + packed + len(publication.payload)
        size = 1 + len(variable_length(remaining)) + remaining
        if self._largest is not None and size > self._largest:
            return f"the packet has {size} bytes, the broker takes at most {self._largest}"
        if remaining > _MAX_REMAINING:
            return f"the packet has {size} bytes, more than MQTT can carry"
        return None

"""
One connection to the broker and the thread that keeps it.

paho-mqtt's own reconnecting is not used: it would send queued publications
again behind our back, and acknowledgements of an old connection on a new one.
Each attempt has a client object of its own (`connection_attempt`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from butler_mqtt import settings
from butler_mqtt.mqtt.connection_attempt import TURN_SECONDS, ConnectionAttempt, Ended, Peer
from butler_mqtt.mqtt.connection_lines import ConnectionLines
from butler_mqtt.mqtt.outages import Outages
from butler_mqtt.mqtt.reconnect_pauses import MAX_BACKOFF_SECONDS, ReconnectPauses

logger = logging.getLogger("butler_mqtt.mqtt")


class BrokerConnection:
    """
    A thread that connects, serves the connection until it ends, waits and connects again.

    Args:
        mqtt: Where to connect and as whom.
        client_id: The MQTT client id of this connection.
        keep_session: Ask the broker to keep subscriptions and messages while we are not connected.
        peer: What uses the connection.
        on_fatal: Called when the thread dies of an exception; the connection stays dead.
        max_backoff_seconds: The longest wait between two attempts.
        outages: What other connections to the broker know of it; None where there are none.
        may_pass: As for `PacketSocket`.
    """

    def __init__(
        self,
        mqtt: settings.MqttSettings,
        *,
        client_id: str,
        keep_session: bool,
        peer: Peer,
        on_fatal: Callable[[BaseException], None],
        max_backoff_seconds: float = MAX_BACKOFF_SECONDS,
        outages: Outages | None = None,
        may_pass: Callable[[bytes], bool] = lambda _topic: True,
    ) -> None:
        self._mqtt = mqtt
        self.client_id = client_id
        self.is_v5 = mqtt.protocol_version == "5"
        self._keep_session = keep_session
        self._peer = peer
        self._on_fatal = on_fatal
        self._may_pass = may_pass
        self._pauses = ReconnectPauses(max_backoff_seconds)
        self._lines = ConnectionLines(mqtt, client_id, outages or Outages(), keep_session=keep_session)
        self._attempt: ConnectionAttempt | None = None
        self._stopping = threading.Event()
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"mqtt {client_id}", daemon=True)

    @property
    def where(self) -> str:
        """Name the broker for people."""
        return self._lines.where

    @property
    def quiet(self) -> bool:
        """Whether the last connection ended as one of many, and lines about the next are worth as little."""
        return self._lines.quiet

    @property
    def alive(self) -> bool:
        """Whether the network thread runs."""
        return self._thread.is_alive()

    def progress(self) -> float:
        """
        Return the monotonic time of the last turn, for a watchdog.

        Turns follow each other within a second; while connecting, name
        resolution and each address of the host may take their timeouts.
        """
        return self._progress

    def start(self) -> None:
        """Begin to connect; raises RuntimeError when called twice."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Disconnect and end the thread, waiting at most *timeout* seconds; harmless when repeated."""
        self._stopping.set()
        attempt = self._attempt
        if attempt is not None:
            attempt.disconnect()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def leave(self, reason: str, *, refused: bool = False) -> None:
        """Close the connection from the network thread; the attempt ends with *reason*."""
        if self._attempt is not None:
            self._attempt.leave(reason, refused=refused)

    def send_between(self, packet: bytes) -> bool:
        """Send a packet behind all that paho has queued, from the network thread; False when not now."""
        return self._attempt is not None and self._attempt.send_between(packet)

    def wake(self) -> None:
        """End the wait of the network loop, from another thread: what it may do has changed."""
        attempt = self._attempt
        if attempt is not None:
            attempt.wake()

    def pause(self, seconds: float) -> None:
        """Wait on the network thread, showing progress; a stop cuts it short."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, TURN_SECONDS)):
            self._note_progress()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                ended = self._try()
                if not self.stopping:
                    self._lines.ended(ended)
                if not self._peer.ended(ended):
                    return
                self.pause(self._pauses.next(ended.lasted, refused=ended.refused))
        except BaseException as error:
            logger.critical(
                "The MQTT network thread of %s died: %r",
                self.client_id,
                error,
                exc_info=True,
                extra={"action": "mqtt_thread_died"},
            )
            self._on_fatal(error)

    def _try(self) -> Ended:
        """Connect once and serve the connection until it ends."""
        self._note_progress()
        self._attempt = ConnectionAttempt(
            self._mqtt,
            client_id=self.client_id,
            keep_session=self._keep_session,
            peer=self._peer,
            stopping=self._stopping,
            on_accepted=self._lines.accepted,
            on_turn=self._note_progress,
            may_pass=self._may_pass,
        )
        try:
            return self._attempt.run()
        finally:
            self._attempt = None

    def _note_progress(self) -> None:
        self._progress = time.monotonic()

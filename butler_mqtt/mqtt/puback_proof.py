"""
Proof that the broker has read our acknowledgements.

A PUBACK that was written is not a PUBACK that was read: a slow broker may lose
the connection with many of them in its socket, and sends those messages again.
Packets of one connection are handled in order, so a PINGRESP shows that every
PUBACK before its PINGREQ was read (MQTT 5.0, 3.12 and 4.6).

paho sends a PINGREQ only on a connection that was silent for the keep-alive
time, which a busy one never is, and has no call for it. So the two bytes are
written between its packets; the answer goes to paho, which reports it in its
log. paho's own PINGREQs prove as much, and every answer belongs to the oldest
that has none, whoever asked.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from paho.mqtt import client as paho

PINGREQ = b"\xc0\x00"
#: Seconds between two PINGREQs: with 1,000 requests a second, so many are compared with a redelivery.
BETWEEN_SECONDS = 1.0
#: What paho writes in its log; a test with the real library holds it to this.
PAHO_ASKED = "Sending PINGREQ"
PAHO_ANSWERED = "Received PINGRESP"


class _Lines(logging.Logger):
    """Passes on what paho logs, unformatted: for `on_log` it writes out each packet and its properties."""

    def __init__(self, logged: Callable[[str], None]) -> None:
        super().__init__("paho")
        self._logged = logged

    def log(self, level: int, msg: object, *args: object, **options: object) -> None:  # noqa: ARG002 -- the base's
        """Pass on a line, without what belongs into it."""
        self._logged(str(msg))


class Proof:
    """
    Asks for and counts the proofs of one connection.

    Args:
        client: Of that connection, connected.
        on_read: Gets the number of acknowledgements, counted from the first of
            the connection, that the broker has read; on the network thread.
        between_seconds: Between two questions of ours.
    """

    def __init__(
        self,
        client: paho.Client,
        on_read: Callable[[int], None],
        *,
        between_seconds: float = BETWEEN_SECONDS,
    ) -> None:
        self._on_read = on_read
        self._between_seconds = between_seconds
        self._sent = 0
        #: For each PINGREQ without an answer, how many acknowledgements went before it.
        self._asked: deque[int] = deque()
        self._covered = 0
        self._proved = 0
        self._asked_at = float("-inf")
        client.enable_logger(_Lines(self._logged))

    def acknowledged(self) -> None:
        """Count an acknowledgement that was passed to paho; from the one thread that acknowledges."""
        self._sent += 1

    def turned(self, send: Callable[[bytes], bool]) -> None:
        """
        Ask when it is due; on the network thread, outside paho's callbacks.

        Args:
            send: Sends a packet behind all that paho had queued before the call;
                False when some of that is not written yet.
        """
        # Read before it is asked whether all is written: what is counted later may not be.
        sent = self._sent
        if self._asked or sent == self._covered:
            return
        now = time.monotonic()
        if now - self._asked_at >= self._between_seconds and send(PINGREQ):
            self._asked_at = now
            self._covered = sent
            self._asked.append(sent)

    def _logged(self, line: str) -> None:
        # Lines about acknowledgements come from another thread; these two from the network's alone.
        if line == PAHO_ASKED:
            self._asked.append(self._sent)
            self._covered = self._sent
        elif line == PAHO_ANSWERED and self._asked:
            read = self._asked.popleft()
            if read > self._proved:
                self._proved = read
                self._on_read(read)

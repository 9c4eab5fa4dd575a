"""
Recognising that another daemon uses our client id.

A broker gives a client id to whoever connected last, so two daemons throw each
other out for ever. The one that was there first must see it and leave.
"""

from __future__ import annotations

from butler_mqtt.mqtt.connection import Ended
from butler_mqtt.mqtt.status import Status

#: MQTT 5 reason code of a DISCONNECT.
SESSION_TAKEN_OVER = 0x8E


class Takeover:
    """Judges what is evidence; *ours* is the status we publish."""

    def __init__(self, ours: Status) -> None:
        self._ours = ours

    def is_foreign(self, status: Status) -> bool:
        """Tell whether *status* was published by another process."""
        return status.instance != self._ours.instance

    def seen(self, status: Status, *, retained: bool) -> str | None:
        """
        Judge a status message that came after our own birth was acknowledged.

        A retained one counts when its daemon is newer than us, even if it says
        `offline`: that is the will of the newcomer, whom our connecting has
        just thrown out. An older one is a predecessor's, shown again by a
        broker that lost its latest state. A live one counts when it says
        `online`; a late will of a predecessor does not.

        Returns:
            What shows that another daemon is there; None if nothing does.
        """
        if not self.is_foreign(status):
            return None
        counts = status.started_at > self._ours.started_at if retained else status.status == "online"
        return f"another daemon, instance {status.instance}, published its status" if counts else None

    def closed(self, ended: Ended) -> str | None:
        """
        Judge the end of a connection.

        Only the broker's own word counts: it closes connections for many
        reasons without one (`hangups`).

        Returns:
            What shows that another daemon is there; None if nothing does.
        """
        if ended.code == SESSION_TAKEN_OVER and ended.lasted is not None:
            return "the broker gave our session to another client"
        return None

"""
Notifies systemd: sd_notify over its datagram socket.

The protocol is that of sd_notify(3): lines `NAME=value` in one datagram to
`$NOTIFY_SOCKET`. Without that variable nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

#: systemd refuses datagrams beyond some kilobytes; a status is one line for people.
_MAX_STATUS = 400

_log = logging.getLogger("butler_mqtt.notify")


class Notify:
    """
    The connection to the service manager that started us, if one did.

    Args:
        environ: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` as systemd sets them.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the null byte of the abstract name space; other kinds (vsock) are not for us.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        if not self._address.startswith(("/", "\0")):
            self._address = ""
        self._failed = False
        self._status = ""
        #: Seconds after which systemd takes us for hung unless notified; None: it does not watch us.
        self.watchdog_seconds = _watchdog_seconds(environ) if self._address else None

    def ready(self) -> None:
        """Notify that the start, or a reload, is over."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Notify in one line what we do now; once for each new text."""
        text = " ".join(text.split())[:_MAX_STATUS]
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def extend(self, seconds: float) -> None:
        """Ask for *seconds* more, from now, for the start or the stop in progress."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Notify that the configuration is read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Notify that the end has begun."""
        self._send("STOPPING=1")

    def _send(self, lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # A manager that does not read must not hold us up.
                sender.settimeout(1.0)
                sender.sendto(lines.encode(errors="backslashreplace"), self._address)
        except OSError as error:
            if not self._failed:
                _log.warning("systemd cannot be notified: %s", error, extra={"action": "notify_failed"})
            self._failed = True
        else:
            self._failed = False


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # meant for the process that started us
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) else None

"""
Daemons that end by themselves only after a minute, begun early so that a test need not wait for them.

A broker that refuses a daemon, and another daemon with the same client id, are
given a minute each before the process ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance.rig import READY, Daemon, Qlik
from tests.acceptance.sender import START
from tests.brokers import Mosquitto

#: The minute, and what a loaded machine adds.
PATIENCE_SECONDS = 120.0


class Ending:
    """A daemon on its way to its end; `code` is there once it has ended."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.code: int | None = None
        self.seconds = 0.0
        self._ended = threading.Event()
        self._begun = time.monotonic()

    def watch(self) -> None:
        threading.Thread(target=self._wait, daemon=True).start()

    def wait(self) -> int:
        """Wait for the end and give the exit code."""
        assert self._ended.wait(PATIENCE_SECONDS), f"it did not end:\n{self.daemon.log()}"
        assert self.code is not None
        return self.code

    def _wait(self) -> None:
        # The one of two that works goes on until the tests are over.
        self.code = self.daemon.wait(None)
        self.seconds = time.monotonic() - self._begun
        self._ended.set()


class Endings:
    """All of them; a context manager."""

    def __init__(self, qlik: Qlik, folder: Path) -> None:
        self._qlik = qlik
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Endings:
        passwords = self._broker("passwords", passwords={"butler": "right"})
        refusing = self._broker("refusing", refused_subscriptions=(START,))
        self.shared = self._broker("shared")
        self.wrong_password = self._begin(
            passwords, "wrong-password", {"username": "butler", "password": "wrong-and-secret"}
        )
        self.refused = self._begin(refusing, "refused-subscription", {})
        self.first = self._begin(self.shared, "first", {})
        self.first.daemon.wait_log(READY)
        self.second = self._begin(self.shared, "second", {})
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _broker(self, name: str, **options: object) -> Mosquitto:
        make: Callable[..., Mosquitto] = Mosquitto
        return self._stack.enter_context(make(self._folder / name, **options))

    def _begin(self, broker: Mosquitto, name: str, mqtt: dict[str, object]) -> Ending:
        daemon = Daemon(self._folder / f"daemon-{name}", self._qlik, broker, mqttConfig=mqtt)
        daemon.start(ready=False)
        ending = Ending(daemon)
        self._stack.callback(daemon.end)
        ending.watch()
        return ending

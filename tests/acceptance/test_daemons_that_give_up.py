"""
Daemons that end by themselves, which takes a minute.

A broker that refuses a daemon, and another daemon with the same client id, are
given a minute each before the process ends; all of them wait at the same time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.rig import READY, Daemon, Qlik
from tests.acceptance.sender import START, STATUS, Sender
from tests.brokers import Mosquitto, until

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


@pytest.fixture(scope="module")
def endings(qlik_server: Qlik, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endings]:
    with Endings(qlik_server, tmp_path_factory.mktemp("endings")) as begun:
        yield begun


def test_a_wrong_password_is_logged_never_ready_and_ends_with_69_after_its_time(endings: Endings) -> None:
    ending = endings.wrong_password
    assert ending.wait() == 69
    assert ending.seconds > 55
    text = "\n".join(ending.daemon.lines)
    assert READY not in text
    assert "butler" in text
    assert "wrong-and-secret" not in text


def test_a_refused_subscription_is_logged_never_ready_and_ends_with_69_after_its_time(
    endings: Endings,
) -> None:
    ending = endings.refused
    assert ending.wait() == 69
    assert ending.seconds > 55
    text = "\n".join(ending.daemon.lines)
    assert READY not in text
    assert "subscription to qliksense/task/start" in text


def test_of_two_daemons_with_one_client_id_one_works_and_the_other_ends_with_76(
    endings: Endings, qlik: Qlik
) -> None:
    until(
        lambda: endings.first.code is not None or endings.second.code is not None,
        seconds=120,
        what="one of the two has ended",
    )
    ended, working = endings.first, endings.second
    if ended.code is None:
        ended, working = working, ended
    assert ended.code == 76
    assert ended.seconds > 55
    assert working.code is None
    assert working.daemon.runs()
    with Sender(endings.shared.port) as sender:
        assert sender.ask({"taskId": qlik.task()})["status"] == "ok"
        status = json.loads(sender.wait(lambda got: got.topic == STATUS).payload)
        assert status["status"] == "online"
    assert "is in use elsewhere" in "\n".join(ended.daemon.lines)

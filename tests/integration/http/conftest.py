"""What the tests with the real daemon share: one simulator with the built-in site, one daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.rig import Daemon, Qlik
from tests.brokers import Mosquitto
from tests.integration.http.daemon_with_listeners import ListeningDaemon
from tests.integration.simulator.running import running


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qlik]:
    with running(tmp_path_factory.mktemp("site") / "certs") as simulator:
        server = Qlik(simulator)
        yield server
        server.close()


@pytest.fixture
def qlik(site: Qlik) -> Iterator[Qlik]:
    """The simulator, calm before and after each test, without the tasks of the tests before."""
    with site.one_test() as server:
        yield server


@pytest.fixture(scope="session")
def shared(site: Qlik, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningDaemon]:
    folder = tmp_path_factory.mktemp("shared")
    with Mosquitto(folder / "broker") as broker:
        listening = ListeningDaemon(Daemon(folder / "daemon", site, broker), site, broker=broker)
        listening.start()
        yield listening
        listening.daemon.close()


@pytest.fixture
def listening(qlik: Qlik, shared: ListeningDaemon) -> ListeningDaemon:
    """A daemon that serves REST, monitoring and MQTT, shared by the tests that leave it as it was."""
    assert shared.daemon.runs(), shared.daemon.log()
    return shared


@pytest.fixture
def build(qlik: Qlik, tmp_path: Path) -> Iterator[Callable[..., ListeningDaemon]]:
    """Make daemons of the test's own, without MQTT, not yet started; ended when the test ends."""
    with ExitStack() as stack:

        def make(rest: dict[str, object] | None = None, **sections: dict[str, object]) -> ListeningDaemon:
            daemon = Daemon(tmp_path / "daemon", qlik, 1, mqttConfig={"enable": False})
            stack.callback(daemon.close)
            daemon.configure(**sections)
            return ListeningDaemon(daemon, qlik, rest=rest)

        yield make

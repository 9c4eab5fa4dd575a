"""What the acceptance tests share: one simulator, and one broker with one daemon for each version of MQTT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto
from tests.integration.simulator.running import running

SITE = """
nodes: [{name: Central, hostName: sense1.lab.local, maxConcurrentEngines: 200}]
tasks: []
"""


@dataclass
class Place:
    """A broker, a daemon on it, and a sender."""

    version: str
    broker: Mosquitto
    daemon: Daemon
    sender: Sender


@pytest.fixture(scope="session")
def qlik_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qlik]:
    folder = tmp_path_factory.mktemp("qlik")
    (folder / "site.yaml").write_text(SITE)
    options = ("--tasks", str(folder / "site.yaml"), "--proxy-port", "0")
    with running(folder / "certs", *options) as simulator:
        server = Qlik(simulator)
        yield server
        server.close()


@pytest.fixture
def qlik(qlik_server: Qlik) -> Iterator[Qlik]:
    """The simulator, calm before and after each test, without the tasks of the tests before."""
    with qlik_server.one_test() as server:
        yield server


@pytest.fixture(scope="session")
def places(qlik_server: Qlik, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Place]]:
    made: dict[tuple[str, str], Place] = {}
    with ExitStack() as stack:

        def place(version: str, login: str = "certificates") -> Place:
            key = (version, login)
            if key not in made:
                folder = tmp_path_factory.mktemp(f"mqtt-{version}-{login}")
                broker = stack.enter_context(Mosquitto(folder / "broker", extra="max_queued_messages 0"))
                daemon = Daemon(
                    folder / "daemon",
                    qlik_server,
                    broker,
                    mqttConfig={"protocolVersion": version},
                    configQRS=qlik_server.login(login),
                )
                stack.callback(daemon.close)
                daemon.start()
                made[key] = Place(version, broker, daemon, stack.enter_context(Sender(broker.port, version)))
            assert made[key].daemon.runs(), made[key].daemon.log()
            return made[key]

        yield place


@pytest.fixture
def place(qlik: Qlik, places: Callable[..., Place]) -> Place:
    """A daemon and a sender that speak MQTT 5."""
    return places("5")


@pytest.fixture(params=["5", "3.1.1"])
def each(request: pytest.FixtureRequest, qlik: Qlik, places: Callable[..., Place]) -> Place:
    """A daemon and a sender, once with MQTT 5 and once with 3.1.1."""
    return places(request.param)


@pytest.fixture(
    params=[("5", "certificates"), ("3.1.1", "certificates"), ("5", "jwt"), ("5", "header")],
    ids="-".join,
)
def every_way(request: pytest.FixtureRequest, qlik: Qlik, places: Callable[..., Place]) -> Place:
    """A daemon and a sender, once with each version of MQTT and once with each login at the Qlik server."""
    return places(*request.param)


@pytest.fixture
def sender(place: Place) -> Sender:
    return place.sender


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of the test's own, whose sessions outlive a kill."""
    with Mosquitto(tmp_path / "broker", persistent=True) as made:
        yield made


@pytest.fixture
def make_daemon(qlik: Qlik, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make daemons of the test's own; ended when the test ends."""
    with ExitStack() as stack:
        count = 0

        def make(
            broker: Mosquitto | int, *, makes_journal: bool = False, **sections: dict[str, object]
        ) -> Daemon:
            nonlocal count
            count += 1
            folder = tmp_path / f"daemon-{count}"
            daemon = Daemon(folder, qlik, broker, makes_journal=makes_journal, **sections)
            stack.callback(daemon.close)
            return daemon

        yield make

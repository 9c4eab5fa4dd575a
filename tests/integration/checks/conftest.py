"""One QRS simulator for all tests of this folder, reset before each; brokers are each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from butler_mqtt import settings
from tests.brokers import Mosquitto
from tests.integration.checks.site_and_broker import site_settings
from tests.integration.simulator.running import TASKS, Client, Running, running


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("checks")
    file = folder / "site.yaml"
    file.write_text(TASKS, "utf-8")
    with running(folder / "certs", "--tasks", str(file), "--proxy-port", "0") as started:
        yield started


@pytest.fixture
def site(simulator: Running) -> Iterator[Client]:
    client = Client(simulator)
    client.admin("POST", "/reset")
    yield client
    assert client.admin("GET", "")["executions"] == 0, "check has started a task"
    client.close()


@pytest.fixture
def qrs(site: Client) -> settings.Settings:
    """Return settings for the simulator."""
    return site_settings(site.simulator)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """Run a broker with nothing wrong."""
    with Mosquitto(tmp_path_factory.mktemp("broker")) as made:
        yield made

"""One simulator for all tests of this folder, set back before each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.simulator.running import TASKS, Client, Running, running


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulator") / "certs"


@pytest.fixture(scope="session")
def simulator(certs: Path) -> Iterator[Running]:
    file = certs.parent / "site.yaml"
    file.write_text(TASKS, "utf-8")
    with running(certs, "--tasks", str(file)) as started:
        yield started


@pytest.fixture
def qrs(simulator: Running) -> Iterator[Client]:
    client = Client(simulator)
    client.admin("POST", "/reset")
    yield client
    client.close()

"""Alert books that are closed when their test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from butler_mqtt.settings import AlertTarget
from tests.unit.alerting.turning import Turning

Make = Callable[[AlertTarget], Turning]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[AlertTarget], Turning]]:
    made: list[Turning] = []

    def turning(target: AlertTarget) -> Turning:
        made.append(Turning(tmp_path, target))
        return made[-1]

    yield turning
    for one in made:
        one.journal.close()

"""The list of requests, as a person reads it."""

from __future__ import annotations

import time as clock_of_machine
from collections.abc import Iterator

import pytest

from butler_mqtt.cli import requests_list
from butler_mqtt.clock import FIRST_MS, LAST_MS


@pytest.fixture(params=["Pacific/Kiritimati", "Etc/GMT+12"])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the clock on the wall be far from UTC."""
    monkeypatch.setenv("TZ", request.param)
    clock_of_machine.tzset()
    yield
    monkeypatch.undo()
    clock_of_machine.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("moment", [FIRST_MS, 0, LAST_MS])
def test_the_ends_of_the_calendar_are_shown_in_the_list_of_requests(moment: int) -> None:
    assert requests_list.local(moment)

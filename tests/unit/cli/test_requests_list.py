"""The list of requests, as a person reads it."""

from __future__ import annotations

import pytest

from butler_mqtt.cli import requests_list
from butler_mqtt.clock import FIRST_MS, LAST_MS


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("moment", [FIRST_MS, 0, LAST_MS])
def test_the_ends_of_the_calendar_are_shown(moment: int) -> None:
    assert requests_list.local(moment)

"""The addresses that the daemon is to listen on."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.checks import addresses
from butler_mqtt.checks.finding import State
from butler_mqtt.settings import JournalSettings, MonitoringSettings, Settings


@pytest.mark.parametrize("host", ["a..b", ".x", "a" * 64], ids=["empty part", "no part", "long part"])
def test_a_name_that_cannot_be_one_is_wrong(host: str, tmp_path: Path) -> None:
    settings = Settings(
        journal=JournalSettings(url=f"sqlite:///{tmp_path}/journal.sqlite"),
        monitoring=MonitoringSettings(enable=True, host=host),
    )
    (found,) = addresses.check(settings)
    assert found.state is State.WRONG
    assert "host name" in found.text


def test_nothing_is_said_where_nothing_is_listened_on(tmp_path: Path) -> None:
    settings = Settings(journal=JournalSettings(url=f"sqlite:///{tmp_path}/journal.sqlite"))
    assert list(addresses.check(settings)) == []

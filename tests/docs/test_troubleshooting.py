"""docs/troubleshooting.md: the faults of its table are those that `tests.machine.on_machine` makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.config import loader
from butler_mqtt.errors import ConfigError
from tests.machine.faults import FAULTS, table
from tests.project import ROOT


def test_every_fault_of_the_table_is_made_on_a_machine_and_no_other() -> None:
    assert sorted(row.what for row in table()) == sorted(FAULTS)
    assert len(FAULTS) >= 10


def test_each_is_found_with_one_command() -> None:
    for row in table():
        assert row.command.split(" ")[0] in {"systemctl", "journalctl", "butler-mqtt", "mosquitto_pub"}
        assert "\n" not in row.command
        assert ";" not in row.command


def test_the_misspelt_key_is_named_as_the_table_has_it(tmp_path: Path) -> None:
    text = (ROOT / "docs/install.md").read_text("utf-8").partition("```yaml\n")[2].partition("```")[0]
    file = tmp_path / "config.yaml"
    file.write_text(text.replace("brokerPort", "brokrPort"))
    (row,) = (row for row in table() if "misspelt" in row.what)
    with pytest.raises(ConfigError) as caught:
        loader.load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, check_files=False, log_in=False)
    assert row.line in str(caught.value)

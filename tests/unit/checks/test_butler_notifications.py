"""Butler's notification sections, named by `check` with what replaces them."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.checks import butler_notifications
from butler_mqtt.checks.finding import State
from butler_mqtt.config.schema import butler_keys
from tests.unit.config.configuration_files import load


@pytest.mark.parametrize("section", butler_notifications.REPLACED_BY)
def test_each_section_that_is_on_is_named_with_its_line(section: str, tmp_path: Path) -> None:
    (found,) = butler_notifications.check(load(tmp_path, f"{section}: {{enable: true}}"))
    assert (found.name, found.state) == ("alerts.butler", State.WARNING)
    assert found.text.startswith(f"{section} of Butler is not read")
    name, holds = butler_notifications.REPLACED_BY[section]
    assert f"alerts: {{ enable: true, targets: [ {{ name: {name}, urlFile: {name}.url }} ] }}" in found.advice
    assert holds in found.advice
    assert section in butler_keys()["Butler"]


@pytest.mark.parametrize(
    "text",
    [
        "slackNotification: {enable: false}",
        "incidentTool: {signl4: {enable: false}, newRelic: {enable: false}}",
        "slackNotification:",
    ],
)
def test_one_that_is_off_is_not(text: str, tmp_path: Path) -> None:
    assert list(butler_notifications.check(load(tmp_path, text))) == []


def test_a_part_that_is_on_is_enough(tmp_path: Path) -> None:
    assert (
        len(list(butler_notifications.check(load(tmp_path, "incidentTool: {signl4: {enable: true}}")))) == 1
    )


def test_with_alerts_it_is_no_warning(tmp_path: Path) -> None:
    text = "slackNotification: {enable: true}\nalerts: {enable: true, targets: [{name: a, url: 'json://h'}]}"
    (found,) = butler_notifications.check(load(tmp_path, text))
    assert found.state is State.OK

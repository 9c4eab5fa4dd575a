"""Section `alerts` of the configuration: what an operator reads about a mistake."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from butler_mqtt.alerting.target_urls import url_fault
from butler_mqtt.config import loader
from butler_mqtt.errors import ConfigError
from butler_mqtt.settings import ALERT_KINDS, AlertTarget, OverdueEntry, Settings
from tests.unit.config.configuration_files import HEAD

ON = "alerts:\n  enable: true\n"


def load(folder: Path, sections: str) -> Settings:
    (folder / "config.yaml").write_text(HEAD + indent(sections, "  "))
    return loader.load(folder / "config.yaml", {}, url_fault=url_fault)


def problems(folder: Path, sections: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, sections)
    return [str(one) for one in caught.value.problems]


def test_a_target_has_the_defaults_of_the_documentation(tmp_path: Path) -> None:
    (tmp_path / "bi.url").write_text("json://127.0.0.1:9/\n")
    alerts = load(tmp_path, f"{ON}  targets: [{{name: bi, urlFile: bi.url}}]").alerts
    assert alerts.targets == (AlertTarget("bi", "json://127.0.0.1:9/", ALERT_KINDS, (), (), False, 300.0),)


def test_every_key_of_a_target_is_read(tmp_path: Path) -> None:
    text = (
        f"{ON}  targets:\n    - name: bi\n      url: json://127.0.0.1:9/\n      on: [recovered]\n"
        "      tasks: {tag: [finance], customProperty: [{name: group, value: nightly}]}\n"
        "      scriptLog: true\n      minIntervalSeconds: 0\n"
    )
    (target,) = load(tmp_path, text).alerts.targets
    assert target == AlertTarget(
        "bi", "json://127.0.0.1:9/", ("recovered",), ("finance",), (("group", "nightly"),), True, 0.0
    )


def test_what_must_succeed_is_named_by_one_selector(tmp_path: Path) -> None:
    text = (
        "alerts:\n  overdue:\n    - {tag: daily, everySeconds: 90000}\n"
        "    - {customProperty: {name: group, value: nightly}, everySeconds: 60}\n"
    )
    assert load(tmp_path, text).alerts.overdue == (
        OverdueEntry("tag", "daily", "", 90000.0),
        OverdueEntry("customProperty", "nightly", "group", 60.0),
    )


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            "targets: [{name: bi, url: 'json://h', on: [executionfaild]}]",
            (
                "line 5: Butler.alerts.targets[0].on[0]: unknown kind 'executionfaild'; "
                "did you mean executionFailed?"
            ),
        ),
        (
            "targets: [{name: bi, url: 'json://h', on: [x]}]",
            f"line 5: Butler.alerts.targets[0].on[0]: unknown kind 'x'; known: {', '.join(ALERT_KINDS)}",
        ),
        (
            "targets: [{name: bi, url: 'slak://s3cret'}]",
            (
                "line 5: Butler.alerts.targets[0].url: is not a URL that Apprise understands; it begins with "
                "slak:, see docs/alerts.md#targets"
            ),
        ),
        (
            "targets: [{name: bi}]",
            "line 5: Butler.alerts.targets[0]: needs one of urlFile and url",
        ),
        (
            "targets: [{name: bi, url: 'json://h'}, {name: bi, url: 'json://h'}]",
            "line 5: Butler.alerts.targets[1]: has the name of the target in line 5; names distinguish them",
        ),
        (
            "targets: []",
            (
                "line 5: Butler.alerts.targets: is empty, and enable: true needs one; allowed: a list of "
                "{name, urlFile}"
            ),
        ),
        (
            "targets: [{name: bi, url: 'json://h'}]\n  overdue: [{tag: a, everySeconds: 59}]",
            (
                "line 6: Butler.alerts.overdue[0].everySeconds: is 59; allowed: a number of seconds, 60 to "
                "31536000 (a year)"
            ),
        ),
        (
            "targets: [{name: bi, url: 'json://h'}]\n  overdue: [{everySeconds: 60}]",
            "line 6: Butler.alerts.overdue[0]: needs one of taskId, taskName, tag, customProperty",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, lines: str, problem: str) -> None:
    assert problems(tmp_path, f"{ON}  {lines}") == [problem]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert problems(tmp_path, f"{ON}  targets: [{{name: bi, urlFile: bi.url}}]") == [
        f"line 5: Butler.alerts.targets[0].urlFile: file {tmp_path / 'bi.url'} does not exist"
    ]


@pytest.mark.parametrize("where", ["url", "urlFile"])
def test_a_url_is_in_no_message_and_no_representation(tmp_path: Path, where: str) -> None:
    (tmp_path / "s3cret-token").write_text("slack://s3cret-token")
    value = "slack://s3cret-token" if where == "url" else "s3cret-token"
    (problem,) = problems(tmp_path, f"{ON}  targets: [{{name: bi, {where}: '{value}'}}]")
    assert "s3cret-token" not in problem
    assert "s3cret" not in repr(AlertTarget("bi", "slack://s3cret-token"))


def test_a_section_that_is_off_reads_no_file_but_judges_its_kinds(tmp_path: Path) -> None:
    assert not load(tmp_path, "alerts: {targets: [{name: bi, urlFile: none.url}]}").alerts.enable
    (problem,) = problems(tmp_path, "alerts: {targets: [{name: bi, urlFile: none.url, on: [disklow]}]}")
    assert problem.endswith("unknown kind 'disklow'; did you mean diskLow?")


def test_without_apprise_the_line_that_installs_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        HEAD + indent(f"{ON}  targets: [{{name: bi, url: 'json://h'}}]", "  ")
    )
    with pytest.raises(ConfigError, match=r"pip install 'butler-mqtt\[alerts\]'"):
        loader.load(
            tmp_path / "config.yaml", {}, url_fault=lambda url: url_fault(url, installed=lambda: False)
        )

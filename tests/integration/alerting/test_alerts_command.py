"""`butler-mqtt alerts test` on targets that are there, refuse, or are not configured."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from butler_mqtt.cli.main import app
from tests.brokers import free_port
from tests.integration.alerting.targets import webhook
from tests.unit.config.configuration_files import HEAD


def run(folder: Path, targets: str, *arguments: str, enable: str = "true") -> tuple[int, str]:
    """Run the command; return its exit code and all that it prints."""
    file = folder / "config.yaml"
    file.write_text(f"{HEAD}  alerts: {{enable: {enable}, targets: [{targets}]}}\n")
    result = CliRunner().invoke(app, ["alerts", "test", *arguments, "-c", str(file)])
    return result.exit_code, result.output


def test_each_target_gets_one_alert_and_a_failure_is_told_beside_it(tmp_path: Path) -> None:
    dead = f"json://127.0.0.1:{free_port()}/?cto=1"
    with webhook() as hook:
        code, text = run(tmp_path, f"{{name: bi, url: '{hook.url}'}}, {{name: ops, url: '{dead}'}}")
    assert code == 1
    assert "bi: sent\n" in text
    assert "ops: not sent: " in text
    assert hook.titles() == ["butler-mqtt: test alert"]
    assert "s3cret" not in text


def test_one_target_alone_is_tried(tmp_path: Path) -> None:
    with webhook() as hook:
        code, text = run(tmp_path, f"{{name: bi, url: '{hook.url}'}}, {{name: ops, url: 'json://h'}}", "bi")
    assert (code, text) == (0, "bi: sent\n")


@pytest.mark.parametrize(
    ("enable", "name", "code", "words"),
    [("true", "bo", 2, "is no target"), ("false", "bi", 1, "alerts.enable is false")],
)
def test_what_cannot_be_tried_is_told(tmp_path: Path, enable: str, name: str, code: int, words: str) -> None:
    ended, text = run(tmp_path, "{name: bi, url: 'json://127.0.0.1:9'}", name, enable=enable)
    assert ended == code
    assert words in text

"""docs/audit.md is held to the program."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

import typer

from butler_mqtt.audit import requests_timeline
from butler_mqtt.cli import requests_command
from butler_mqtt.journal.search import ENDED, GOING_ON, REQUEST_STATES
from tests.integration.requests.conftest import call, lines
from tests.pipeline.harness import Harness
from tests.project import ROOT

PAGE = (ROOT / "docs" / "audit.md").read_text("utf-8")
BACKUPS = (ROOT / "docs" / "operations.md").read_text("utf-8")
COMMAND = typer.main.get_command(requests_command.app)


def test_every_step_of_a_story_is_documented() -> None:
    named = {
        str(node.args[1].value)
        for node in ast.walk(ast.parse(inspect.getsource(requests_timeline)))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") == "Step"
        and isinstance(node.args[1], ast.Constant)
    }
    assert {"arrived", "inDoubt", "quarantined"} <= named
    for step in [*named, *ENDED]:
        assert f"`{step}`" in PAGE, step


def test_every_state_that_can_be_asked_for_is_documented() -> None:
    for state in (*REQUEST_STATES, *GOING_ON, *ENDED):
        assert f"`{state}`" in PAGE, state


def test_every_command_and_filter_is_documented() -> None:
    for name in COMMAND.commands:  # type: ignore[attr-defined] # the command is a group
        assert f"butler-mqtt requests {name}" in PAGE, name
    for option in COMMAND.params:
        assert f"`{option.opts[0]}" in PAGE or option.opts[-1] == "-c", option.opts


def test_every_command_shows_an_example() -> None:
    for name in COMMAND.commands:  # type: ignore[attr-defined] # the command is a group
        assert "Example: butler-mqtt requests" in call(name, "--help").output, name


def test_every_key_of_the_audit_log_is_documented(harness: Harness) -> None:
    harness.ask({"taskId": "abc"})
    (entry,) = lines(call("export", "--journal", harness.path))
    for key in entry:
        assert f"`{key}`" in PAGE, key


def test_every_line_shown_is_understood(harness: Harness, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    needed = {
        "configQRS": {"host": "sense"},
        "cert": {"clientCert": "client.pem", "clientCertKey": "key.pem"},
    }
    journal = {"url": f"sqlite:///{harness.path}"}
    config.write_text(json.dumps({"Butler": {**needed, "journal": journal}}))
    shown = re.findall(r"^butler-mqtt requests (.*?)(?: >.*)?$", PAGE, re.MULTILINE)
    # About backups there is one page only.
    shown += re.findall(r"^(?:/opt/butler-mqtt/bin/)?butler-mqtt requests (.*)$", BACKUPS, re.MULTILINE)
    assert len(shown) > 8
    for line in shown:
        here = line.replace("/var/lib/butler-mqtt/butler-mqtt.sqlite", str(harness.path))
        words = here.replace("/var/backups", str(tmp_path)).replace("config.yaml", str(config)).split()
        done = call(*words)
        # An empty journal has nothing to show; a line that is wrong ends with 2.
        assert done.exit_code in {0, 1}, (line, done.output)
    assert (tmp_path / "butler-mqtt.sqlite").exists()

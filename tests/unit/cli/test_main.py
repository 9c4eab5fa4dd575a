"""The command line and the README that describes it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from butler_mqtt import __version__
from butler_mqtt.cli import help_pages
from butler_mqtt.cli.main import app
from butler_mqtt.cli.service_places import SERVICE
from butler_mqtt.contract import validation
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.settings import MqttSettings, RestSettings
from tests.project import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined] # the command is a group


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, prog_name="butler-mqtt")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shell_lines() -> Iterator[list[str]]:
    for block in blocks("sh"):
        for line in block.splitlines():
            yield shlex.split(line)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_shows_an_example(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0, result.output
    assert re.search(rf"Example: (butler-mqtt )?{command}\b", result.output), result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command: str) -> None:
    assert f"| `butler-mqtt {command} " in README or f"| `butler-mqtt {command}` " in README


def test_the_readme_names_every_exit_code() -> None:
    for code in ExitCode:
        assert re.search(rf"^\| {code.value} \| \w+", README, re.MULTILINE), code


@pytest.mark.parametrize("group", [[], ["requests"], ["token"]], ids=" ".join)
def test_no_summary_of_a_command_is_cut_at_80_columns(group: list[str]) -> None:
    # Of 80 columns two are left free.
    done = CliRunner().invoke(app, [*group, "--help"], prog_name="butler-mqtt", terminal_width=78)
    _, _, summaries = done.output.partition("Commands:\n")
    assert re.findall(r"^  [a-z-]+  +\S.*$", summaries, re.MULTILINE)
    assert "..." not in summaries


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the words of every command that prints its own help."""
    yield path
    for name, one in getattr(group, "commands", {}).items():
        if one.add_help_option:
            yield from commands(one, (*path, name))


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_the_help_of_every_command_fits_80_columns(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    group = typer.main.get_command(app)
    help_pages.add_to_help(group)
    with pytest.raises(SystemExit):
        group([*command, "--help"], prog_name="butler-mqtt")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  Read more:") for line in lines)
    # A word alone on its line stays whole: the path of a page.
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


@pytest.mark.parametrize(
    "command", [["run"], ["check"], ["requests"], ["resolve", "--tag", "a"]], ids=" ".join
)
def test_where_there_is_no_configuration_the_way_to_one_is_named(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*command)
    assert done.exit_code == ExitCode.CONFIG
    assert "config.yaml: 1 problem\n  file: does not exist\n" in done.stderr
    assert "-c FILE" in done.stderr
    assert "butler-mqtt init" in done.stderr
    assert ("--journal FILE" in done.stderr) == (command == ["requests"])
    assert (f"Nor does that of a service, {SERVICE.config}." in done.stderr) == (command != ["run"])


def test_the_version_is_printed() -> None:
    assert call("--version").output == f"butler-mqtt {__version__}\n"


def test_no_command_at_all_is_a_usage_error_with_help() -> None:
    result = call()
    assert result.exit_code == ExitCode.USAGE
    assert "Commands:" in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--task-id"),
        (["--custom-property", "taskGroup"], "'taskGroup' has no ="),
        (["--tag", "a", "--match", "tag"], "'tag' has no ="),
        (["--tga", "a"], "No such option"),
    ],
)
@pytest.mark.parametrize("command", ["start", "resolve"])
def test_what_cannot_be_understood_ends_with_2_and_says_why(
    command: str, arguments: list[str], complaint: str
) -> None:
    result = call(command, *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert complaint in result.output


@pytest.mark.parametrize("command", [["run"], ["start", "--tag", "a"], ["resolve", "--tag", "a"]])
def test_an_unusable_configuration_ends_with_78_and_its_problems(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("Butler:\n  mqttConfig: { brokerPrt: 1883 }\n")
    result = call(*command, "-c", str(file))
    assert result.exit_code == ExitCode.CONFIG
    assert "line 2" in result.output
    assert "brokerPort" in result.output


def test_asking_for_help_loads_no_library_that_only_the_daemon_needs() -> None:
    script = "import sys, butler_mqtt.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "typer" in loaded
    heavy = {"paho", "sqlalchemy", "alembic", "starlette", "uvicorn", "requests", "rich", "yaml", "orjson"}
    assert not loaded & {*heavy, "http.client"}


def test_the_readmes_shell_lines_are_real_commands() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    group = typer.main.get_command(app)
    seen = set()
    for program, *arguments in shell_lines():
        seen.add(program)
        if program == "make":
            assert set(arguments) <= targets
        elif program.endswith("butler-mqtt"):
            command = group.commands[arguments[0]]  # type: ignore[attr-defined] # the command is a group
            command.make_context(arguments[0], arguments[1:])
        elif program == "curl":
            assert arguments[2] == f"http://localhost:{RestSettings().server_port}/v4/reloadtask/-/start"
        elif program == "mosquitto_rr":
            assert arguments[arguments.index("-t") + 1] == MqttSettings().task_start_topic
            assert arguments[arguments.index("-e") + 1] == MqttSettings().task_start_reply_topic
    assert seen == {
        "make",
        "python3",
        "venv/bin/pip",
        "venv/bin/butler-mqtt",
        "export",
        "sed",
        "butler-mqtt",
        "curl",
        "mosquitto_rr",
    }


def test_nothing_of_the_readme_is_left_running() -> None:
    assert not re.search(r"&$", "".join(blocks("sh")), re.MULTILINE)


def test_the_readmes_requests_are_valid() -> None:
    options = {"mosquitto_rr": "-m", "curl": "-d"}
    payloads = [line[line.index(options[line[0]]) + 1] for line in shell_lines() if line[0] in options]
    payloads += [block for block in blocks("json") if "status" not in json.loads(block)]
    assert len(payloads) == 4
    for payload in payloads:
        assert validation.parse(payload.encode(), max_bytes=10_000).selectors


def test_the_readmes_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target

"""Where the program points to its documentation: every page and heading is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from butler_mqtt.cli import help_pages, main
from butler_mqtt.exit_codes import ExitCode
from tests.project import ROOT

DOCS = ROOT / "docs"
NAMED = sorted({*help_pages.ABOUT.values(), *help_pages.ADVICE.values()})


@pytest.mark.parametrize("page", NAMED)
def test_a_page_that_the_program_names_has_the_heading(page: str) -> None:
    name, _, heading = page.partition("#")
    text = (DOCS / name).read_text("utf-8")
    assert not heading or re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE), page


def test_where_says_which_file_of_this_machine_it_is() -> None:
    file, _, heading = help_pages.where("check.md#The lines").partition(", ")
    assert Path(file).is_file()
    assert heading == '"The lines"'


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Give the commands that have a help of click's, with what is typed for them."""
    yield path, command
    for name, one in getattr(command, "commands", {}).items():
        if one.add_help_option:
            yield from commands(one, f"{path} {name}")


def helps() -> dict[str, str]:
    """Give the `--help` of every command, in a terminal of 80 columns."""
    top = typer.main.get_command(main.app)
    help_pages.add_to_help(top)
    found = {}
    for path, one in commands(top, "butler-mqtt"):
        context = one.make_context(path, [], resilient_parsing=True, terminal_width=80)
        found[path] = one.get_help(context)
    return found


HELPS = helps()


@pytest.mark.parametrize("path", HELPS)
def test_the_help_of_a_command_ends_with_an_example_and_a_page(path: str) -> None:
    *_, example, page = re.split(r"\n\s*\n", HELPS[path].strip())
    assert " ".join(example.split()).startswith("Example: butler-mqtt ")
    assert not re.search(r"\w-\n", example), example  # it is copied from there
    found = re.fullmatch(r"Read more: (\S+?)(?:, \"(.+)\")?", " ".join(page.split()))
    assert found is not None, page
    assert Path(found[1]).is_file()


def test_every_command_of_the_top_has_a_page_and_each_page_a_command() -> None:
    assert {path.split(" ")[1] for path in HELPS if " " in path} <= set(help_pages.ABOUT)
    typed = set(help_pages.ABOUT) - {"", "simulate-qrs"}  # whose options are not click's
    assert {f"butler-mqtt {one}" for one in typed} <= set(HELPS)


def test_the_help_of_the_simulator_ends_with_an_example_and_a_page_too() -> None:
    done = CliRunner().invoke(main.app, ["simulate-qrs", "--help"])
    text = " ".join(done.output.split())
    assert done.exit_code == 0
    assert "Example: butler-mqtt simulate-qrs --" in text
    assert text.endswith("docs/simulator.md")


def test_a_command_of_a_group_names_the_page_that_is_about_it() -> None:
    for command, page in (("backup", "operations.md"), ("resend", "audit.md")):
        assert f"docs/{page}" in HELPS[f"butler-mqtt requests {command}"]


@pytest.mark.parametrize("code", [code for code in ExitCode if code > ExitCode.USAGE])
def test_an_exit_code_that_somebody_must_act_on_has_a_page(code: ExitCode) -> None:
    line = help_pages.advice(code)
    assert line is not None
    named = re.fullmatch(r"read more: ([^,]+\.md)(?:, \".+\")?", line)
    assert named is not None, line
    assert Path(named[1]).is_file()


@pytest.mark.parametrize("code", [ExitCode.OK, ExitCode.FAILED, ExitCode.USAGE])
def test_other_ends_name_no_page(code: ExitCode) -> None:
    assert help_pages.advice(code) is None


def test_the_wheel_has_the_pages_where_the_program_looks_for_them() -> None:
    build = (ROOT / "pyproject.toml").read_text("utf-8")
    assert '"docs" = "share/butler-mqtt/docs"' in build
    unit = (ROOT / "systemd/butler-mqtt.service").read_text("utf-8")
    (named,) = re.findall(r"^Documentation=file://(.+)$", unit, re.MULTILINE)
    assert named == "/opt/butler-mqtt/share/butler-mqtt/docs/install.md"

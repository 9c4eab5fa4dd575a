"""deploy/debian, held to the program: manual page, completion, and the paths of the unit."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from butler_mqtt.cli.main import app
from tests.project import ROOT

FOLDER = ROOT / "deploy" / "debian"
UNIT = (ROOT / "systemd" / "butler-mqtt.service").read_text("utf-8")
#: What was typed, and what is offered.
OFFERED = {
    "hea": {"health"},
    "token ": {"add", "--help"},
    "requests res": {"restore", "resume", "resend"},
    "health --u": {"--url"},
    "start --tag x --dr": {"--dry-run"},
}


def written(what: str) -> str:
    command = [sys.executable, str(FOLDER / "command_pages.py"), what]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    for name, one in getattr(command, "commands", {}).items():
        yield from paths(one, (*path, name))


def test_the_manual_page_has_every_command_and_is_well_formed() -> None:
    page = written("man")
    for path in paths(typer.main.get_command(app)):
        assert f"\n.SS {' '.join(path)}\n".replace("-", "\\-") in page, path
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


@pytest.mark.parametrize("typed", OFFERED)
def test_the_completion_offers_commands_and_their_options(typed: str) -> None:
    words = f"butler-mqtt {typed}".split(" ")
    script = (
        f"{written('completion')}\nCOMP_WORDS=({' '.join(repr(word) for word in words)})"
        f'\nCOMP_CWORD={len(words) - 1}; _butler_mqtt; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert OFFERED[typed] <= set(done.stdout.split()), done.stdout


def test_the_package_installs_what_the_unit_runs_where_the_unit_looks() -> None:
    build = (FOLDER / "build").read_text("utf-8")
    (program,) = re.findall(r"^ExecStart=(\S+)/bin/butler-mqtt ", UNIT, re.MULTILINE)
    assert f"$stage{program}\n" in build
    (config,) = re.findall(r"^ExecStart=.* -c (\S+)$", UNIT, re.MULTILINE)
    assert f"$stage{config}" in build
    postinst = (FOLDER / "postinst").read_text("utf-8")
    (password,) = re.findall(r"^LoadCredential=mqtt-password:(\S+)$", UNIT, re.MULTILINE)
    assert password in postinst
    assert "/var/lib/butler-mqtt" in postinst


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_a_script_of_the_package_is_posix_shell(script: str) -> None:
    assert (FOLDER / script).read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(FOLDER / script)], check=True)

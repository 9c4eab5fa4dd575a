"""deploy/debian, held to the program: its manual page, and the paths of the unit."""

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


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    for name, one in getattr(command, "commands", {}).items():
        yield from paths(one, (*path, name))


def test_the_manual_page_has_every_command_and_is_well_formed() -> None:
    command = [sys.executable, str(FOLDER / "man_page.py")]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for path in paths(typer.main.get_command(app)):
        assert f"\n.SS {' '.join(path)}\n".replace("-", "\\-") in page, path
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z"], input=page, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


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

"""The completion that `deploy/` has for bash, in a bash of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.project import ROOT

SCRIPT = ROOT / "deploy" / "completion" / "butler-mqtt.bash"
#: What bash does when Tab is pressed behind the words given.
PRESS_TAB = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
read -r _ _ _ _ function _ < <(complete -p butler-mqtt)
"$function" butler-mqtt
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["ru"], ["run", "rules"]),
        (["rev"], ["review"]),
        (["requests", "res"], ["resend", "restore", "resume"]),
        (["requests", "--st"], ["--state"]),
        (["start", "--if-running", ""], ["queue", "skip"]),
    ],
    ids=" ".join,
)
def test_bash_completes_commands_options_and_values(words: list[str], completed: list[str]) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", PRESS_TAB, "bash", SCRIPT, "butler-mqtt", *words],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (completed, "")


def test_the_wheel_installs_it_where_bash_completion_looks() -> None:
    shared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    places = shared["shared-data"]
    assert places[str(SCRIPT.relative_to(ROOT))] == "share/bash-completion/completions/butler-mqtt"

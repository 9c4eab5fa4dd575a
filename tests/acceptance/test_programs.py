"""The copies that the tests run in place of new processes: they do what those do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs
from tests.programs import Copy

PROGRAM = [sys.executable, "-m", "butler_mqtt"]


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["requests", "--state", "nix"], ["check", "-c", "none.yaml"], ["run", "-c", "none.yaml"]],
    ids=" ".join,
)
def test_a_copy_prints_and_ends_as_a_new_process_does(arguments: list[str], tmp_path: Path) -> None:
    new = subprocess.run([*PROGRAM, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    copy = programs.run([*PROGRAM, *arguments], cwd=tmp_path)
    assert (copy.returncode, copy.stdout, copy.stderr) == (new.returncode, new.stdout, new.stderr)


def test_a_copy_is_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "butler_mqtt.simulator", "--no-tls", "--port", "0"]
    with programs.start(command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True) as copy:
        assert isinstance(copy, Copy)
        assert copy.stdout is not None
        assert "listening on" in copy.stdout.readline()
        assert os.getsid(copy.pid) == copy.pid != os.getsid(0)
        assert Path(f"/proc/{copy.pid}/cwd").readlink() == tmp_path
        assert copy.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            copy.wait(0)
        copy.send_signal(signal.SIGKILL)
    assert copy.returncode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["PYTHONIOENCODING", "LD_PRELOAD", "LC_ALL"])
def test_what_takes_effect_before_a_programs_first_line_is_given_to_a_new_process(name: str) -> None:
    with programs.start([*PROGRAM, "--version"], env={name: ""}, stdout=subprocess.DEVNULL) as new:
        assert isinstance(new, subprocess.Popen)
    assert new.returncode == 0

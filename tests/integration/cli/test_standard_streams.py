"""Standard streams that are closed or full, or a folder that is gone: no traceback, the right code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = f"{sys.executable} -m butler_mqtt"
MISSING = "check -c /nonexistent/config.yaml"


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--version >&-", 0),
        ("--version <&- >&- 2>&-", 0),
        (f"{MISSING} >&-", 78),
        (f"{MISSING} 2>&-", 78),
        (f"{MISSING} 2>/dev/full", 78),
    ],
)
def test_the_exit_code_is_the_same_where_nothing_can_be_said(command: str, code: int, tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} {command}", tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize("command", ["--version", "--help", "token --help"])
def test_output_to_a_full_disk_is_one_line_and_a_failure(command: str, tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} {command} >/dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr == "butler-mqtt: standard output cannot be written: No space left on device\n"


def test_a_folder_that_is_gone_is_one_line_and_a_failure(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = shell(f"rmdir {gone}; {PROGRAM} check", gone)
    assert done.returncode == 1
    assert done.stderr == (
        "butler-mqtt: the current folder cannot be used: No such file or directory; change to another\n"
    )

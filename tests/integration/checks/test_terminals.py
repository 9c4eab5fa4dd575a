"""Commands started where nothing is UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from butler_mqtt.exit_codes import ExitCode
from tests.acceptance.service.process import write_config
from tests.brokers import free_port

NAME = "Täglich → 日報"
ENCODINGS = pytest.mark.parametrize("encoding", ["ascii", "iso8859-1"])


def run(encoding: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {**os.environ, **plain, "PYTHONIOENCODING": f"{encoding}:strict"}
    command = [sys.executable, "-m", "butler_mqtt", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(write_config(tmp_path, port=free_port()))


@ENCODINGS
def test_check_prints_its_arrows_replaced(config: str, encoding: str) -> None:
    done = run(encoding, "check", "-c", config)
    assert done.returncode == ExitCode.UNAVAILABLE
    assert b"Traceback" not in done.stderr
    assert "         ? check" in done.stdout.decode(encoding)


@ENCODINGS
def test_check_prints_json_in_ascii(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"Butler: {{logLevel: '{NAME}'}}", "utf-8")
    done = run(encoding, "check", "-c", str(file), "--json")
    assert done.returncode == ExitCode.CONFIG
    assert any(NAME in one["text"] for one in json.loads(done.stdout.decode("ascii")))
    assert b"Traceback" not in done.stderr


@ENCODINGS
def test_an_error_about_a_foreign_name_has_no_traceback(encoding: str) -> None:
    done = run(encoding, "check", "-c", f"/no/such/{NAME}.yaml")
    assert done.returncode == ExitCode.CONFIG
    assert b"does not exist" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", [(), ("check",), ("requests",), ("start",), ("token",)])
def test_help_is_ascii(command: tuple[str, ...]) -> None:
    done = run("ascii", *command, "--help")
    assert done.returncode == ExitCode.OK
    assert done.stdout.isascii()

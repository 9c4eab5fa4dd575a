"""The unit: accepted by systemd, hardened, and in step with the program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from butler_mqtt.daemon.daemon_timings import DaemonTimings
from butler_mqtt.exit_codes import ExitCode
from tests.project import ROOT

SYSTEMD = ROOT / "systemd"
UNIT = SYSTEMD / "butler-mqtt.service"


def run(*command: str) -> str:
    assert shutil.which(command[0]), f"{command[0]} is missing: apt-get install systemd"
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def values(name: str) -> list[str]:
    """Return every value of one setting of the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    # The paths of the installation exist on the machine it is installed on.
    stub = tmp_path / "butler-mqtt"
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    text = UNIT.read_text().replace("/opt/butler-mqtt/bin/butler-mqtt", str(stub))
    (tmp_path / UNIT.name).write_text(text)
    assert run("systemd-analyze", "verify", str(tmp_path / UNIT.name)) == ""


def test_the_exposure_is_at_most_one_and_a_half() -> None:
    shown = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT))
    found = re.search(r"Overall exposure level for butler-mqtt\.service: ([\d.]+)", shown)
    assert found is not None, shown
    assert float(found[1]) <= 1.5


def test_the_daemon_may_choose_its_cpu() -> None:
    # Of the group @resources, which is denied as a whole just before.
    assert values("SystemCallFilter") == ["@system-service", "~@privileged @resources", "sched_setaffinity"]


def test_the_user_is_one_that_systemd_can_make(tmp_path: Path) -> None:
    shutil.copy(SYSTEMD / "butler-mqtt.sysusers", tmp_path / "butler-mqtt.conf")
    run("systemd-sysusers", "--dry-run", str(tmp_path / "butler-mqtt.conf"))
    assert values("User") == values("Group") == ["butler-mqtt"]
    assert "u butler-mqtt " in (SYSTEMD / "butler-mqtt.sysusers").read_text()


def test_only_exit_codes_that_a_restart_cannot_fix_prevent_it() -> None:
    prevented = {int(code) for value in values("RestartPreventExitStatus") for code in value.split()}
    assert prevented == {ExitCode.USAGE, ExitCode.CLIENT_ID_IN_USE, ExitCode.CONFIG}


def test_systemd_waits_longer_for_the_end_than_the_daemon_needs() -> None:
    (timeout,) = values("TimeoutStopSec")
    # After the drain: the door and the replies 5 s each, then the threads.
    timings = DaemonTimings()
    assert timings.drain_seconds + 10 < timings.stop_seconds
    assert int(timeout) > timings.stop_seconds + 10


def test_the_start_is_extended_by_less_than_systemd_would_wait_at_first() -> None:
    (timeout,) = values("TimeoutStartSec")
    assert int(timeout) >= DaemonTimings().extend_seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("Restart", "always"),
        ("StartLimitIntervalSec", "0"),
        ("StateDirectory", "butler-mqtt"),
    ],
)
def test_what_the_documentation_promises_of_the_unit(name: str, value: str) -> None:
    assert values(name) == [value]


def test_every_secret_comes_as_a_credential() -> None:
    for credential in values("LoadCredential"):
        name, _, path = credential.partition(":")
        assert path == f"/etc/butler-mqtt/credentials/{name}"
    names = {credential.partition(":")[0] for credential in values("LoadCredential")}
    assert {"client_key.pem", "mqtt-password"} <= names

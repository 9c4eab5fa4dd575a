"""How the daemon ends: signals, deadlines, exit codes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from butler_mqtt.exit_codes import ExitCode
from tests.acceptance.service.process import Manager, manager, service, write_config
from tests.brokers import Mosquitto, free_port

#: The daemon with less patience for a broker that refuses it.
IMPATIENT = """
import os, sys
from pathlib import Path
from butler_mqtt import logs
from butler_mqtt.config import loader
from butler_mqtt.daemon.daemon import Daemon
from butler_mqtt.daemon.daemon_timings import DaemonTimings
logs.set_up("info")
settings = loader.load(Path(sys.argv[1]), os.environ)
sys.exit(Daemon(settings, timings=DaemonTimings(refused_seconds=1.0)).run())
"""

#: A daemon that waits for work in hand for as long as it may, since something is always in hand.
BUSY = """
import os, sys, threading
from pathlib import Path
from butler_mqtt import logs
from butler_mqtt.config import loader
from butler_mqtt.daemon.daemon import Daemon
logs.set_up("info")
made = Daemon(loader.load(Path(sys.argv[1]), os.environ))
made.pipeline.drain = lambda seconds: threading.Event().wait(seconds)
sys.exit(made.run())
"""


@pytest.fixture
def systemd() -> Iterator[Manager]:
    with manager() as made:
        yield made


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_waits_for_its_broker_ends_at_once_with_0(
    systemd: Manager, tmp_path: Path, number: signal.Signals
) -> None:
    with service(write_config(tmp_path, port=free_port()), systemd.environ) as daemon:
        systemd.waits_for_status(lambda status: status.startswith("connecting"))
        daemon.signal(number)
        assert daemon.ends(15) == ExitCode.OK
        assert "action=stopped" in daemon.log()


def test_the_second_signal_ends_it_at_once_with_1(systemd: Manager, tmp_path: Path) -> None:
    with service(write_config(tmp_path, port=free_port()), systemd.environ, program=BUSY) as daemon:
        systemd.waits_for_status(lambda status: status.startswith("connecting"))
        daemon.signal(signal.SIGTERM)
        systemd.waits_for("STOPPING=1")
        daemon.signal(signal.SIGTERM)
        assert daemon.ends(5) == ExitCode.FAILED


def test_a_hang_up_while_stopping_changes_nothing(systemd: Manager, tmp_path: Path) -> None:
    with service(write_config(tmp_path, port=free_port()), systemd.environ, program=BUSY) as daemon:
        systemd.waits_for_status(lambda status: status.startswith("connecting"))
        daemon.signal(signal.SIGTERM)
        systemd.waits_for("STOPPING=1")
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGTERM)
        assert daemon.ends(5) == ExitCode.FAILED


def test_a_broker_that_keeps_refusing_ends_it_with_69(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker", passwords={"x": "y"}) as broker,
        service(write_config(tmp_path, port=broker.port), program=IMPATIENT) as daemon,
    ):
        assert daemon.ends() == ExitCode.UNAVAILABLE
        assert "the broker has refused us for 1 s" in daemon.log()


def test_a_second_daemon_on_one_journal_ends_with_73(systemd: Manager, tmp_path: Path) -> None:
    config = write_config(tmp_path, port=free_port())
    with service(config, systemd.environ):
        systemd.waits_for_status(lambda status: status.startswith("connecting"))
        with service(config) as second:
            assert second.ends() == ExitCode.JOURNAL
            assert "is in use by another butler-mqtt" in second.log()


def test_a_configuration_that_cannot_be_used_ends_it_with_78(tmp_path: Path) -> None:
    config = write_config(tmp_path, port=free_port(), more="  logLevel: loud\n")
    with service(config) as daemon:
        assert daemon.ends() == ExitCode.CONFIG
        assert "logLevel" in daemon.log()


def test_an_unknown_option_ends_it_with_2(tmp_path: Path) -> None:
    with service(write_config(tmp_path, port=free_port()), None, "--loud") as daemon:
        assert daemon.ends() == ExitCode.USAGE

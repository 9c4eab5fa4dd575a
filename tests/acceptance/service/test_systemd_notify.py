"""What the service manager is notified of over its socket."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from butler_mqtt.daemon.systemd import Notify
from tests.acceptance.service.process import Manager, broker_config, manager, service, write_config
from tests.brokers import Mosquitto, free_port, until
from tests.integration.mqtt.recording import plain_client
from tests.integration.simulator.running import QUICK, TASKS, Running, running

#: A daemon whose pipeline hangs as soon as a request arrives by REST, which it sends itself on SIGUSR1.
HANGS = f"""
import signal, sys, threading, os
from pathlib import Path
from butler_mqtt import logs
from butler_mqtt.clock import now_ms
from butler_mqtt.config import loader
from butler_mqtt.daemon.daemon import Daemon
from butler_mqtt.daemon.daemon_timings import DaemonTimings
from butler_mqtt.domain.model import Arrival

class Hanging(Daemon):
    def hang(self, *_):
        body = b'{{"taskId": "{QUICK}"}}'
        self.pipeline.emit(Arrival("rest", body, now_ms(), on_stored=lambda _: threading.Event().wait()))

settings = loader.load(Path(sys.argv[1]), os.environ)
logs.set_up("info")
daemon = Hanging(settings, timings=DaemonTimings(patience_seconds=1.0))
signal.signal(signal.SIGUSR1, daemon.hang)
sys.exit(daemon.run())
"""


@pytest.fixture
def systemd() -> Iterator[Manager]:
    with manager() as made:
        yield made


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("broker")) as made:
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("site")
    tasks = folder / "tasks.yaml"
    tasks.write_text(TASKS)
    with running(folder / "certs", "--tasks", str(tasks)) as made:
        yield made


def test_ready_is_notified_once_subscribed_and_the_status_shows_it(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path
) -> None:
    with service(broker_config(tmp_path, broker, site), systemd.environ) as daemon:
        ready = systemd.waits_for("READY=1")
        assert "Subscribed to qliksense/task/start at QoS 1" in daemon.log()
        systemd.waits_for_status(lambda status: status == "ready, 0 open requests")
        assert systemd.notified().count("READY=1") == 1
        assert ready > systemd.waits_for("STATUS=opening the journal")


def test_while_the_broker_is_down_the_start_is_extended_and_not_over(
    systemd: Manager, tmp_path: Path
) -> None:
    with service(write_config(tmp_path, port=free_port()), systemd.environ) as daemon:
        systemd.waits_for_status(lambda status: status.startswith("connecting, broker 127.0.0.1:"))
        seen = len(systemd.notified())
        extension = systemd.notified()[systemd.waits_for("EXTEND_TIMEOUT_USEC=", after=seen)]
        assert int(extension.partition("=")[2]) >= 30_000_000
        assert "Connection refused" in systemd.status()
        assert "READY=1" not in systemd.notified()
        assert daemon.process.poll() is None


def test_a_broker_that_comes_later_makes_it_ready(systemd: Manager, tmp_path: Path) -> None:
    late = Mosquitto(tmp_path / "broker")
    with service(write_config(tmp_path, port=late.port), systemd.environ):
        systemd.waits_for_status(lambda status: status.startswith("connecting"))
        assert "READY=1" not in systemd.notified()
        with late:
            systemd.waits_for("READY=1", seconds=30)


def test_a_refused_subscription_is_not_ready(systemd: Manager, tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker", refused_subscriptions=("qliksense/task/start",)) as refusing,
        service(write_config(tmp_path, port=refusing.port), systemd.environ),
    ):
        status = systemd.waits_for_status(lambda status: status.startswith("refused"))
        assert "the subscription to qliksense/task/start was answered with" in status
        assert "READY=1" not in systemd.notified()


def test_a_broker_that_goes_away_shows_in_the_status(systemd: Manager, tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path / "broker") as leaving,
        service(write_config(tmp_path, port=leaving.port), systemd.environ) as daemon,
    ):
        systemd.waits_for("READY=1")
        leaving.kill()
        systemd.waits_for_status(lambda status: status.startswith("connecting, broker"))
        assert daemon.process.poll() is None


def test_a_qlik_server_that_is_down_is_named_with_the_time(
    systemd: Manager, broker: Mosquitto, tmp_path: Path
) -> None:
    config = broker_config(tmp_path, broker, mqtt="    clientId: no-qlik\n    statusTopic: no-qlik\n")
    with service(config, systemd.environ):
        status = systemd.waits_for_status(lambda status: "Qlik server" in status and "ready" in status)
        assert re.fullmatch(
            r"ready, 0 open requests, Qlik server 127.0.0.1:9 unreachable since \d{4}-\d\d-\d\d [\d:]{8}",
            status,
        )
        assert "READY=1" in systemd.notified()


def test_the_watchdog_is_fed_several_times_per_period(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path
) -> None:
    environ = {**systemd.environ, "WATCHDOG_USEC": "1000000"}
    with service(broker_config(tmp_path, broker, site), environ):
        systemd.waits_for("READY=1")
        since, before = time.monotonic(), systemd.notified().count("WATCHDOG=1")
        until(lambda: systemd.notified().count("WATCHDOG=1") >= before + 4, what="fed four times")
        assert time.monotonic() - since < 12


def test_the_watchdog_starves_when_the_pipeline_hangs_and_the_log_names_it(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path
) -> None:
    environ = {**systemd.environ, "WATCHDOG_USEC": "1000000"}
    with service(broker_config(tmp_path, broker, site), environ, program=HANGS) as daemon:
        systemd.waits_for("READY=1")
        daemon.signal(signal.SIGUSR1)

        def hung(seconds: int) -> None:
            """Wait until the status names so many seconds; a busy machine may name one of a turn before."""
            systemd.waits_for_status(
                lambda status: any(
                    int(one) >= seconds for one in re.findall(r"hung: pipeline \((\d+) s", status)
                )
            )

        hung(2)
        assert "the watchdog is not fed any more" in daemon.log()
        fed = systemd.notified().count("WATCHDOG=1")
        hung(4)
        assert systemd.notified().count("WATCHDOG=1") == fed
        # As systemd does it; where each thread hangs is then in the log.
        daemon.signal(signal.SIGABRT)
        assert daemon.ends() == -signal.SIGABRT
        assert re.search(r"Thread 0x.*\n(  File .*\n)*  File .*pipeline.py\", line \d+ in run", daemon.log())


def test_stopping_is_notified_first_and_then_offline_is_published(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path
) -> None:
    config = broker_config(tmp_path, broker, site)
    with plain_client(broker, "qliksense/butler/status") as watcher:
        with service(config, systemd.environ) as daemon:
            systemd.waits_for("READY=1")
            daemon.signal(signal.SIGTERM)
            assert daemon.ends() == 0
        stopping = systemd.waits_for("STOPPING=1")
        systemd.waits_for("STATUS=stopping, 0 open requests", after=stopping)
        assert not [line for line in systemd.notified()[stopping:] if line.startswith(("READY", "WATCHDOG"))]
        # What came before is of earlier daemons.
        statuses: list[str] = []
        while statuses[-2:] != ["online", "offline"]:
            statuses.append(json.loads(watcher.messages.get(timeout=10).payload)["status"])


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    with manager() as systemd:
        environ = {**systemd.environ, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
        assert Notify(environ).watchdog_seconds is None
        assert Notify({**environ, "WATCHDOG_PID": str(os.getpid())}).watchdog_seconds == 1.0


def test_without_a_manager_nothing_is_sent_and_nothing_fails() -> None:
    notify = Notify({})
    notify.ready()
    notify.status("x")
    assert notify.watchdog_seconds is None


def test_a_status_is_one_line_and_notified_once() -> None:
    with manager() as systemd:
        notify = Notify(systemd.environ)
        notify.status("refused:\nREADY=1\n  by the broker")
        notify.status("refused: READY=1 by the broker")
        assert systemd.notified() == ["STATUS=refused: READY=1 by the broker"]


def test_a_manager_that_is_gone_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    notify = Notify({"NOTIFY_SOCKET": "/nonexistent/notify"})
    notify.ready()
    notify.alive()
    assert [record.__dict__["action"] for record in caplog.records] == ["notify_failed"]


def test_reloading_carries_the_time_systemd_wants() -> None:
    with manager() as systemd:
        Notify(systemd.environ).reloading()
        flag, stamp = systemd.notified()
        assert flag == "RELOADING=1"
        assert abs(int(stamp.removeprefix("MONOTONIC_USEC=")) / 1e6 - time.monotonic()) < 5

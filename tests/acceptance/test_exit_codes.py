"""How the program ends: each exit code and what it leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import STATUS, Sender
from tests.brokers import Mosquitto, until

MakeDaemon = Callable[..., Daemon]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_sigint_end_with_0_and_offline_and_leave_the_session(
    number: signal.Signals, make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        sender.wait(lambda got: got.topic == STATUS and got.json["status"] == "online")
        daemon.signal(number)
        assert daemon.wait() == 0
        offline = sender.wait(lambda got: got.topic == STATUS and got.json["status"] == "offline")
        assert "stopped" in daemon.log()
        # The broker keeps what is published now, since the session is kept.
        topic = sender.send({"taskId": qlik.task()})
        daemon.start()
        assert sender.answer(topic)["status"] == "ok"
    with Sender(broker.port) as late:
        status = late.wait(lambda got: got.topic == STATUS)
        assert status.retain
        assert status.json["instance"] != offline.json["instance"]


def test_work_in_hand_is_finished_and_told_before_the_end(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    fault = qlik.fault("slow", method="POST", taskId=task, when="before", seconds=1)
    daemon = make_daemon(broker).start()
    with Sender(broker.port) as sender:
        topic = sender.send({"taskId": task})
        until(lambda: qlik.struck(fault), what="the start is on its way")
        assert daemon.stop() == 0
        [entry] = sender.answer(topic)["tasksStarted"]
        assert "adopted" not in entry
    assert daemon.rows("SELECT count(*) FROM outbox") == [(0,)]


def test_a_second_sigterm_ends_at_once_and_nothing_is_lost(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task(result="never")
    qlik.fault("hang", method="POST", taskId=task, when="after", seconds=20)
    daemon = make_daemon(broker, configQRS={"readTimeoutSeconds": 20})
    daemon.start()
    with Sender(broker.port) as sender:
        topic = sender.send({"taskId": task})
        until(lambda: qlik.executions(task), what="the start has taken effect")
        daemon.signal(signal.SIGTERM)
        daemon.wait_log("stopping")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(15) == 1
        daemon.start()
        [entry] = sender.answer(topic, seconds=30)["tasksStarted"]
        assert entry["adopted"] is True
    assert len(qlik.start_calls(task)) == 1
    qlik.end(task)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Butler: {mqttConfig: {brokerPort: 99999}}", "brokerPort"),
        ("Butler: {mqttConfig: {brokerHots: x}}", "brokerHost"),
        ("Butler: [", "line"),
        ("", "Butler"),
    ],
)
def test_a_wrong_configuration_ends_with_78_and_is_named(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "butler_mqtt", "run", "-c", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 78
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["config.yaml"]


def test_a_configuration_that_is_not_there_ends_with_78(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "butler_mqtt", "run", "-c", str(tmp_path / "none.yaml")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 78
    assert "none.yaml" in done.stderr


def test_an_unknown_option_ends_with_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "butler_mqtt", "run", "--nonsense"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2

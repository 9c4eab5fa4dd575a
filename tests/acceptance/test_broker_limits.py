"""A broker that closes the connection on what it does not take."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import START, Sender
from tests.brokers import Mosquitto

MakeDaemon = Callable[..., Daemon]


def test_a_reply_that_mosquitto_hangs_up_on_is_set_aside_and_the_others_arrive(
    tmp_path: Path, make_daemon: MakeDaemon, qlik: Qlik
) -> None:
    tasks = qlik.tasks(25)
    with Mosquitto(tmp_path / "small", extra="max_packet_size 2000") as broker:
        daemon = make_daemon(broker, mqttConfig={"protocolVersion": "3.1.1"}).start()
        with Sender(broker.port, "3.1.1") as sender:
            sender.send({"requestId": "too-long", "taskId": tasks, "dryRun": True})
            for number in range(5):
                assert sender.ask({"taskId": tasks[number], "dryRun": True})["status"] == "ok"
            line = daemon.wait_log("cannot be published", seconds=90)
            assert sender.ask({"taskId": tasks[0]})["totalTasksStarted"] == 1
        assert "too-long" in line
        assert "the connection was closed" in line
        assert daemon.rows("select request_id from outbox where quarantined_at") == [("too-long",)]


def peak(daemon: Daemon) -> int:
    """Give the most memory the daemon ever had, in bytes."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def test_a_quarter_of_a_gigabyte_is_refused_without_being_held(
    tmp_path: Path, make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    program = shutil.which("mosquitto_pub")
    assert program is not None, "apt-get install mosquitto-clients"
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(250_000_000)
    daemon = make_daemon(broker, mqttConfig={"protocolVersion": "3.1.1"}).start()
    task = qlik.task()
    with Sender(broker.port, "3.1.1") as sender:
        sender.drain()
        before = peak(daemon)
        common = [program, "-p", str(broker.port), "-q", "1", "-t", START]
        subprocess.run([*common, "-f", str(large)], check=True)
        reply = sender.wait(lambda got: b"too_large" in got.payload, what="the refusal").json
        assert reply["code"] == "too_large"
        assert sender.ask({"taskId": task})["totalTasksStarted"] == 1
        assert peak(daemon) - before < 30_000_000
    assert daemon.journal.stat().st_size < 5_000_000
    assert daemon.rows("select length(payload) from deliveries where length(payload) > 1000") == [(2048,)]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_five_restarts_of_the_broker_in_ten_seconds_set_nothing_aside_and_end_nothing(
    version: str, make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    tasks = qlik.tasks(40)
    daemon = make_daemon(broker, mqttConfig={"protocolVersion": version}).start()
    with Sender(broker.port, version, client_id="patient") as sender:
        for number in range(5):
            for task in tasks[8 * number : 8 * number + 8]:
                body = {"requestId": f"roll-{task}", "taskId": task, "replyTopic": f"qliksense/test/{task}"}
                sender.publish(body)
            broker.stop()
            broker.start()
        for task in tasks:
            assert sender.answer(f"qliksense/test/{task}")["totalTasksStarted"] == 1
    assert daemon.runs()
    assert not daemon.logged("message_quarantined")
    assert not daemon.logged("is in use elsewhere")

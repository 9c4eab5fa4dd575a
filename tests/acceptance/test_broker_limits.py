"""A broker that closes the connection on what it does not take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
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

"""More requests than may be open at once: they wait with the broker, and none is lost or taken twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.relay import Relay
from tests.acceptance.rig import Daemon
from tests.brokers import Mosquitto, until
from tests.integration.mqtt.recording import plain_client

REPLIES = "qliksense/test/too-many"
START = "qliksense/task/start"
RECOGNISED = "was delivered again by the broker"
REQUESTS = 400
#: Of each request; white space counts for memory, not for what is asked.
BYTES = 120_000


def test_thousands_beyond_the_limit_are_not_held_in_memory_and_all_answered_in_order(
    make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    with (
        Mosquitto(tmp_path / "broker", extra="max_queued_messages 0") as broker,
        Relay(broker.port) as relay,
        plain_client(broker, REPLIES) as sender,
    ):
        daemon = make_daemon(
            relay.port, startTask={"maxOpenRequests": 20}, mqttConfig={"receiveMaximum": 20}
        ).start()
        daemon.stop()
        body = json.dumps({"tag": "nobody-has-this", "dryRun": True}).ljust(BYTES)
        for number in range(REQUESTS):
            sender.publish(START, body, ResponseTopic=REPLIES, CorrelationData=number.to_bytes(2, "big"))
        # mosquitto 2.0 answers each PUBACK with as many as the limit allows at all.
        daemon.start()
        before = memory(daemon, "VmRSS")
        # A broker that has not read our acknowledgements delivers those messages again.
        relay.hold_up()
        known = deliveries(daemon)
        until(lambda: deliveries(daemon) > known, what="some are acknowledged in vain")
        relay.cut()
        relay.flow()
        for _ in range(REQUESTS):
            sender.take()
        assert deliveries(daemon) == REQUESTS
        order = daemon.rows("SELECT correlation FROM deliveries ORDER BY id")
        assert [int.from_bytes(one, "big") for (one,) in order] == list(range(REQUESTS))
        assert daemon.logged(RECOGNISED)
        assert memory(daemon, "VmHWM") - before < REQUESTS * BYTES / 2


def deliveries(daemon: Daemon) -> int:
    return int(daemon.rows("SELECT count(*) FROM deliveries")[0][0])


def memory(daemon: Daemon, kind: str) -> int:
    """Give the bytes that the process has in memory, or had at most."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024

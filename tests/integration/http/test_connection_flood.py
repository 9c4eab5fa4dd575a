"""Ten thousand idle connections and slow clients do no harm to MQTT."""

from __future__ import annotations

import resource
import socket
from contextlib import ExitStack

import requests

from tests.acceptance.sender import Sender
from tests.brokers import until
from tests.integration.http.daemon_with_listeners import ListeningDaemon


def test_ten_thousand_idle_connections_do_no_harm_to_mqtt(listening: ListeningDaemon) -> None:
    assert listening.broker is not None
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 12_000), hard))
    before = listening.memory()
    with Sender(listening.broker.port) as sender, ExitStack() as stack:
        held = 0
        for _ in range(10_000):
            connection = stack.enter_context(socket.socket())
            connection.settimeout(5)
            held += connection.connect_ex(("127.0.0.1", listening.port)) == 0
        assert held == 10_000
        task = listening.qlik.task()
        answer = sender.ask({"taskId": task}, seconds=10)
        assert answer["totalTasksStarted"] == 1
        assert listening.memory() - before < 30_000_000
        assert requests.get(listening.monitoring + "/healthz", timeout=5).ok
    until(lambda: _answers(listening), seconds=20, what="REST is back when they are gone")


def _answers(listening: ListeningDaemon) -> bool:
    try:
        return requests.get(listening.url + "/healthz", timeout=5).ok
    except requests.RequestException:
        return False

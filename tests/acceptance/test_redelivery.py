"""A broker that loses our acknowledgements delivers all again; each task is started once all the same."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.acceptance.forgetful import ForgetfulBroker
from tests.acceptance.rig import Daemon, Qlik
from tests.brokers import until

MakeDaemon = Callable[..., Daemon]
#: Several times as many as may be under way.
REQUESTS = 600
RECOGNISED = "was delivered again by the broker"


def test_hundreds_of_acknowledged_requests_without_ids_are_recognised_after_a_kill_and_after_a_cut(
    make_daemon: MakeDaemon, qlik: Qlik
) -> None:
    tasks = qlik.tasks(REQUESTS)
    bodies = [json.dumps({"taskId": task}).encode() for task in tasks]
    with ForgetfulBroker(bodies) as broker:
        daemon = make_daemon(broker.port).start()
        acknowledged(broker)
        daemon.kill()
        broker.acknowledged = []
        daemon.start(ready=False)
        acknowledged(broker)
        broker.acknowledged = []
        broker.cut()
        acknowledged(broker)
        until(lambda: daemon.rows("SELECT 1 FROM requests WHERE closed_at IS NULL") == [], what="answered")
        assert [qlik.posts(task) for task in tasks] == [1] * REQUESTS
        assert daemon.rows("SELECT count(*) FROM deliveries") == [(REQUESTS,)]
        assert daemon.wait_logged(RECOGNISED, 2 * REQUESTS) == 2 * REQUESTS
        assert broker.pings, "it was not asked what it has read"


def acknowledged(broker: ForgetfulBroker) -> None:
    """Wait until every message is acknowledged, in order."""
    until(lambda: len(broker.acknowledged) == REQUESTS, what="all acknowledged")
    assert broker.acknowledged == list(range(1, REQUESTS + 1))

"""SIGKILL at random under load, and the ledger adds up."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from tests.acceptance.rig import READY, Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto

MakeDaemon = Callable[..., Daemon]
REQUESTS = 240
KILLS = 20

pytestmark = pytest.mark.long


def test_twenty_kills_at_random_under_load_lose_no_reply_and_repeat_no_start(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """Each of 240 requests, some published twice, is answered and has started its task exactly once."""
    chance = random.Random(2024)  # noqa: S311 -- repeatable on purpose
    tasks = qlik.tasks(REQUESTS)
    # Slow enough that POSTs and reads are on their way when the daemon is killed.
    qlik.fault("slow", method="POST", path="/qrs/task/*", when="before", seconds=0.04, count=None)
    qlik.fault("slow", method="GET", path="/qrs/*", when="before", seconds=0.02, count=None)
    daemon = make_daemon(broker).start()  # so that the broker keeps a session from the first request on
    published: list[str] = []
    sent = threading.Event()
    never = threading.Event()  # the moment of a kill is what is left to chance here

    with Sender(broker.port) as sender:

        def publish() -> None:
            for number, task in enumerate(tasks):
                body = {"requestId": f"random-{task}", "taskId": task}
                published.extend(sender.send(body) for _ in range(2 if number % 5 == 0 else 1))
                more.acquire(timeout=10)
            sent.set()

        # A dozen requests for each process of the daemon.
        more = threading.Semaphore(0)
        thread = threading.Thread(target=publish)
        thread.start()
        for kill in range(KILLS):
            if kill:
                daemon.start(ready=False)
            more.release(REQUESTS // KILLS)
            if chance.random() < 0.8:
                daemon.wait_log(READY)
            never.wait(chance.uniform(0, 0.6))
            daemon.kill()
        more.release(REQUESTS)
        thread.join(30)
        assert sent.is_set()
        daemon.start()
        topics = set(published)
        answers = {topic: sender.answer(topic, seconds=60) for topic in topics}
        sender.drain()
        assert all(answer.get("totalTasksStarted") == 1 for answer in answers.values()), [
            answer for answer in answers.values() if answer.get("totalTasksStarted") != 1
        ]
        for topic in topics:
            assert len({got.payload for got in sender.heard(topic)}) == 1
    assert [task for task in tasks if qlik.executions(task) != 1] == []
    shown = {entry["executionId"] for answer in answers.values() for entry in answer["tasksStarted"]}
    assert shown == {identity for task in tasks for identity in qlik.execution_ids(task)}
    assert daemon.rows("SELECT count(*) FROM requests WHERE closed_at IS NULL") == [(0,)]
    assert daemon.rows("SELECT count(*) FROM outbox") == [(0,)]

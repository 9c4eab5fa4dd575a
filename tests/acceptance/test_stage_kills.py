"""SIGKILL between any two steps of a request in four stages: each runs once, in order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance import killing
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import EVENTS, Sender
from tests.brokers import until

STAGES = 4

#: In place of those that tests share.
relay, sender, daemon = killing.relay, killing.sender, killing.daemon


def begun(daemon: Daemon, qlik: Qlik, task: str, number: int) -> None:
    """Wait until the stage has begun, maybe before its start is an intent."""
    del qlik, task
    until(lambda: (number,) in daemon.rows("SELECT number FROM stages WHERE state <> 'waiting'"))


def asked(daemon: Daemon, qlik: Qlik, task: str, number: int) -> None:
    """Wait until the start took effect, with its answer held back."""
    del daemon, number
    until(lambda: qlik.executions(task) == 1, what="the start has taken effect")


def runs(daemon: Daemon, qlik: Qlik, task: str, number: int) -> None:
    """Wait until the execution is on disk."""
    del qlik, task
    begun = "SELECT stage FROM starts WHERE state IN ('running', 'succeeded')"
    until(lambda: (number,) in daemon.rows(begun))


def over(daemon: Daemon, qlik: Qlik, task: str, number: int) -> None:
    """Wait until the stage is over, maybe before the next is resolved."""
    del qlik, task
    until(lambda: (number,) in daemon.rows("SELECT number FROM stages WHERE state = 'succeeded'"))


@pytest.mark.parametrize("point", [begun, asked, runs, over], ids=lambda point: str(point.__name__))
def test_killed_between_any_two_steps_of_four_stages_each_runs_once_in_order(
    point: Callable[[Daemon, Qlik, str, int], None], daemon: Daemon, sender: Sender, qlik: Qlik
) -> None:
    tasks = qlik.tasks(STAGES, durationSeconds=0.5)
    if point is asked:
        for task in tasks:
            qlik.fault("hang", method="POST", taskId=task, when="after", seconds=5)
    stages = [{"name": f"step {number}", "taskId": task} for number, task in enumerate(tasks, 1)]
    topic = sender.send({"requestId": "night", "wait": "finished", "stages": stages})
    for number, task in enumerate(tasks, 1):
        point(daemon, qlik, task, number)
        daemon.kill()
        daemon.start()
    reply = sender.answer(topic, seconds=60)
    assert reply["outcome"] == "succeeded"
    assert [(one["status"], one["tasks"]) for one in reply["stages"]] == [("succeeded", 1)] * STAGES
    assert [qlik.executions(task) for task in tasks] == [1] * STAGES
    sender.drain()
    # What was not confirmed when the daemon was killed comes again, byte for byte.
    assert len({got.payload for got in sender.heard(topic)}) == 1
    told = {one.json["eventId"]: one.json for one in sender.heard(f"{EVENTS}/request/night")}
    assert [(one["event"], one["stage"]) for one in told.values()] == [
        (event, number) for number in range(1, STAGES + 1) for event in ("stageStarted", "stageEnded")
    ]
    times = [one["time"] for one in told.values()]
    assert times == sorted(times)

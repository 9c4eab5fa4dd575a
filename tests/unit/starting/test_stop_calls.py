"""A task is stopped only while the execution meant is what runs of it."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.completions import StopAsked, StopOutcome
from butler_mqtt.domain.model import Execution, Task, TaskSnapshot
from butler_mqtt.errors import OutcomeUnknown, QlikError, QlikUnavailable
from butler_mqtt.starting import stop_calls
from tests.unit.starting.starts import TASK


class Server:
    """Shows executions, of which those in *running* have a session; stops what it is asked to."""

    def __init__(self, *running: str, fault: QlikError | None = None) -> None:
        self.running = running
        self.fault = fault
        self.stopped: list[str] = []

    def snapshot(self, task: Task) -> TaskSnapshot:
        ended = Execution("ended", "result", None, 7)
        return TaskSnapshot(
            task, (ended, *(Execution(one, None, None, 2, session=True) for one in self.running))
        )

    def stop_task(self, task: Task) -> None:
        if self.fault is not None:
            raise self.fault
        self.stopped.append(task.id)


@pytest.mark.parametrize(
    ("running", "outcome"),
    [
        (("mine",), StopOutcome.ASKED),
        (("mine", "other"), StopOutcome.NOT_ALONE),
        (("other",), StopOutcome.OVER),
        ((), StopOutcome.OVER),
    ],
)
def test_nothing_else_is_stopped_with_it(running: tuple[str, ...], outcome: StopOutcome) -> None:
    server = Server(*running)
    assert stop_calls.ask(server, TASK, "mine") == StopAsked("mine", outcome)
    assert server.stopped == (["task"] if outcome is StopOutcome.ASKED else [])


def test_an_execution_that_has_ended_is_not_stopped_though_it_is_shown() -> None:
    assert stop_calls.ask(Server("other"), TASK, "ended").outcome is StopOutcome.OVER


@pytest.mark.parametrize("fault", [QlikUnavailable("away"), OutcomeUnknown("no answer")], ids=type)
def test_a_fault_is_the_outcome(fault: QlikError) -> None:
    assert stop_calls.ask(Server("mine", fault=fault), TASK, "mine").outcome is fault

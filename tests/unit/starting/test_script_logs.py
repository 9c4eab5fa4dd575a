"""Of which executions the script log is read, and what comes of it."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.completions import ExecutionsPolled
from butler_mqtt.domain.model import Execution, ExecutionStatus, Task, TaskType
from butler_mqtt.errors import QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.starting.script_logs import ScriptLogs
from tests.unit.starting.starts import TASK

FAILED = Execution("execution", "result", None, ExecutionStatus.FINISHED_FAIL)


class Shown:
    """A server that shows one log, or fails."""

    def __init__(self, answer: list[str] | QlikError | None) -> None:
        self._answer = answer

    def script_log(self, _task_id: str, _execution: Execution, _lines: int) -> list[str] | None:
        if isinstance(self._answer, QlikError):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("kind", "status", "session", "wanted"),
    [
        (TaskType.RELOAD, ExecutionStatus.FINISHED_FAIL, False, True),
        (None, ExecutionStatus.ERROR, False, True),
        (TaskType.RELOAD, ExecutionStatus.FINISHED_FAIL, True, False),
        (TaskType.RELOAD, ExecutionStatus.FINISHED_SUCCESS, False, False),
        (TaskType.RELOAD, ExecutionStatus.ABORTED, False, False),
        (TaskType.EXTERNAL_PROGRAM, ExecutionStatus.FINISHED_FAIL, False, False),
    ],
)
def test_it_is_that_of_a_reload_that_failed_and_is_over(
    kind: int | None, status: int, session: bool, wanted: bool
) -> None:
    execution = Execution("execution", "result", None, status, session=session)
    assert ScriptLogs(5).wanted(Task("task", "Sales", kind), execution) is wanted
    assert not ScriptLogs(0).wanted(Task("task", "Sales", kind), execution)


@pytest.mark.parametrize(
    ("answer", "logs"),
    [
        (["one", "two"], {"execution": ["one", "two"]}),
        ([], {"execution": []}),
        (None, {}),
        (QlikRefused("no", 403), {"execution": []}),
        (QlikUnavailable("away"), {}),
    ],
    ids=["lines", "empty", "not yet", "refused", "unreachable"],
)
def test_a_log_that_may_come_later_is_left_open_and_one_that_is_refused_is_empty(
    answer: list[str] | QlikError | None, logs: dict[str, list[str]]
) -> None:
    assert ScriptLogs(5).read(Shown(answer), TASK, FAILED) == ExecutionsPolled({"execution": FAILED}, logs)

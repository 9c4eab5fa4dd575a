"""
What became of a POST whose answer does not tell: pure.

Server times are compared with server times only.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from butler_mqtt.model import Execution, Look

#: `Date` has whole seconds and a result may carry the second before.
SERVER_CLOCK_SLACK = timedelta(seconds=2)


class Finding(Enum):
    """What a look at the server says about a run."""

    #: An execution that can only have begun after the intent: it is ours to report.
    ADOPT = "adopt"
    #: An execution that began before the intent still runs.
    RUNS_ALREADY = "runsAlready"
    #: Nothing began.
    NOTHING = "nothing"
    #: The server says that there is no such task any more.
    NO_TASK = "noTask"


@dataclass(frozen=True, slots=True)
class Baseline:
    """
    What the server showed before the POST, stored with the intent.

    `result_id` and `began` are those of the newest execution of the task;
    `server_date` is the server's clock at the intent. None: not shown.
    """

    result_id: str | None = None
    began: datetime | None = None
    server_date: datetime | None = None

    @property
    def dated(self) -> bool:
        """Tell whether there is any server time to compare with."""
        return self.began is not None or self.server_date is not None


@dataclass(frozen=True, slots=True)
class Settled:
    """A finding and the execution it is about, if any."""

    finding: Finding
    execution: Execution | None = None


def settle(look: Look, baseline: Baseline, known: Collection[str], our_user: str = "") -> Settled:
    """
    Judge what the server shows about the task of a run.

    Args:
        look: The task, its sessions and its results, read after the POST.
        baseline: What it showed before.
        known: Execution ids that belong to other runs of the journal.
        our_user: User id of ours, preferred among several candidates.
    """
    if look.task is None:
        return Settled(Finding.NO_TASK)
    candidates = [one for one in look.executions if _began_since(one, baseline, known)]
    if candidates:
        ours = [one for one in candidates if our_user and our_user.casefold() in one.user.casefold()]
        return Settled(Finding.ADOPT, (ours or candidates)[-1])
    active = [one for one in look.executions if one.active]
    if active:
        return Settled(Finding.RUNS_ALREADY, active[0])
    return Settled(Finding.NOTHING)


def _began_since(execution: Execution, baseline: Baseline, known: Collection[str]) -> bool:
    if execution.id is None or execution.id in known:
        return False
    if execution.result_id is not None and execution.result_id == baseline.result_id:
        return False
    if execution.began is None or not baseline.dated:
        # Nothing proves that it is younger than the request.
        return False
    if baseline.began is not None and execution.began < baseline.began:
        return False
    return baseline.server_date is None or execution.began >= baseline.server_date - SERVER_CLOCK_SLACK


def reason_not_started(look: Look) -> tuple[str, str]:
    """
    Give code and details for a task the server answered with the empty GUID.

    Only what the server shows is named: the documentation lists a disabled
    task, an app that is not available and a missing scheduler
    (help.qlik.com, "Task: Start").
    """
    task = look.task
    if task is not None and task.enabled is False:
        return "task_disabled", f"the task '{task.name}' is disabled: enable it in the QMC"
    if task is not None and task.app_available is False:
        return "app_missing", f"the app of the task '{task.name}' is missing or not available on any node"
    return "not_started", "the server answered with the empty execution id and shows no reason for it"

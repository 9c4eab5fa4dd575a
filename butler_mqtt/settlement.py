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


def settle(
    look: Look,
    baseline: Baseline,
    known: Collection[str],
    our_user: str = "",
    *,
    adopt: bool = True,
    claimed: str | None = None,
) -> Settled:
    """
    Judge what the server shows about the task of a run.

    Args:
        look: The task, its sessions and its results, read after the POST.
        baseline: What it showed before.
        known: Execution ids that belong to other runs of the journal.
        our_user: User id of ours, preferred among several candidates.
        adopt: Whether the POST can have begun an execution.
        claimed: The id it was answered with: no other execution can be its own.
    """
    if look.task is None:
        return Settled(Finding.NO_TASK)
    candidates = [
        one
        for one in look.executions
        if adopt and (claimed is None or one.id == claimed) and _began_since(one, baseline, known)
    ]
    if candidates:
        ours = [one for one in candidates if our_user and _name(one.user) == our_user.casefold()]
        return Settled(Finding.ADOPT, (ours or candidates)[-1])
    running = _running(look)
    return Settled(Finding.NOTHING) if running is None else Settled(Finding.RUNS_ALREADY, running)


def _name(user: str) -> str:
    """Give the name of a user whom the server shows with the directory before it."""
    return user.rpartition("\\")[2].casefold()


def _running(look: Look) -> Execution | None:
    """Give the execution that runs: one with a session, else one the task itself shows as active."""
    for execution in look.executions:
        if execution.session:
            return execution
    last = look.task.last if look.task is not None else None
    if last is None or not last.active or not _may_run(look):
        return None
    same = [one for one in look.executions if one.result_id == last.result_id]
    return same[0] if same else last


def _may_run(look: Look) -> bool:
    """Tell whether nothing speaks against a start: the result of a lost execution can stay active."""
    return look.task is not None and look.task.enabled is not False and look.task.app_available is not False


def ended_since(look: Look, baseline: Baseline) -> bool:
    """Tell whether an execution ended about when, or after, the server was asked to start another."""
    if baseline.server_date is None or not _may_run(look):
        return False
    earliest = baseline.server_date - SERVER_CLOCK_SLACK
    return any(one.stopped is not None and one.stopped >= earliest for one in look.executions)


def serves(execution: Execution, asked: datetime | None) -> bool:
    """
    Tell whether an execution certainly began after the server's time *asked*.

    That time comes from whole seconds, rounded down, so that a second is added.
    """
    return (
        asked is not None and execution.began is not None and execution.began > asked + timedelta(seconds=1)
    )


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

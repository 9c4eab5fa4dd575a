"""
What became of a POST whose answer leaves it open: pure.

Ids decide. Server times are compared with server times only, and only where an
id does not decide: the clock of a node that stamps executions may differ by
minutes from that of the repository, whose `Date` is known.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from butler_mqtt.domain.model import Execution, Task, TaskSnapshot

#: `Date` has whole seconds and a result may carry the second before.
SERVER_CLOCK_SLACK = timedelta(seconds=2)
#: How far behind the repository's clock a node's is taken to be at most, where only stamps decide.
MOST_SKEW = timedelta(minutes=10)


class VerdictKind(Enum):
    """What a snapshot shows about a run."""

    #: An execution that can only have begun after the intent: it is ours to report.
    ADOPT = "adopt"
    #: An execution that began before the intent still runs.
    RUNS_ALREADY = "runsAlready"
    #: Nothing began.
    NOTHING = "nothing"
    #: What runs may be ours or may have begun before; nothing decides it.
    UNCLEAR = "unclear"
    #: The server answers that there is no such task any more.
    NO_TASK = "noTask"


#: Instead of the id of the newest execution's result: the task had never run.
NEVER_RAN = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """
    What the server showed before the POST, stored with the intent.

    `result_id` and `began` are those of the newest execution of the task;
    `server_date` is the server's clock at the intent. None: not shown.
    `result_id` is `NEVER_RAN` when the server showed that there was none.
    """

    result_id: str | None = None
    began: datetime | None = None
    server_date: datetime | None = None

    @classmethod
    def of(cls, task: Task, server_date: datetime | None) -> Baseline:
        """Return the baseline of a task as it was just read."""
        if task.last is None:
            return cls(NEVER_RAN if task.last_shown else None, None, server_date)
        return cls(task.last.result_id, task.last.began, server_date)

    def is_before(self, task: Task) -> bool:
        """Return whether *task* as it was read later shows another newest execution."""
        if self.result_id is None or not (task.last_shown or task.last is not None):
            return False
        return self.result_id != (NEVER_RAN if task.last is None else task.last.result_id)

    @property
    def dated(self) -> bool:
        """Return whether there is any server time to compare with."""
        return self.began is not None or self.server_date is not None

    @property
    def comparable(self) -> bool:
        """Return whether there is anything to compare with: an id, or a time."""
        return self.dated or self.result_id is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    A finding and the execution it is about, if any.

    `proved`: what the server shows leaves no execution that may be the run's
    own and cannot be distinguished from one that began before.
    """

    kind: VerdictKind
    execution: Execution | None = None
    proved: bool = True


def reconcile(
    snapshot: TaskSnapshot,
    baseline: Baseline,
    known: Collection[str],
    our_user: str = "",
    *,
    adopt: bool = True,
    claimed: str | None = None,
    read_before: bool = False,
) -> Verdict:
    """
    Judge what the server shows about the task of a run.

    Ids decide wherever they can: what the POST was answered with is its own
    unless the journal or the baseline knows it, and the newest execution is
    new when it is another than that of the baseline. Stamps are compared
    only where the server does not show the newest execution with the task.

    Args:
        snapshot: The task, its sessions and its results, read after the POST.
        baseline: What it showed before.
        known: Execution ids that belong to other runs of the journal, or that the run waited behind.
        our_user: User id of ours, preferred among several candidates.
        adopt: Whether the POST can have begun an execution.
        claimed: The id it was answered with: no other execution can be its own.
        read_before: The baseline may be older than the request.
    """
    if snapshot.task is None:
        return Verdict(VerdictKind.NO_TASK)
    strange = [
        one
        for one in snapshot.executions
        if adopt
        and one.id is not None
        and one.id not in known
        and (claimed is None or one.id == claimed)
        and not one.has_result(baseline.result_id)
    ]
    if claimed is not None:
        candidates = [one for one in strange if not (read_before and _is_foreign(one, baseline, our_user))]
        proved = True
    elif baseline.result_id is not None and snapshot.task.last is not None:
        candidates, proved = _newer(snapshot, snapshot.task.last, baseline, strange, our_user)
        if read_before:
            candidates, proved = _since_request(candidates, proved, baseline, our_user)
    else:
        candidates = [one for one in strange if _began_since(one, baseline)]
        proved = not any(_began_about(one, baseline) for one in strange)
    if candidates:
        ours = [one for one in candidates if _is_ours(one, our_user)]
        return Verdict(VerdictKind.ADOPT, (ours or candidates)[-1])
    running = _running(snapshot)
    if running is None:
        return Verdict(VerdictKind.NOTHING, None, proved)
    others = bool(our_user and running.user) and not _is_ours(running, our_user)
    if not proved and running in strange and _began_about(running, baseline) and not others:
        return Verdict(VerdictKind.UNCLEAR, running, proved)
    return Verdict(VerdictKind.RUNS_ALREADY, running)


def _newer(
    snapshot: TaskSnapshot, newest: Execution, baseline: Baseline, strange: Sequence[Execution], our_user: str
) -> tuple[list[Execution], bool]:
    """
    Return the executions that began after the baseline was read, and whether there can be no other.

    The newest one is among them when the server shows another than before. Of
    those before it only what is certainly ours counts: their stamps may come
    from another node than that of the baseline.
    """
    owner = [one for one in snapshot.executions if one.has_result(newest.result_id)]
    candidates = [
        one
        for one in strange
        if one in owner or (_is_ours(one, our_user) and (one.session or _began_since(one, baseline)))
    ]
    shown = newest.result_id is not None and (
        newest.result_id == baseline.result_id or any(one.id is not None for one in owner)
    )
    return candidates, shown


def _since_request(
    candidates: list[Execution], proved: bool, baseline: Baseline, our_user: str
) -> tuple[list[Execution], bool]:
    """Leave out what may have begun between the reading of *baseline* and the request."""
    clear = [one for one in candidates if _is_ours(one, our_user) or _began_since(one, baseline)]
    return clear, proved and (bool(clear) or not candidates)


def _is_ours(execution: Execution, our_user: str) -> bool:
    """Return whether the server shows our user with an execution, with the directory before it or without."""
    return bool(our_user) and execution.user.rpartition("\\")[2].casefold() == our_user.casefold()


def _is_foreign(execution: Execution, baseline: Baseline, our_user: str) -> bool:
    """
    Return whether an execution that runs was begun by another, and earlier: by its user and its stamps.

    Neither would do alone: an account may be shown under another name, and a
    node's clock may be wrong.
    """
    others = bool(execution.session and our_user and execution.user) and not _is_ours(execution, our_user)
    return others and not _began_since(execution, baseline)


def _running(snapshot: TaskSnapshot) -> Execution | None:
    """Return the execution that runs: one with a session, else one the task itself shows as active."""
    for execution in snapshot.executions:
        if execution.session:
            return execution
    last = snapshot.task.last if snapshot.task is not None else None
    if last is None or not last.active or not may_run(snapshot):
        return None
    same = [one for one in snapshot.executions if one.has_result(last.result_id)]
    return same[0] if same else last


def may_run(snapshot: TaskSnapshot) -> bool:
    """Return whether no obstacle to a start is shown: the result of a lost execution can stay active."""
    return (
        snapshot.task is not None
        and snapshot.task.enabled is not False
        and snapshot.task.app_available is not False
    )


def ended_since(snapshot: TaskSnapshot, baseline: Baseline, before: Execution | None = None) -> bool:
    """
    Return whether an execution ended about when, or after, the server was asked to start another.

    *before* is the newest execution as it was read before: it ran then, or
    another has run since. Of the one before a restart only the id is known: it
    may have run. Where that does not decide, the time of an end does, as it
    does for those of other tasks of the app.
    """
    if not may_run(snapshot):
        return False
    last = snapshot.task.last if snapshot.task is not None else None
    if before is None and baseline.result_id not in {None, NEVER_RAN}:
        return True
    if before is not None and before.active:
        return True
    if last is not None and baseline.result_id is not None and last.result_id != baseline.result_id:
        return True
    if baseline.server_date is None:
        return False
    earliest = baseline.server_date - SERVER_CLOCK_SLACK
    executions = (*snapshot.executions, *snapshot.of_app)
    return any(one.stopped is not None and one.stopped >= earliest for one in executions)


def runs_of_app(snapshot: TaskSnapshot) -> Execution | None:
    """Return the execution of another task of the app that runs; the newest, should there be several."""
    return next((one for one in snapshot.of_app if one.session and one.id is not None), None)


def began_after_reading(execution: Execution, task: Task) -> bool:
    """Return whether an execution certainly began after *task* was read: its newest was another, and over."""
    if task.last is None:
        return task.last_shown
    return task.last.result_id is not None and not (
        task.last.active or execution.has_result(task.last.result_id)
    )


def _began_since(execution: Execution, baseline: Baseline) -> bool:
    if execution.began is None or not baseline.dated:
        # Nothing proves that it is younger than the request.
        return False
    if baseline.began is not None and execution.began < baseline.began:
        return False
    return baseline.server_date is None or execution.began >= baseline.server_date - SERVER_CLOCK_SLACK


def _began_about(execution: Execution, baseline: Baseline) -> bool:
    """Return whether the stamps of an execution leave open that it began after the intent."""
    if baseline.server_date is None or execution.began is None:
        return baseline.began is None or execution.began is None or execution.began >= baseline.began
    return execution.began >= baseline.server_date - MOST_SKEW


def reason_not_started(snapshot: TaskSnapshot) -> tuple[str, str]:
    """
    Return code and details for a task the server answered with the empty GUID.

    Only what the server shows is named: the documentation lists a disabled
    task, an app that is not available and a missing scheduler
    (help.qlik.com, "Task: Start").
    """
    task = snapshot.task
    if task is not None and task.enabled is False:
        return "task_disabled", f"the task '{task.name}' is disabled: enable it in the QMC"
    if task is not None and task.app_available is False:
        return "app_missing", f"the app of the task '{task.name}' is missing or not available on any node"
    return "not_started", "the server answered with the empty execution id and shows no reason for it"

"""A Qlik server in this process: tasks and executions under a test's control."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import strategies as st

from butler_mqtt.domain.model import EMPTY_GUID, Execution, Selector, Task, TaskSnapshot
from butler_mqtt.errors import OutcomeUnknown, QlikError, QlikRefused, QlikUnavailable

OUR_USER = "INTERNAL\\sa_repository"
#: Server time at the beginning of every test; far from the real one, so that mixing the two shows.
BEGINNING = datetime(2024, 3, 1, 12, 0, 0, tzinfo=UTC)


#: Seconds by which the clocks of nodes are ahead of the server's, and by which its `Date` is old.
NODE_CLOCKS: st.SearchStrategy[tuple[float, ...]] = st.one_of(
    st.just((0.0,)), st.lists(st.floats(-60, 60), min_size=1, max_size=3).map(tuple)
)
DATE_AGES = st.sampled_from([0.0, 0.0, 3.0, 60.0])


def guid(number: int, group: int = 0) -> str:
    """Return an id that is easy to read in a failed assertion."""
    return f"{number:08x}-{group:04x}-4000-8000-000000000000"


class Crash(BaseException):
    """The process is killed here: nothing after it happens."""


class Site:
    """
    A Qlik server with tasks and executions.

    `posts` are the ids of the tasks for which a start had effect. `script`
    holds what the next starts do instead of the ordinary: a `QlikError` is
    raised without effect, a callable is called with the site and the task.
    `resolve_errors` and `snapshot_errors` hold what the next calls of these raise;
    `snapshot_sizes` has the number of tasks of each call for snapshots, and of the
    task `unreadable` none can be read.
    With `lasting` False executions end as soon as they have begun. `on_start` is
    called with every start that reaches the server. Executions are stamped in
    turn by nodes whose clocks are `node_clocks` seconds ahead of the server's, which is shown
    `date_age` seconds late; `began_at` has the true time at which each began.
    With `shows_last` False tasks do not show their newest execution. With `app_once` an app is
    reloaded by one of its tasks at a time; `app_errors` are raised where its executions are read.
    `polled` has the ids of each poll of executions, `execution_errors` what the next of them raise.
    """

    def __init__(self) -> None:
        self.clock: datetime | None = BEGINNING
        self.tasks: dict[str, Task] = {}
        self.history: dict[str, list[Execution]] = {}
        self.posts: list[str] = []
        self.script: deque[QlikError | Callable[[Site, Task], str | None]] = deque()
        self.resolve_errors: deque[QlikError] = deque()
        self.snapshot_errors: deque[QlikError] = deque()
        self.asked: list[list[Selector]] = []
        self.snapshots = 0
        self.snapshot_sizes: list[int] = []
        self.unreadable = ""
        self.down = False
        self.log_lines: list[str] | None = []  # of every script log; None: there is none yet
        self.log_error: QlikError | None = None
        self.polled: list[Sequence[str]] = []
        self.lasting = True
        self.on_start: Callable[[Task], None] = lambda _task: None
        self.node_clocks: Sequence[float] = (0.0,)
        self.date_age = 0.0
        self.shows_last = True
        self.app_once = False
        self.stops: list[str] = []
        self.stop_script: deque[QlikError | Callable[[Site, Task], None]] = deque()
        self.app_errors: deque[QlikError] = deque()
        self.execution_errors: deque[QlikError] = deque()
        self.began_at: dict[str, datetime] = {}
        self._numbers = count(1)

    # ---- what a test arranges

    def add(self, name: str, **fields: Any) -> str:
        """Make a task and return its id."""
        task_id = guid(len(self.tasks) + 1, 0xAAAA)
        self.tasks[task_id] = Task(task_id, name, **{"task_type": 0, "enabled": True, **fields})
        self.history[task_id] = []
        return task_id

    def change(self, task_id: str, **fields: Any) -> None:
        """Change a task."""
        self.tasks[task_id] = replace(self.tasks[task_id], **fields)

    def pass_time(self, seconds: float) -> None:
        """Let the server's clock go on."""
        if self.clock is not None:
            self.clock += timedelta(seconds=seconds)

    def begin(self, task_id: str, user: str = "LAB\\somebody") -> str:
        """Begin an execution, as the scheduler or a hand in the QMC does."""
        number = next(self._numbers)
        if self.clock is not None:
            self.began_at[guid(number, 0xEEEE)] = self.clock
        stamp = self._stamp(number)
        execution = Execution(
            guid(number, 0xEEEE),
            guid(number, 0xBBBB),
            stamp,
            status=2,
            session=True,
            user=user,
            started=stamp,
            task_id=task_id,
        )
        self.history[task_id].insert(0, execution)
        if not self.lasting:
            self.end(task_id)
        return execution.id or ""

    def end(self, task_id: str, status: int = 7) -> None:
        """End the task's newest execution."""
        newest, *older = self.history[task_id]
        stopped = self._stamp(int((newest.id or "0").split("-")[0], 16))
        self.history[task_id] = [replace(newest, status=status, session=False, stopped=stopped), *older]

    def _stamp(self, number: int) -> datetime | None:
        """Return the time as the node of this execution has it."""
        ahead = self.node_clocks[number % len(self.node_clocks)]
        return None if self.clock is None else self.clock + timedelta(seconds=ahead)

    def running(self, task_id: str) -> Execution | None:
        """Return the task's active execution."""
        return next((one for one in self.history[task_id] if one.active), None)

    def running_of_app(self, app_id: str | None) -> Execution | None:
        """Return what runs of an app."""
        of_app = [one.id for one in self.tasks.values() if app_id is not None and one.app_id == app_id]
        return next((found for one in of_app if (found := self.running(one)) is not None), None)

    # ---- what the daemon calls

    def server_time(self) -> datetime | None:
        return None if self.clock is None else self.clock - timedelta(seconds=self.date_age)

    def about(self) -> dict[str, object]:
        self._answer(self.resolve_errors)
        return {}

    def find(self, selectors: Sequence[Selector]) -> dict[Selector, tuple[Task, ...] | QlikRefused]:
        self.asked.append(list(selectors))
        self._answer(self.resolve_errors)
        return {
            selector: tuple(self._shown(task) for task in self.tasks.values() if selector.matches(task))
            for selector in selectors
        }

    def start(self, task: Task) -> str | None:
        self.on_start(task)
        if self.script:
            scripted = self.script.popleft()
            if isinstance(scripted, QlikError):
                raise scripted
            return scripted(self, task)
        if self.down:
            raise QlikUnavailable("connection refused")
        return self.start_now(task)

    def start_now(self, task: Task) -> str | None:
        """Do what a start does when nothing is wrong."""
        known = self.tasks.get(task.id)
        if known is None:
            raise QlikRefused("404 with no such task", 404)
        if known.has_sessions and (
            known.enabled is False
            or known.app_available is False
            or self.running(task.id)
            or (self.app_once and self.running_of_app(known.app_id))
        ):
            return EMPTY_GUID
        self.posts.append(task.id)
        execution = self.begin(task.id, OUR_USER)
        return execution if known.has_sessions else None

    def read_snapshots(self, tasks: Iterable[Task]) -> dict[str, TaskSnapshot | QlikRefused]:
        asked = list(tasks)
        self.snapshot_sizes.append(len(asked))
        return {task.id: self.snapshot(task) for task in asked}

    def snapshot(self, task: Task) -> TaskSnapshot:
        self.snapshots += 1
        if task.id == self.unreadable:
            raise QlikUnavailable("500 with a fault of the server")
        self._answer(self.snapshot_errors)
        known = self.tasks.get(task.id)
        return TaskSnapshot(
            self._shown(known) if known else None,
            tuple(self.history.get(task.id, ())),
            sessions_readable=task.has_sessions,
        )

    def stop_task(self, task: Task) -> None:
        if self.stop_script:
            scripted = self.stop_script.popleft()
            if isinstance(scripted, QlikError):
                raise scripted
            scripted(self, task)
            return
        if self.down:
            raise QlikUnavailable("connection refused")
        self.stop_now(task.id)

    def stop_now(self, task_id: str) -> None:
        """Do what stopping does when nothing is wrong: whatever runs of the task is aborted."""
        self.stops.append(task_id)
        if self.running(task_id) is not None:
            self.end(task_id, 6)

    def app_executions(self, app_id: str) -> tuple[Execution, ...]:
        self._answer(self.app_errors)
        running = self.running_of_app(app_id)
        if running is not None:
            return (running,)
        of_app = [one.id for one in self.tasks.values() if one.app_id == app_id]
        return tuple(execution for one in of_app for execution in self.history[one])

    def executions(self, ids: Sequence[str]) -> dict[str, Execution | None]:
        self.polled.append(ids)
        if self.execution_errors:
            raise self.execution_errors.popleft()
        everything = {one.id: one for many in self.history.values() for one in many}
        return {identity: everything.get(identity) for identity in ids}

    def capacity(self) -> int:
        return 4

    def script_log(self, task_id: str, execution: Execution, lines: int) -> list[str] | None:
        del task_id, execution
        if self.log_error is not None:
            raise self.log_error
        return None if self.log_lines is None else self.log_lines[-lines:]

    def _answer(self, faults: deque[QlikError]) -> None:
        if faults:
            raise faults.popleft()
        if self.down:
            raise QlikUnavailable("connection refused")

    def _shown(self, task: Task) -> Task:
        executions = self.history[task.id]
        # A result does not name its execution there.
        if not self.shows_last:
            return task
        last = replace(executions[0], id=None, session=False) if executions else None
        return replace(task, last=last, last_shown=True)


def cut_after_effect(site: Site, task: Task) -> str | None:
    """Start the task and lose the answer."""
    site.start_now(task)
    raise OutcomeUnknown("the connection ended before the answer")


def cut_before_effect(site: Site, task: Task) -> str | None:
    """Lose the request on its way."""
    del site, task
    raise OutcomeUnknown("the connection ended before the answer")


def cut_and_overtaken(site: Site, task: Task) -> str | None:
    """Start the task and lose the answer; before anybody asks, it has ended and somebody begins another."""
    if site.start_now(task) not in {EMPTY_GUID, None}:
        site.end(task.id)
        site.begin(task.id)
    raise OutcomeUnknown("the connection ended before the answer")


def killed_after_effect(site: Site, task: Task) -> str | None:
    """Start the task; the daemon is killed before it reads the answer."""
    site.start_now(task)
    raise Crash

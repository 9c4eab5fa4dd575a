"""A user sync that may not be started synchronously: what the server shows decides whether it is posted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from butler_mqtt.domain.model import EMPTY_GUID, Execution, ExecutionStatus, Task, TaskSnapshot, TaskType
from butler_mqtt.errors import QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.qrs.user_sync_start import start_asynchronously

REFUSAL = QlikRefused("400", 400)
LAST = Execution("before", "result", None, ExecutionStatus.STARTED)
TASK = Task("sync", "Users", TaskType.USER_SYNC, True, last=replace(LAST, id=None), last_shown=True)
NEW = Execution("new", "result 2", None, ExecutionStatus.STARTED, session=True)


class Server:
    """Shows what a test says, one snapshot after the other, and counts the POSTs."""

    def __init__(self, *snapshots: TaskSnapshot | QlikError) -> None:
        self._snapshots = list(snapshots)
        self.posts = 0

    def snapshot(self, _task: Task) -> TaskSnapshot:
        shown = self._snapshots.pop(0)
        if isinstance(shown, QlikError):
            raise shown
        return shown

    def post(self) -> None:
        self.posts += 1

    def start(self, task: Task = TASK) -> str | None:
        return start_asynchronously(task, REFUSAL, self.snapshot, self.post)


def test_an_execution_that_was_lost_is_not_waited_for() -> None:
    """A result can stay active for ever when its execution was lost; it has no session then."""
    server = Server(TaskSnapshot(TASK, (LAST,)), TaskSnapshot(TASK, (NEW, LAST)))
    assert (server.start(), server.posts) == ("new", 1)


def test_an_execution_that_runs_is_waited_for() -> None:
    server = Server(TaskSnapshot(TASK, (replace(LAST, session=True),)))
    assert (server.start(), server.posts) == (EMPTY_GUID, 0)


def test_one_that_may_run_is_waited_for_where_no_sessions_can_be_read() -> None:
    server = Server(TaskSnapshot(TASK, (LAST,), sessions_readable=False))
    assert (server.start(), server.posts) == (EMPTY_GUID, 0)


def test_a_disabled_task_is_not_posted() -> None:
    server = Server(TaskSnapshot(replace(TASK, enabled=False), ()))
    assert (server.start(), server.posts) == (EMPTY_GUID, 0)


@pytest.mark.parametrize(
    ("read", "shown"),
    [
        (TASK, replace(TASK, last=NEW)),
        (replace(TASK, last=None, last_shown=False), TASK),
        (TASK, replace(TASK, last=None, last_shown=False)),
        (TASK, None),
    ],
    ids=["another ran since", "not known before", "not shown now", "no such task"],
)
def test_where_the_first_post_may_have_begun_something_it_is_not_posted(
    read: Task, shown: Task | None
) -> None:
    server = Server(TaskSnapshot(shown, ()))
    with pytest.raises(QlikRefused) as raised:
        server.start(read)
    assert (raised.value, server.posts) == (REFUSAL, 0)


def test_a_server_that_cannot_be_read_before_has_started_nothing() -> None:
    server = Server(QlikUnavailable("connection refused"))
    with pytest.raises(QlikUnavailable):
        server.start()
    assert server.posts == 0


@pytest.mark.parametrize(
    "after",
    [
        QlikUnavailable("connection refused"),
        TaskSnapshot(TASK, (LAST,)),
        TaskSnapshot(TASK, (replace(NEW, id="other"), NEW, LAST)),
    ],
    ids=["not read", "none new", "two new"],
)
def test_without_the_one_new_execution_no_id_is_named(after: TaskSnapshot | QlikError) -> None:
    server = Server(TaskSnapshot(TASK, (LAST,)), after)
    assert (server.start(), server.posts) == (None, 1)

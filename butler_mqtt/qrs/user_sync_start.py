"""
The start of a user synchronisation on a site that refuses to start it synchronously.

One user got 400 from such a start (issue 142 of Qlik-Cli-Windows). The
asynchronous start is answered with 204 whatever it does, so what the server
shows before and after it has to tell what its answer does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from butler_mqtt.domain.model import EMPTY_GUID, Task, TaskSnapshot
from butler_mqtt.errors import QlikError, QlikRefused

log = logging.getLogger("butler_mqtt.qrs")


def start_asynchronously(
    task: Task,
    refusal: QlikRefused,
    snapshot: Callable[[Task], TaskSnapshot],
    post: Callable[[], str | None],
) -> str | None:
    """
    Post *task*, whose synchronous start was refused, asynchronously, if that began nothing; one attempt.

    Returns:
        The execution id; `model.EMPTY_GUID` when the task is disabled or ran already, and nothing
        was posted; None when the server does not show the execution yet.

    Raises:
        QlikRefused: *refusal*, when it is not certain that it began nothing; or the refusal of *post*.
        QlikUnavailable: Nothing was started.
        OutcomeUnknown: The task may be running.
    """
    try:
        before = snapshot(task)
    except QlikRefused:
        raise refusal from None
    if before.task is None or _changed(task, before.task):
        raise refusal
    if before.task.enabled is False or any(
        # A result without its session can stay active for ever when its execution was lost.
        one.session or (one.active and not before.sessions_readable)
        for one in before.executions
    ):
        return EMPTY_GUID
    log.info(
        "task %s (%s) is started without asking for its execution id: %s",
        task.name,
        task.id,
        refusal,
        extra={"action": "qrs_asynchronous"},
    )
    execution_id = post()
    return execution_id or _new_id(before, task, snapshot)


def _changed(read: Task, shown: Task) -> bool:
    """Return whether the task shows another newest execution than when it was read, or cannot tell."""
    if not (read.last_shown and shown.last_shown):
        return True
    return (read.last and read.last.result_id) != (shown.last and shown.last.result_id)


def _new_id(before: TaskSnapshot, task: Task, snapshot: Callable[[Task], TaskSnapshot]) -> str | None:
    try:
        after = snapshot(task)
    except QlikError:
        return None
    known = {one.id for one in before.executions}
    new = [one.id for one in after.executions if one.id is not None and one.id not in known]
    return new[0] if len(new) == 1 else None

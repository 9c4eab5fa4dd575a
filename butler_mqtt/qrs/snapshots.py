"""
All that the server shows about tasks: themselves, their sessions, their results.

After a crash many tasks have to be read, and each snapshot takes three
questions, so tasks share them. An answer is taken for all of them only when
it is proved to be whole and names the task of every row; else the tasks are
asked for in halves, and one alone as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from butler_mqtt.domain.model import Selector, SelectorKind, Task, TaskSnapshot
from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs import filters, json_fields
from butler_mqtt.qrs.task_lists import MAYBE_CUT, NOT_UNDERSTOOD, Read, TaskLists

#: Tasks of one question; with all three paths to a task about 7 KB of the URL.
MAX_TASKS = 30

#: The paths from an execution session to its task, by kind.
_TASK_PATHS: Mapping[int | None, tuple[str, ...]] = {
    kind: (key, "id") for kind, key in json_fields.SESSION_TASKS.items()
}
_Paths = Sequence[tuple[str, ...]]


@dataclass
class Snapshots:
    """Reads snapshots of tasks over one connection."""

    read: Read
    lists: TaskLists

    def snapshot(self, tasks: Iterable[Task]) -> dict[str, TaskSnapshot | QlikRefused]:
        """
        Read all that the server shows about *tasks*, by their ids.

        Raises:
            QlikUnavailable: The server could not be asked.
            QlikRefused: The server refuses whatever is asked.
        """
        asked = list({task.id: task for task in tasks}.values())
        snapshots: dict[str, TaskSnapshot | QlikRefused] = {}
        for begin in range(0, len(asked), MAX_TASKS):
            snapshots |= self._snapshot(asked[begin : begin + MAX_TASKS])
        return snapshots

    def _snapshot(self, tasks: Sequence[Task]) -> dict[str, TaskSnapshot | QlikRefused]:
        found = self.lists.find(Selector(SelectorKind.TASK_ID, task.id) for task in tasks)
        snapshots: dict[str, TaskSnapshot | QlikRefused] = {}
        shown: dict[str, Task | None] = {}
        of_kind: dict[int | None, list[str]] = defaultdict(list)
        for task in tasks:
            selector = Selector(SelectorKind.TASK_ID, task.id)
            answer = found[selector]
            if answer == () and len(tasks) > 1:
                # The list may have been cut, and that there is no such task is a verdict.
                answer = self.lists.find([selector])[selector]
            if isinstance(answer, QlikRefused):
                snapshots[task.id] = answer
                continue
            shown[task.id] = answer[0] if answer else None
            kind = answer[0].task_type if answer else task.task_type
            of_kind[kind].append(task.id)
        for kind, ids in of_kind.items():
            try:
                sessions, readable = self._sessions(ids, kind)
                results = self._rows("executionresult", ids, [("taskID",)], "&orderby=startTime%20desc")
            except QlikRefused as error:
                snapshots |= dict.fromkeys(ids, error)
                continue
            for one in ids:
                executions = json_fields.executions(sessions[one], results[one])
                snapshots[one] = TaskSnapshot(shown[one], executions, sessions_readable=readable)
        return snapshots

    def _sessions(self, ids: Sequence[str], kind: int | None) -> tuple[Mapping[str, Sequence[object]], bool]:
        paths = [_TASK_PATHS[kind]] if kind in _TASK_PATHS else list(_TASK_PATHS.values())
        try:
            return self._rows("executionsession", ids, paths), kind is None or kind in _TASK_PATHS
        except QlikRefused as error:
            # Without a list of sessions the results alone have to do, and that nothing runs is not proved.
            if error.status != 404 and (kind in _TASK_PATHS or error.status not in NOT_UNDERSTOOD):
                raise
            return defaultdict(list), False

    def _rows(
        self, entity: str, ids: Sequence[str], paths: _Paths, order: str = ""
    ) -> Mapping[str, Sequence[object]]:
        """Read the rows of the tasks with these *ids*, to which *paths* lead, by task."""
        text = " or ".join(filters.any_of(".".join(path), ids) for path in paths)
        query = f"filter={filters.encode(text)}"
        try:
            rows = self.read(f"/{entity}/full", f"{query}{order}")
        except QlikRefused:
            # Of many it may be the length that is refused, by whatever stands in front of the server.
            if len(ids) == 1:
                raise
        else:
            rows = rows if isinstance(rows, list) else []
            if len(ids) == 1:
                return {ids[0]: rows}
            by_task = _by_task(rows, ids, paths)
            if by_task is not None and self._whole(entity, query, len(rows)):
                return by_task
        middle = len(ids) // 2
        return {
            **self._rows(entity, ids[:middle], paths, order),
            **self._rows(entity, ids[middle:], paths, order),
        }

    def _whole(self, entity: str, query: str, length: int) -> bool:
        """Return whether a list of this *length* is certainly complete: a cut one may hide an execution."""
        if length < MAYBE_CUT:
            return True
        try:
            total = json_fields.number(json_fields.part(self.read(f"/{entity}/count", query), "value"))
        except QlikRefused:
            return False
        # More may have come since; those are not what was asked for.
        return total is not None and total <= length


def _by_task(rows: Sequence[object], ids: Iterable[str], paths: _Paths) -> dict[str, list[object]] | None:
    """Sort rows by the task that they name; None when one names none of those asked for."""
    by_task: dict[str, list[object]] = {one: [] for one in ids}
    for row in rows:
        named = (json_fields.reference(json_fields.part(row, *path)) for path in paths)
        task_id = next((one for one in named if one in by_task), None)
        if task_id is None:
            return None
        by_task[task_id].append(row)
    return by_task

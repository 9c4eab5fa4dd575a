"""Executions by their ids: results and sessions, of many in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from butler_mqtt.domain.model import Execution, ExecutionStatus
from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs import filters, json_fields
from butler_mqtt.qrs.task_lists import Read

#: Executions asked for in one query.
MAX_IDS = 50
#: Reads of executions of which one reads the sessions of all.
ALL_SESSIONS_EVERY = 10
_ABORTING = frozenset({ExecutionStatus.ABORT_INITIATED, ExecutionStatus.ABORTING})
#: A list this long may have been cut by the server.
FULL_LENGTH = 100


@dataclass
class ExecutionLists:
    """Reads executions over one connection."""

    read: Read
    _reads: int = field(default=0, init=False)

    def read_by_id(self, ids: Sequence[str]) -> dict[str, Execution | None]:
        """Read executions as `RepositoryConnection.executions` describes it; raises like it."""
        self._reads += 1
        known: dict[str, Execution | None] = dict.fromkeys(ids)
        asked = list(known)
        for start in range(0, len(asked), MAX_IDS):
            group = asked[start : start + MAX_IDS]
            results = self._by_id("executionresult", "executionID", group)
            executions = json_fields.executions([], results)
            shown = {one.id: one for one in executions if one.id is not None}
            # Why an execution is being aborted only its session shows.
            alive = {one for one in group if one in shown and shown[one].active}
            alive -= {one for one in alive if shown[one].status in _ABORTING}
            if self._reads % ALL_SESSIONS_EVERY == 0:
                alive = set()
            doubtful = [one for one in group if one not in alive]
            sessions = self.sessions_by_id(doubtful) if doubtful else []
            if sessions:
                executions = json_fields.executions(sessions, results)
            for execution in executions:
                if execution.id in known:
                    known[execution.id] = (
                        replace(execution, session=True) if execution.id in alive else execution
                    )
        return known

    def sessions_by_id(self, ids: Sequence[str]) -> list[object]:
        """Read those of the sessions *ids* that are still there; raises like `read_by_id`."""
        try:
            return self._by_id("executionsession", "id", ids)
        except QlikRefused as error:
            if error.status != 404:
                raise
        # A server without the list shows them one by one; 404 is a session that ended.
        return [session for one in ids if (session := self._session(one)) is not None]

    def _session(self, execution_id: str) -> object | None:
        try:
            return self.read(f"/executionsession/{execution_id}")
        except QlikRefused as error:
            if error.status != 404:
                raise
            return None

    def _by_id(self, entity: str, path: str, ids: Sequence[str]) -> list[object]:
        answer = self.read(f"/{entity}/full", f"filter={filters.encode(filters.any_of(path, ids))}")
        rows: list[object] = answer if isinstance(answer, list) else []
        if len(rows) < FULL_LENGTH or len(ids) == 1:
            return rows
        middle = len(ids) // 2
        return self._by_id(entity, path, ids[:middle]) + self._by_id(entity, path, ids[middle:])

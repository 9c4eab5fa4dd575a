"""
The executions of all tasks of one app: a site reloads an app once at a time.

While one of them runs, the start of another task of the app is answered with
the empty execution id. A client for Airflow over NTLM is built round that; Qlik
documents nothing of it, so a site that runs both at one time must do as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from butler_mqtt.domain.model import Execution
from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs import filters, json_fields
from butler_mqtt.qrs.execution_lists import ExecutionLists
from butler_mqtt.qrs.task_lists import NOT_UNDERSTOOD, Read

#: Executions of an app that are read where none has a session: those that ended a moment ago are first.
MAX_EXECUTIONS = 20


@dataclass
class AppExecutions:
    """Reads the executions of an app over one connection."""

    read: Read
    executions: ExecutionLists

    def of_app(self, app_id: str) -> tuple[Execution, ...]:
        """
        Read what runs of an app; where nothing does, its newest executions, which have ended.

        The sessions are asked for by app, which the server's description allows and nobody was seen to
        do; where that is refused, by the results that have not ended.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses to answer.
        """
        try:
            sessions: object = self._read("executionsession", "app.id", app_id)
        except QlikRefused as error:
            if error.status not in {404, *NOT_UNDERSTOOD}:
                raise
            sessions = None
        if sessions:
            return json_fields.executions(sessions, [])
        results = self._read("executionresult", "appId", app_id, "&orderby=startTime%20desc")
        found = json_fields.executions([], results)[:MAX_EXECUTIONS]
        if sessions is None:
            # A result can stay active for ever when its execution was lost; some name no execution.
            active = [one.id for one in found if one.active and one.id is not None]
            sessions = self.executions.sessions_by_id(active) if active else []
            found = json_fields.executions(sessions, results)[:MAX_EXECUTIONS]
        return found

    def _read(self, entity: str, path: str, app_id: str, order: str = "") -> object:
        return self.read(f"/{entity}/full", f"filter={filters.encode(filters.any_of(path, [app_id]))}{order}")

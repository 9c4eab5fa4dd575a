"""Execution sessions and execution results as the QRS shows them."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from butler_mqtt.simulator.collection import Entity
from butler_mqtt.simulator.entity_fields import STATUS_NAMES
from butler_mqtt.simulator.server_clock import NEVER, NO_END
from butler_mqtt.simulator.tasks import EMPTY_GUID, SimulatedTask, never_executed

_SCHEDULER_USER = "INTERNAL\\sa_scheduler"
_REFERENCES = ("reloadTask", "userSyncTask", "externalProgramTask")
_DEFAULT_SCRIPT_LOG = ("Execution started.", "Loading data", "Execution finished.")


class Result(Entity):
    """
    One attempt of an execution.

    `summary` is the part that tasks and sessions show; it changes together
    with the document.
    """

    condensed_keys = (*never_executed(),)

    def __init__(
        self, task: SimulatedTask, execution_id: str, node_id: str, node_name: str, stamp: str
    ) -> None:
        app = task.document.get("app")
        self.task = task
        #: What the script log of this attempt is fetched by.
        self.file_reference = str(uuid.uuid4())
        #: Monotonic time from which the script log can be read.
        self.script_log_from: float | None = None
        self.summary = never_executed() | {"id": str(uuid.uuid4()), "executingNodeName": node_name}
        super().__init__(
            {
                "id": self.summary["id"],
                "createdDate": stamp,
                "modifiedDate": stamp,
                "modifiedByUserName": _SCHEDULER_USER,
                "taskID": task.id,
                "executionID": execution_id,
                "appID": app["id"] if app else EMPTY_GUID,
                "executingNodeID": node_id,
                **self.summary,
                "schemaPath": "ExecutionResult",
            }
        )

    @property
    def status(self) -> int:
        """The `TaskExecutionStatus`."""
        number: int = self.summary["status"]
        return number

    @property
    def has_script_log(self) -> bool:
        """Whether there is a script log, whatever `scriptLogAvailable` says."""
        return bool(self.summary["fileReferenceID"] == self.file_reference)

    def update(self, stamp: str, **changes: Any) -> None:
        """Set some properties at the time *stamp*."""
        self.summary.update(changes)
        self.document.update(changes, modifiedDate=stamp)
        self.changed()

    def move(self, status: int, stamp: str, *messages: str) -> None:
        """Go to *status*, with a detail that says so, and further *messages*."""
        before = "" if status == 1 else f" from {STATUS_NAMES[self.status]}"
        said = f"Changing task state{before} to {STATUS_NAMES[status]}"
        kind = 0 if status in (8, 11) else 2
        self.summary["details"] += [_detail(text, kind, stamp) for text in (said, *messages)]
        self.document["details"] = self.summary["details"]
        self.update(stamp, status=status)

    def begin(self, stamp: str) -> None:
        """Note the time at which it began to run."""
        self.update(stamp, startTime=stamp)

    def finish(self, status: int, stamp: str, *messages: str) -> None:
        """End for good; with a script log where an app was reloaded."""
        if self.summary["startTime"] == NEVER:
            self.begin(stamp)
        started = datetime.fromisoformat(self.summary["startTime"])
        taken = round((datetime.fromisoformat(stamp) - started).total_seconds() * 1000)
        self.move(status, stamp, *messages)
        self.update(stamp, stopTime=stamp, duration=max(taken, 0))
        if self.task.kind == 0 and status in (7, 8):
            self.update(
                stamp,
                fileReferenceID=self.file_reference,
                scriptLogLocation=f"sense1\\Script\\{self.document['appID']}.{self.file_reference}.log",
                scriptLogSize=len(self.script_log()),
            )

    def script_log(self) -> bytes:
        """Return the script log, lines ended by CRLF."""
        lines = self.task.definition.script_log or _DEFAULT_SCRIPT_LOG
        return "".join(f"{self.summary['startTime']}  {line}\r\n" for line in lines).encode()


class Session(Entity):
    """An execution session: there while the execution is active."""

    def __init__(
        self, session_id: str, task: SimulatedTask, *, user: str, node_id: str, result: Result, stamp: str
    ) -> None:
        app = task.document.get("app")
        reference = {0: 0, 1: 2, 2: 1}.get(task.kind, 0)
        super().__init__(
            {
                "id": session_id,
                "createdDate": stamp,
                "modifiedDate": stamp,
                "modifiedByUserName": _SCHEDULER_USER,
                "executingNode": {"id": node_id, "privileges": None},
                "executionResult": result.summary,
                "abortAt": NO_END,
                "retries": 0,
                "abortReason": 0,
                "app": {"id": app["id"], "name": app["name"]} if app else None,
                "user": user,
                **{
                    key: task.reference if number == reference else None
                    for number, key in enumerate(_REFERENCES)
                },
                "privileges": None,
                "schemaPath": "ExecutionSession",
            }
        )

    def condensed_document(self) -> dict[str, Any]:
        """Leave out the dates and names of change."""
        without = ("createdDate", "modifiedDate", "modifiedByUserName", "schemaPath")
        return {key: value for key, value in self.document.items() if key not in without}


def _detail(message: str, kind: int, stamp: str) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "detailsType": kind,
        "message": message,
        "detailCreatedDate": stamp,
        "privileges": None,
    }

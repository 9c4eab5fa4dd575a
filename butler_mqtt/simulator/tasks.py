"""Tasks as the QRS shows them: concrete and base form, full and condensed."""

from __future__ import annotations

from typing import Any

from butler_mqtt.simulator.collection import Entity, dump
from butler_mqtt.simulator.definitions import TaskDefinition, derived_id
from butler_mqtt.simulator.server_clock import NEVER

EMPTY_GUID = "00000000-0000-0000-0000-000000000000"
MODIFIED_BY = "LAB\\goran"
_SCHEMA_PATHS = {1: "ExternalProgramTask", 2: "UserSyncTask"}
_BASE_KEYS = (
    "id",
    "createdDate",
    "modifiedDate",
    "modifiedByUserName",
    "name",
    "taskType",
    "enabled",
    "taskSessionTimeout",
    "maxRetries",
    "tags",
    "privileges",
)


def never_executed() -> dict[str, Any]:
    """Return `lastExecutionResult` of a task that was never started."""
    return {
        "id": EMPTY_GUID,
        "executingNodeName": "",
        "status": 0,
        "startTime": NEVER,
        "stopTime": NEVER,
        "duration": 0,
        "fileReferenceID": EMPTY_GUID,
        "scriptLogAvailable": False,
        "details": [],
        "scriptLogLocation": "",
        "scriptLogSize": -1,
        "privileges": None,
    }


class Tag(Entity):
    """A tag."""

    condensed_keys = ("id", "name", "privileges")


class CustomPropertyDefinition(Entity):
    """A custom property and the values it may have."""

    condensed_keys = ("id", "name", "valueType", "choiceValues", "privileges")


def tag(name: str, stamp: str) -> Tag:
    """Make the tag of that *name*."""
    return Tag(
        {
            "id": derived_id("tag", name),
            "createdDate": stamp,
            "modifiedDate": stamp,
            "modifiedByUserName": MODIFIED_BY,
            "name": name,
            "privileges": None,
            "schemaPath": "Tag",
        }
    )


def custom_property_definition(name: str, choices: list[str], stamp: str) -> CustomPropertyDefinition:
    """Make the definition of the custom property of that *name*."""
    return CustomPropertyDefinition(
        {
            "id": derived_id("customProperty", name),
            "createdDate": stamp,
            "modifiedDate": stamp,
            "modifiedByUserName": MODIFIED_BY,
            "name": name,
            "valueType": "Text",
            "choiceValues": choices,
            "objectTypes": ["App", "ReloadTask", "ExternalProgramTask", "UserSyncTask"],
            "description": "",
            "impactSecurityAccess": False,
            "privileges": None,
            "schemaPath": "CustomPropertyDefinition",
        }
    )


class SimulatedTask(Entity):
    """
    A task; its document is the concrete form.

    All but `operational` is serialised once, since only that changes with
    every execution.
    """

    condensed_keys = (
        "id",
        "name",
        "taskType",
        "enabled",
        "taskSessionTimeout",
        "maxRetries",
        "operational",
        "privileges",
    )

    def __init__(self, definition: TaskDefinition, stamp: str, choices: dict[str, list[str]]) -> None:
        self.definition = definition
        self.kind = definition.kind
        self.schema_path = _SCHEMA_PATHS.get(definition.kind, "ReloadTask")
        #: How many attempts were made, to pick the next of `definition.results`.
        self.attempts = 0
        #: As other entities refer to it.
        self.reference = {
            "id": definition.id,
            "name": definition.name,
            "taskType": definition.kind,
            "enabled": definition.enabled,
            "taskSessionTimeout": definition.timeout_minutes,
            "maxRetries": definition.retries,
        }
        document = _document(definition, self.schema_path, stamp, choices)
        static = {key: value for key, value in document.items() if key != "operational"}
        self._head = dump(static)[:-1] + b',"operational":'
        self._base = dump({key: document[key] for key in _BASE_KEYS} | {"schemaPath": "Task"})
        self._task_condensed: bytes | None = None
        super().__init__(document)

    def changed(self) -> None:
        """Forget what shows `operational`."""
        super().changed()
        self._task_condensed = None

    def full(self) -> bytes:
        """Return the concrete form."""
        if self._full is None:
            self._full = self._head + dump(self.document["operational"]) + b"}"
        return self._full

    def base(self) -> bytes:
        """Return the documented `Task` form: no app, custom properties, operational."""
        return self._base

    def task_condensed(self, *, concrete: bool) -> bytes:
        """Return the condensed form of `/qrs/task`, which knows less than that of `/qrs/reloadtask`."""
        keys: tuple[str, ...] = ("id", "name", "taskType", "enabled")
        if not concrete:
            return dump({key: self.document[key] for key in keys})
        if self._task_condensed is None:
            self._task_condensed = dump({key: self.document[key] for key in (*keys, "operational")})
        return self._task_condensed

    @property
    def last(self) -> dict[str, Any]:
        """The newest result as the task shows it."""
        found: dict[str, Any] = self.document["operational"]["lastExecutionResult"]
        return found

    def show(self, result: dict[str, Any]) -> None:
        """Let *result* be the newest."""
        self.document["operational"]["lastExecutionResult"] = result
        self.changed()

    def next_outcome(self) -> int | None:
        """Return the status the next attempt ends with, None when it never ends."""
        results = self.definition.results
        self.attempts += 1
        return results[min(self.attempts, len(results)) - 1]


def _document(
    definition: TaskDefinition, schema_path: str, stamp: str, choices: dict[str, list[str]]
) -> dict[str, Any]:
    task_id = definition.id
    document: dict[str, Any] = {
        "id": task_id,
        "createdDate": stamp,
        "modifiedDate": stamp,
        "modifiedByUserName": MODIFIED_BY,
        "customProperties": [
            _property_value(task_id, name, value, stamp, choices)
            for name, value in definition.custom_properties
        ],
        "operational": {
            "id": derived_id("operational", task_id),
            "lastExecutionResult": never_executed(),
            "nextExecution": NEVER,
            "privileges": None,
        },
        "name": definition.name,
        "taskType": definition.kind,
        "enabled": definition.enabled,
        "taskSessionTimeout": definition.timeout_minutes,
        "maxRetries": definition.retries,
        "tags": [
            {"id": derived_id("tag", name), "name": name, "privileges": None} for name in definition.tags
        ],
        "privileges": None,
        "schemaPath": schema_path,
    }
    if definition.kind == 1:
        document |= {"path": "powershell.exe", "parameters": "-File job.ps1"}
        document["operational"]["timesTriggered"] = 0
    elif definition.kind == 2:
        name = f"Directory of {definition.name}"
        document["userDirectory"] = {"id": derived_id("userDirectory", name), "name": name}
    else:
        document |= {
            "app": _app(definition),
            "isManuallyTriggered": definition.manually_triggered,
            "isPartialReload": definition.partial_reload,
            "timeToLive": 0,
            "preloadNodes": [],
        }
    return document


def _app(definition: TaskDefinition) -> dict[str, Any] | None:
    app = definition.app
    if app is None:
        return None
    stream = app.stream and {"id": derived_id("stream", app.stream), "name": app.stream, "privileges": None}
    return {
        "id": app.id,
        "name": app.name,
        "appId": "",
        "publishTime": "2024-03-05T09:00:00.000Z" if stream else NEVER,
        "published": bool(stream),
        "stream": stream,
        "savedInProductVersion": "12.1657.0",
        "migrationHash": "eb6d2c5c",
        "availabilityStatus": app.availability,
        "privileges": None,
    }


def _property_value(
    task_id: str, name: str, value: str, stamp: str, choices: dict[str, list[str]]
) -> dict[str, Any]:
    return {
        "id": derived_id("customPropertyValue", task_id, name, value),
        "createdDate": stamp,
        "modifiedDate": stamp,
        "modifiedByUserName": MODIFIED_BY,
        "value": value,
        "definition": {
            "id": derived_id("customProperty", name),
            "name": name,
            "valueType": "Text",
            "choiceValues": choices.get(name, []),
            "privileges": None,
        },
        "schemaPath": "CustomPropertyValue",
    }

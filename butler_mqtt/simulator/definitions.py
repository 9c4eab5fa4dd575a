"""
The tasks file: YAML that describes a site's tasks, nodes, tags and custom properties.

The same description of a task, as JSON, is what the admin endpoints take.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from butler_mqtt.simulator.entity_fields import AVAILABILITIES

#: Ids that a file does not give are derived from names within this name space.
NAMESPACE = uuid.UUID("5d1a1c0e-6f0c-4a55-9d7d-1a2b3c4d5e6f")
TASK_KINDS = {"reload": 0, "externalProgram": 1, "userSync": 2, "distribute": 3, "preload": 4}
#: How an execution can end, as `TaskExecutionStatus`; `never` runs until it is stopped.
RESULTS = {"aborted": 6, "success": 7, "fail": 8, "skipped": 9, "error": 11, "reset": 12, "never": None}

_GUID = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_TEXTS = {"type": "array", "items": {"type": "string"}}
_ONE_OR_MORE = {"type": ["string", "array"], "items": {"type": "string"}}
#: JSON schema of a task as it is described.
TASK_DESCRIPTION: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "id": {"type": "string", "pattern": _GUID},
        "type": {"enum": list(TASK_KINDS)},
        "enabled": {"type": "boolean"},
        "tags": _TEXTS,
        "customProperties": {"type": "object", "additionalProperties": _ONE_OR_MORE},
        "durationSeconds": {"type": "number", "minimum": 0},
        "result": {
            "anyOf": [
                {"enum": list(RESULTS)},
                {"type": "array", "minItems": 1, "items": {"enum": list(RESULTS)}},
            ]
        },
        "retries": {"type": "integer", "minimum": 0, "maximum": 20},
        "timeoutMinutes": {"type": "number", "exclusiveMinimum": 0},
        "manuallyTriggered": {"type": "boolean"},
        "partialReload": {"type": "boolean"},
        "app": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "id": {"type": "string", "pattern": _GUID},
                "stream": {"type": "string"},
                "availability": {"type": ["string", "integer"]},
            },
        },
        "scriptLog": _TEXTS,
    },
}
_NODE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "hostName": {"type": "string"},
        "maxConcurrentEngines": {"type": "integer", "minimum": 0},
    },
}
_GENERATE = {
    **TASK_DESCRIPTION,
    "required": ["name", "count"],
    "properties": {**TASK_DESCRIPTION["properties"], "count": {"type": "integer", "minimum": 1}},
}
_SITE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "nodes": {"type": "array", "minItems": 1, "items": _NODE},
        "tags": _TEXTS,
        "customProperties": {"type": "object", "additionalProperties": _TEXTS},
        "tasks": {"type": "array", "items": TASK_DESCRIPTION},
        "generate": {"type": "array", "items": _GENERATE},
    },
}


class DefinitionError(Exception):
    """A description is wrong; the text says where and why."""


@dataclass(frozen=True)
class AppDefinition:
    """The app that a task reloads; `availability` is a number of the QRS enum, 1 is available."""

    id: str
    name: str
    stream: str | None = "Everyone"
    availability: int = 1


@dataclass(frozen=True)
class TaskDefinition:
    """
    One task as described.

    `results` are how its attempts end, one after another over all
    executions; the last one repeats. None in it: runs until stopped.
    """

    id: str
    name: str
    kind: int = 0
    enabled: bool = True
    tags: tuple[str, ...] = ()
    custom_properties: tuple[tuple[str, str], ...] = ()
    duration_seconds: float = 2.0
    results: tuple[int | None, ...] = (7,)
    retries: int = 0
    timeout_minutes: float = 1440
    manually_triggered: bool = False
    partial_reload: bool = False
    app: AppDefinition | None = None
    script_log: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeDefinition:
    """One node that runs reloads, `max_concurrent_engines` at a time."""

    name: str = "Central"
    host_name: str = "sense1.lab.local"
    max_concurrent_engines: int = 4


@dataclass(frozen=True)
class SiteDefinition:
    """The content of a tasks file."""

    tasks: tuple[TaskDefinition, ...] = ()
    nodes: tuple[NodeDefinition, ...] = (NodeDefinition(),)
    tags: tuple[str, ...] = ()
    custom_properties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def derived_id(*names: str) -> str:
    """Make the id that always belongs to *names*."""
    return str(uuid.uuid5(NAMESPACE, "\0".join(names)))


def task_definition(raw: Any, *, salt: str = "") -> TaskDefinition:
    """
    Read one task.

    Args:
        raw: A mapping as in the tasks file.
        salt: Tells tasks of one name apart when ids are derived.

    Raises:
        DefinitionError: It does not fit.
    """
    _check(raw, TASK_DESCRIPTION)
    name = str(raw["name"])
    kind = TASK_KINDS[raw.get("type", "reload")]
    result = raw.get("result", "success")
    properties = raw.get("customProperties", {})
    task_id = str(raw.get("id") or derived_id("task", name, salt)).lower()
    return TaskDefinition(
        id=task_id,
        name=name,
        kind=kind,
        enabled=raw.get("enabled", True),
        tags=tuple(raw.get("tags", ())),
        custom_properties=tuple((key, one) for key, value in properties.items() for one in _listed(value)),
        duration_seconds=float(raw.get("durationSeconds", 2.0)),
        results=tuple(RESULTS[one] for one in _listed(result)),
        retries=raw.get("retries", 0),
        timeout_minutes=raw.get("timeoutMinutes", 1440),
        manually_triggered=raw.get("manuallyTriggered", False),
        partial_reload=raw.get("partialReload", False),
        app=_app(raw.get("app", {}), name) if kind in (0, 3, 4) else None,
        script_log=tuple(raw.get("scriptLog", ())),
    )


def site_definition(text: str) -> SiteDefinition:
    """
    Read a tasks file.

    Raises:
        DefinitionError: It is not YAML or does not fit.
    """
    try:
        # The C loader reads thousands of tasks ten times faster; not every build of PyYAML has it.
        raw = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}  # noqa: S506 - both are safe loaders
    except yaml.YAMLError as error:
        raise DefinitionError(f"not YAML: {error}") from error
    _check(raw, _SITE)
    tasks: dict[str, TaskDefinition] = {}
    seen: dict[str, int] = {}
    for one in _expanded(raw):
        number = seen[one["name"]] = seen.get(one["name"], 0) + 1
        task = task_definition(one, salt="" if number == 1 else str(number))
        if task.id in tasks:
            raise DefinitionError(
                f"tasks: id {task.id} is given to {tasks[task.id].name!r} and {task.name!r}"
            )
        tasks[task.id] = task
    nodes = tuple(
        NodeDefinition(
            name=node["name"],
            host_name=node.get("hostName", node["name"]),
            max_concurrent_engines=node.get("maxConcurrentEngines", 4),
        )
        for node in raw.get("nodes", ())
    )
    return SiteDefinition(
        tasks=tuple(tasks.values()),
        nodes=nodes or (NodeDefinition(),),
        tags=tuple(raw.get("tags", ())),
        custom_properties={key: tuple(given) for key, given in raw.get("customProperties", {}).items()},
    )


def load(file: Path | None) -> SiteDefinition:
    """
    Read the tasks *file*, or the built-in sample.

    Raises:
        DefinitionError: It cannot be read or does not fit.
    """
    if file is None:
        return site_definition(resources.files(__package__).joinpath("sample.yaml").read_text("utf-8"))
    try:
        return site_definition(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"{file}: cannot be read: {error}") from error
    except DefinitionError as error:
        raise DefinitionError(f"{file}: {error}") from error


def _expanded(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from raw.get("tasks", ())
    for entry in raw.get("generate", ()):
        pattern = {key: value for key, value in entry.items() if key not in ("count", "id")}
        for number in range(1, entry["count"] + 1):
            yield {**pattern, "name": entry["name"].replace("{n}", str(number))}


def _app(raw: Mapping[str, Any], task_name: str) -> AppDefinition:
    name = raw.get("name", f"App of {task_name}")
    availability = raw.get("availability", 1)
    if isinstance(availability, str):
        number = AVAILABILITIES.get(availability.casefold())
        if number is None:
            raise DefinitionError(
                f"app.availability: {availability!r} is none of {', '.join(AVAILABILITIES)}"
            )
        availability = number
    return AppDefinition(
        id=str(raw.get("id") or derived_id("app", name)).lower(),
        name=name,
        stream=raw.get("stream", "Everyone"),
        availability=availability,
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check(raw: Any, schema: Mapping[str, Any]) -> None:
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(raw))
    if error is not None:
        raise DefinitionError(f"{error.json_path}: {error.message}")

"""
The properties of the QRS entities, as far as filters and sorting need them.

Property names are looked up without regard to case; enum names are those of
`GET /qrs/about/api/enums` in Qlik's reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What a property holds."""

    GUID = "guid"
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    ENUM = "enum"
    #: Another entity or a list of them, see `Field.schema`.
    NESTED = "nested"


@dataclass(frozen=True)
class Field:
    """One property: its JSON key, what it holds and, where it leads on, the next schema."""

    key: str
    kind: Kind
    names: Mapping[str, int] = field(default_factory=dict)
    schema: Mapping[str, Field] | None = None
    many: bool = False


Schema = Mapping[str, Field]
_Spec = Kind | Mapping[str, int] | tuple[str, Schema]


def _names(*names: str) -> dict[str, int]:
    return {name.casefold(): number for number, name in enumerate(names)}


def _one(schema: Schema) -> tuple[str, Schema]:
    return ("one", schema)


def _many(schema: Schema) -> tuple[str, Schema]:
    return ("many", schema)


def _schema(*inherited: Schema, **properties: _Spec) -> Schema:
    fields: dict[str, Field] = {}
    for schema in inherited:
        fields.update(schema)
    for key, spec in properties.items():
        if isinstance(spec, Kind):
            found = Field(key, spec)
        elif isinstance(spec, tuple):
            found = Field(key, Kind.NESTED, schema=spec[1], many=spec[0] == "many")
        else:
            found = Field(key, Kind.ENUM, names=spec)
        fields[key.casefold()] = found
    return fields


#: Task kinds by name; 4 (preload) exists on the wire but has no documented name.
TASK_TYPES = _names("Reload", "ExternalProgram", "UserSync", "Distribute")
#: `TaskExecutionStatus`, by number.
STATUS_NAMES = (
    "NeverStarted",
    "Triggered",
    "Started",
    "Queued",
    "AbortInitiated",
    "Aborting",
    "Aborted",
    "FinishedSuccess",
    "FinishedFail",
    "Skipped",
    "Retry",
    "Error",
    "Reset",
    "DistributionQueue",
    "DistributionRunning",
)
STATUSES = _names(*STATUS_NAMES)
ABORT_REASONS = _names("Undefined", "Manual", "Timeout", "DeletedTask")
AVAILABILITIES = _names(
    "NotApplicable", "Available", "NoActiveRoute", "NoConfiguredRoute", "NotSynced", "NotMigrated"
)
DETAIL_TYPES = _names("Error", "Warning", "Information")
VALUE_TYPES = _names("Undefined", "Text")
SCHEDULER_TYPES = _names("Master", "Slave", "MasterSlave")

_IDENTITY = _schema(
    id=Kind.GUID,
    createdDate=Kind.DATE,
    modifiedDate=Kind.DATE,
    modifiedByUserName=Kind.TEXT,
    schemaPath=Kind.TEXT,
)
_NAMED = _schema(id=Kind.GUID, name=Kind.TEXT)
TAG = _schema(_IDENTITY, name=Kind.TEXT)
DEFINITION = _schema(
    _IDENTITY,
    name=Kind.TEXT,
    valueType=VALUE_TYPES,
    description=Kind.TEXT,
    impactSecurityAccess=Kind.BOOLEAN,
)
_PROPERTY_VALUE = _schema(_IDENTITY, value=Kind.TEXT, definition=_one(DEFINITION))
_DETAIL = _schema(id=Kind.GUID, detailsType=DETAIL_TYPES, message=Kind.TEXT, detailCreatedDate=Kind.DATE)
_RESULT = _schema(
    id=Kind.GUID,
    executingNodeName=Kind.TEXT,
    status=STATUSES,
    startTime=Kind.DATE,
    stopTime=Kind.DATE,
    duration=Kind.NUMBER,
    fileReferenceID=Kind.GUID,
    scriptLogAvailable=Kind.BOOLEAN,
    scriptLogLocation=Kind.TEXT,
    scriptLogSize=Kind.NUMBER,
    details=_many(_DETAIL),
)
RESULT = _schema(
    _IDENTITY,
    _RESULT,
    taskID=Kind.GUID,
    executionID=Kind.GUID,
    appID=Kind.GUID,
    executingNodeID=Kind.GUID,
)
_OPERATIONAL = _schema(
    id=Kind.GUID, lastExecutionResult=_one(_RESULT), nextExecution=Kind.DATE, timesTriggered=Kind.NUMBER
)
_APP = _schema(
    _NAMED,
    appId=Kind.TEXT,
    publishTime=Kind.DATE,
    published=Kind.BOOLEAN,
    stream=_one(_NAMED),
    savedInProductVersion=Kind.TEXT,
    migrationHash=Kind.TEXT,
    availabilityStatus=AVAILABILITIES,
)
_COMMON_TASK = _schema(
    _IDENTITY,
    name=Kind.TEXT,
    taskType=TASK_TYPES,
    enabled=Kind.BOOLEAN,
    taskSessionTimeout=Kind.NUMBER,
    maxRetries=Kind.NUMBER,
    tags=_many(TAG),
    customProperties=_many(_PROPERTY_VALUE),
    operational=_one(_OPERATIONAL),
)
RELOAD_TASK = _schema(
    _COMMON_TASK,
    app=_one(_APP),
    isManuallyTriggered=Kind.BOOLEAN,
    isPartialReload=Kind.BOOLEAN,
    timeToLive=Kind.NUMBER,
)
EXTERNAL_PROGRAM_TASK = _schema(_COMMON_TASK, path=Kind.TEXT, parameters=Kind.TEXT)
USER_SYNC_TASK = _schema(_COMMON_TASK, userDirectory=_one(_NAMED))
#: `/qrs/task`: filters may name properties of any kind of task, whatever form the answer has.
TASK = _schema(RELOAD_TASK, EXTERNAL_PROGRAM_TASK, USER_SYNC_TASK)
_TASK_REFERENCE = _schema(
    _NAMED,
    taskType=TASK_TYPES,
    enabled=Kind.BOOLEAN,
    taskSessionTimeout=Kind.NUMBER,
    maxRetries=Kind.NUMBER,
)
SESSION = _schema(
    _IDENTITY,
    executingNode=_one(_NAMED),
    executionResult=_one(_RESULT),
    abortAt=Kind.DATE,
    retries=Kind.NUMBER,
    abortReason=ABORT_REASONS,
    app=_one(_NAMED),
    user=Kind.TEXT,
    reloadTask=_one(_TASK_REFERENCE),
    userSyncTask=_one(_TASK_REFERENCE),
    externalProgramTask=_one(_TASK_REFERENCE),
)
SCHEDULER_SERVICE = _schema(
    _IDENTITY,
    settings=_one(
        _schema(
            id=Kind.GUID,
            schedulerServiceType=SCHEDULER_TYPES,
            maxConcurrentEngines=Kind.NUMBER,
            engineTimeout=Kind.NUMBER,
        )
    ),
    serverNodeConfiguration=_one(_schema(_NAMED, hostName=Kind.TEXT)),
)

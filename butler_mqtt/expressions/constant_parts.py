"""What of a rule's `start` is wrong whatever a message holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from butler_mqtt.contract import schema_errors, validation
from butler_mqtt.errors import RequestError
from butler_mqtt.expressions.template import Path, TemplateProblem

#: What stands for an expression while the rest is judged: something valid, by its key.
_STANDS_FOR: Final[Mapping[str, object]] = {
    "taskId": "00000000-0000-4000-8000-000000000000",
    "customProperty": {"name": "name", "value": "value"},
    "match": {},
    "criteria": "any",
    "allMustExist": False,
    "ifRunning": "queue",
    "dryRun": False,
    "wait": "started",
    "issuedAt": "2031-01-31T08:00:00Z",
    "expiresAt": "2031-01-31T08:00:00Z",
    "notBefore": "2031-01-31T08:00:00Z",
    "parameters": {"namespace": {"key": "value"}},
    "parametersTtlSeconds": 1,
    "stages": [{"tag": "tag"}],
    "onFailure": "stop",
    "stopRunning": False,
}


def problems(start: Mapping[str, object], filled: Mapping[Path, bool]) -> list[TemplateProblem]:
    """Return what *start* has wrong beside its expressions, which fill the places in *filled*."""
    if "replyTopic" in start:
        message = "has no place in a rule, whose reply goes to mqttConfig.taskStartReplyTopic; remove it"
        return [TemplateProblem(("replyTopic",), message)]
    if not start:
        return [
            TemplateProblem((), "is empty: it needs what a request needs, such as `tag: [daily-reports]`")
        ]
    found = [
        TemplateProblem(place, message) for place, message in schema_errors.faults_beside(dict(start), filled)
    ]
    if found:
        # What the template says of a key with an expression in it is told already.
        return [one for one in found if not any("${{" in str(step) for step in one.path)]
    body = _probe(start, (), filled)
    try:
        validation.parse(json.dumps(body).encode(), max_bytes=1_000_000, supported=validation.FEATURES)
    except RequestError as error:
        return [TemplateProblem((), error.details)]
    return []


def _probe(value: Any, path: Path, filled: Mapping[Path, bool]) -> Any:
    if path in filled:
        # A position in a list counts for the key that holds it: tag[0] for tag.
        key = next((step for step in reversed(path) if isinstance(step, str)), "")
        inside = "parameters" in path[:1] and len(path) > 1
        return "text" if inside else _STANDS_FOR.get(key, "text")
    if isinstance(value, Mapping):
        return {key: _probe(item, (*path, key), filled) for key, item in value.items()}
    if isinstance(value, list):
        return [_probe(item, (*path, index), filled) for index, item in enumerate(value)]
    return value

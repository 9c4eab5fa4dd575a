"""What of a rule's `start` and of its `when` is wrong whatever a message holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from butler_mqtt.contract import schema_errors, validation
from butler_mqtt.errors import RequestError
from butler_mqtt.expressions.compilation import Compilation
from butler_mqtt.expressions.expression import VARIABLES, Expression
from butler_mqtt.expressions.nodes import ConditionalNode, LogicalNode, NameNode, Node, walk
from butler_mqtt.expressions.template import Path, TemplateProblem
from butler_mqtt.expressions.values import EvaluationError, Scope, TooMuchWorkError, kind

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
        validation.parse(json.dumps(body).encode(), max_bytes=1_000_000, parameters=True)
    except RequestError as error:
        return [TemplateProblem((), error.details)]
    return []


def condition_problem(condition: Expression) -> tuple[str, int] | None:
    """Return what keeps *condition* from being true or false for any message, and the place in its text."""
    compilation = Compilation(condition.text)
    for node in _judged(condition.root):
        if not _is_constant(node):
            continue
        value, problem = _value(compilation, node)
        if problem is not None:
            return problem
        if type(value) is not bool:
            return f"{compilation.shown(node)} is {kind(value)}, neither true nor false", node.start
    return None


def value_problem(expression: Expression) -> tuple[str, int] | None:
    """Return what keeps *expression* from having a value for any message, and the place in its text."""
    if not _is_constant(expression.root):
        return None
    return _value(Compilation(expression.text), expression.root)[1]


def _is_constant(node: Node) -> bool:
    return not any(isinstance(one, NameNode) and one.name in VARIABLES for one in walk(node))


def _value(compilation: Compilation, node: Node) -> tuple[object, tuple[str, int] | None]:
    """Return the value of a constant node, or its problem with the place."""
    try:
        return compilation.compiled(node, VARIABLES)(Scope({})), None
    except EvaluationError as error:
        return None, (f"never has a value: {error.message}", error.offset)
    except TooMuchWorkError:
        return None, ("takes more steps than a rule may", node.start)


def _judged(node: Node) -> Iterator[Node]:
    """Yield the parts of a condition each of which must be true or false itself."""
    match node:
        case LogicalNode():
            for part in node.parts:
                yield from _judged(part)
        case ConditionalNode():
            yield from _judged(node.condition)
            yield from _judged(node.first)
            yield from _judged(node.second)
        case _:
            yield node


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

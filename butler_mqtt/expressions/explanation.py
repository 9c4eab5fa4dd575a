"""Why a condition is not true for a message: which part of it, and what the message holds there."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Final

from butler_mqtt.expressions.compilation import Compilation
from butler_mqtt.expressions.expression import VARIABLES, Expression
from butler_mqtt.expressions.nodes import ElementNode, FieldNode, LogicalNode, MacroNode, NameNode, Node
from butler_mqtt.expressions.values import EvaluationError, Scope, TooMuchWorkError, ValueFault, as_json

#: Longest value shown, in characters; what is longer is cut.
_LONGEST: Final = 60
#: Keys of an object named where one of them is missed.
_KEYS: Final = 8


def explain(expression: Expression, variables: dict[str, object]) -> list[str]:
    """
    Return what keeps *expression* from being true, one sentence each.

    A part of `&&` that is true is left out; each value that a part reads is told.
    """
    return list(_Explanation(expression, variables).reasons(expression.root))


class _Explanation:
    def __init__(self, expression: Expression, variables: dict[str, object]) -> None:
        self._compilation = Compilation(expression.text)
        self._variables = variables

    def _value(self, node: Node) -> object:
        try:
            return self._compilation.compiled(node, VARIABLES)(Scope(self._variables))
        except TooMuchWorkError:
            raise EvaluationError("takes more steps than a rule may", node.start) from None

    def reasons(self, node: Node) -> Iterator[str]:
        if isinstance(node, LogicalNode):
            if not self._is_true(node):
                for part in node.parts:
                    yield from self.reasons(part)
            return
        shown = self._compilation.shown(node)
        try:
            value = self._value(node)
        except EvaluationError as error:
            message = error.message.removeprefix(f"{shown}: ")
            yield f"{shown} cannot be evaluated: {message}{self._instead(node)}"
            return
        if value is not True:
            read = [
                f"{self._compilation.shown(one)} is {self._shown(one)}"
                for one in _read(node)
                if one is not node
            ]
            what = "is false" if value is False else f"is {_short(value)}, neither true nor false"
            yield f"{shown} {what}" + (f": {', '.join(dict.fromkeys(read))}" if read else "")

    def _is_true(self, node: Node) -> bool:
        try:
            return self._value(node) is True
        except EvaluationError:
            return False

    def _shown(self, node: Node) -> str:
        try:
            return _short(self._value(node))
        except EvaluationError:
            return "not there"

    def _instead(self, node: Node) -> str:
        """Return which keys there are where one is missed."""
        fields = (step for path in _read(node) for step in _steps(path) if not step.tested)
        for field in fields:
            try:
                holder = self._value(field.target)
            except EvaluationError:
                continue
            if isinstance(holder, Mapping) and field.name not in holder:
                return f"; {self._compilation.shown(field.target)} has {_keys(holder, field.name)}"
        return ""


def _steps(path: Node) -> Iterator[FieldNode]:
    while isinstance(path, FieldNode):
        yield path
        path = path.target


def _keys(holder: Mapping[str, object], missed: str) -> str:
    if near := difflib.get_close_matches(missed, [str(key) for key in holder], n=1):
        return repr(near[0])
    names = ", ".join(str(key)[:40] for key in list(holder)[:_KEYS])
    return (names or "no field") + (", …" if len(holder) > _KEYS else "")


def _read(node: Node) -> Iterator[Node]:
    """Yield what *node* reads of the message: the longest paths, not those of a macro's own variable."""
    if isinstance(node, FieldNode | ElementNode | NameNode):
        yield node
        return
    if isinstance(node, MacroNode):
        yield from _read(node.target)
        return
    for child in node.children:
        yield from _read(child)


def _short(value: object) -> str:
    try:
        text = json.dumps(as_json(value, Scope({}, 100_000)), ensure_ascii=False)
    except TooMuchWorkError:
        return "a long value"
    except ValueFault as fault:
        return str(fault)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

"""An expression of a rule: checked once, evaluated for many messages."""

from __future__ import annotations

from typing import Any, Final

from butler_mqtt.expressions.compilation import Compilation
from butler_mqtt.expressions.nodes import ElementNode, FieldNode, NameNode, walk
from butler_mqtt.expressions.parser import parse
from butler_mqtt.expressions.values import EvaluationError, Scope, TooMuchWorkError, kind

#: What an expression sees of a message.
VARIABLES: Final = frozenset({"payload", "text", "topic", "levels", "properties", "received", "count"})


class Expression:
    """
    One CEL expression.

    Raises `ExpressionError` with its place: syntax, a name or function that
    nobody knows, or more than an expression may be.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = parse(text)
        self._evaluate = Compilation(text).compiled(self.root, VARIABLES)

    def evaluate(self, scope: Scope) -> Any:
        """
        Return the value of the expression in *scope*.

        Raises:
            EvaluationError: It has none: a field that is not there, values of
                types that do not go together, or too many steps.
        """
        try:
            return self._evaluate(scope)
        except TooMuchWorkError:
            raise EvaluationError("takes more steps than a rule may", 0) from None

    def condition(self, scope: Scope) -> bool:
        """Return whether the expression is true; raises EvaluationError, also when it is neither."""
        value = self.evaluate(scope)
        if value is True or value is False:
            return bool(value)
        raise EvaluationError(f"is {kind(value)}, neither true nor false", 0)

    def field_of(self, variable: str) -> int | None:
        """Return where the expression first takes a field or an element of *variable*, None if nowhere."""
        places = (
            node.start
            for node in walk(self.root)
            if isinstance(node, FieldNode | ElementNode)
            and isinstance(node.target, NameNode)
            and node.target.name == variable
        )
        return min(places, default=None)

"""
Closures for the nodes of an expression.

What a macro does is charged for every element before it is done, what works
on a text or a list by its length; so a scope's steps bound time and memory.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from butler_mqtt.expressions import macros, operators
from butler_mqtt.expressions.functions import FUNCTIONS, FunctionDefinition
from butler_mqtt.expressions.nodes import (
    CallNode,
    ChainNode,
    ConditionalNode,
    ConstantNode,
    ElementNode,
    FieldNode,
    ListNode,
    LogicalNode,
    MacroNode,
    MapNode,
    NameNode,
    Node,
    RelationNode,
    SignNode,
    walk,
)
from butler_mqtt.expressions.parser import ExpressionError
from butler_mqtt.expressions.values import EvaluationError, Scope, ValueFault, is_number, kind

#: Variables that are no object, and what they are.
_NO_FIELDS: Final = {
    "text": "a text",
    "topic": "a text",
    "levels": "a list",
    "received": "a time",
    "count": "a number",
}

#: The value of a node in a scope; raises EvaluationError.
Evaluate = Callable[[Scope], Any]


class Compilation:
    """Makes closures of the nodes of one text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def compiled(self, node: Node, names: Collection[str]) -> Evaluate:
        """Return a function for the value of *node*, in which *names* are known."""
        compile_node = getattr(self, "_" + type(node).__name__.removesuffix("Node").lower())
        evaluate: Evaluate = compile_node(node, names)
        return evaluate

    def _constant(self, node: ConstantNode, names: Collection[str]) -> Evaluate:
        del names
        value = node.value
        return lambda _: value

    def _list(self, node: ListNode, names: Collection[str]) -> Evaluate:
        parts = self._all(node.items, names)
        return lambda scope: [part(scope) for part in parts]

    def _all(self, nodes: Iterable[Node], names: Collection[str]) -> tuple[Evaluate, ...]:
        return tuple(self.compiled(one, names) for one in nodes)

    def shown(self, node: Node) -> str:
        """Return the text of *node*, cut when it is long."""
        text = " ".join(self._text[node.start : node.end].split())
        return text if len(text) <= 60 else text[:59] + "…"

    def _name(self, node: NameNode, names: Collection[str]) -> Evaluate:
        name = node.name
        if name not in names:
            raise ExpressionError(_unknown("variable", name, names), node.start)
        return lambda scope: scope.variables[name]

    def _field(self, node: FieldNode, names: Collection[str]) -> Evaluate:
        holder, name, place, tested = node.target, node.name, node.start, node.tested
        if isinstance(holder, NameNode) and holder.name in _NO_FIELDS:
            what = _NO_FIELDS[holder.name]
            raise ExpressionError(f"{holder.name} is {what} and has no field {name!r}", place)
        target, shown = self.compiled(holder, names), self.shown(node)
        inside = self.shown(holder)

        def field(scope: Scope) -> Any:
            value = target(scope)
            if isinstance(value, Mapping):
                if tested:
                    return name in value
                if name in value:
                    return value[name]
                raise EvaluationError(f"{shown} is not there", place)
            raise EvaluationError(f"{inside} is {kind(value)} and has no field {name!r}", place)

        return field

    def _element(self, node: ElementNode, names: Collection[str]) -> Evaluate:
        target, index, place = self.compiled(node.target, names), self.compiled(node.index, names), node.start
        shown, inside = self.shown(node), self.shown(node.target)

        def element(scope: Scope) -> Any:
            value, at = target(scope), index(scope)
            if isinstance(value, Mapping) and type(at) is str:
                if at in value:
                    return value[at]
                raise EvaluationError(f"{shown} is not there", place)
            if type(value) is list and is_number(at) and at == int(at):
                if 0 <= at < len(value):
                    return value[int(at)]
                raise EvaluationError(f"{shown} is not there: {inside} has {len(value)} elements", place)
            raise EvaluationError(f"{inside} is {kind(value)} and has no element of {kind(at)}", place)

        return element

    def _call(self, node: CallNode, names: Collection[str]) -> Evaluate:
        definition = self._definition(node)
        name, place, call = node.function, node.at, definition.call
        prepared: tuple[object, ...] = ()
        arguments = node.arguments
        if definition.prepare and len(arguments) > 1:
            constant = arguments[1]
            if not isinstance(constant, ConstantNode):
                raise ExpressionError(
                    f"{name}() takes a constant text here, no calculated one", constant.start
                )
            try:
                prepared = (definition.prepare(constant.value),)
            except ValueFault as fault:
                raise ExpressionError(f"the text of {name}() {fault}", constant.start) from None
            arguments = arguments[:1]
        parts = self._all(arguments, names)

        def called(scope: Scope) -> Any:
            values = [part(scope) for part in parts]
            try:
                return call(scope, *values, *prepared)
            except ValueFault as fault:
                raise EvaluationError(f"{name}() {fault}", place) from None

        return called

    def _definition(self, node: CallNode) -> FunctionDefinition:
        name = node.function
        definition = FUNCTIONS.get(name)
        if definition is None:
            raise ExpressionError(
                _unknown(
                    "function", f"{name}()", [f"{one}()" for one in (*FUNCTIONS, *macros.MACROS, "has")]
                ),
                node.at,
            )
        if node.method and not definition.method:
            raise ExpressionError(f"{name}() takes its value in the brackets: {name}(…)", node.at)
        if not node.method and not definition.plain:
            raise ExpressionError(f"{name}() stands behind its value: value.{name}(…)", node.at)
        if len(node.arguments) not in definition.counts:
            beside = [count - node.method for count in definition.counts]
            wanted = " or ".join(str(count) for count in beside)
            raise ExpressionError(
                f"{name}() takes {wanted} in its brackets, not {len(node.arguments) - node.method}", node.at
            )
        return definition

    def _macro(self, node: MacroNode, names: Collection[str]) -> Evaluate:
        target, place, shown = self.compiled(node.target, names), node.start, self.shown(node.target)
        variable, name = node.variable, node.kind
        bodies = self._all(node.bodies, {*names, variable})
        # Each element costs as much as there are nodes to be evaluated for it.
        cost = 1 + sum(1 for body in node.bodies for _ in walk(body))
        run = macros.MACROS[name]

        def macro(scope: Scope) -> Any:
            values = target(scope)
            if not isinstance(values, list | Mapping):
                raise EvaluationError(f"{shown} is {kind(values)}; {name}() takes a list or an object", place)
            scope.charge(cost * len(values))
            outer = scope.variables
            scope.variables = outer.copy()
            try:
                return run(scope, macros.Elements(values, scope.variables, variable, bodies, place))
            finally:
                scope.variables = outer

        return macro

    def _map(self, node: MapNode, names: Collection[str]) -> Evaluate:
        keys = [key for key, _ in node.pairs]
        for key in keys:
            if not (isinstance(key, ConstantNode) and type(key.value) is str):
                raise ExpressionError("a key of an object is a constant text", key.start)
        parts = [
            (key.value, self.compiled(value, names))
            for key, value in node.pairs
            if isinstance(key, ConstantNode)
        ]
        return lambda scope: {key: part(scope) for key, part in parts}

    def _logical(self, node: LogicalNode, names: Collection[str]) -> Evaluate:
        parts = [(self.compiled(part, names), self.shown(part), part.start) for part in node.parts]
        decisive = node.operator == "||"

        def logical(scope: Scope) -> Any:
            error: EvaluationError | None = None
            for part, shown, place in parts:
                try:
                    value = part(scope)
                except EvaluationError as found:
                    # CEL: what decides the whole decides it whatever the other parts are.
                    error = error or found
                    continue
                if value is decisive:
                    return decisive
                if type(value) is not bool:
                    error = error or EvaluationError(
                        f"{shown} is {kind(value)}, neither true nor false", place
                    )
            if error is not None:
                raise error
            return not decisive

        return logical

    def _chain(self, node: ChainNode, names: Collection[str]) -> Evaluate:
        first = self.compiled(node.first, names)
        rest = [
            (operators.CALCULATIONS[sign], self.compiled(operand, names), operand.start)
            for sign, operand in node.rest
        ]

        def chain(scope: Scope) -> Any:
            value = first(scope)
            for calculate, operand, place in rest:
                other = operand(scope)
                try:
                    value = calculate(value, other, scope)
                except ValueFault as fault:
                    raise EvaluationError(str(fault), place) from None
            return value

        return chain

    def _relation(self, node: RelationNode, names: Collection[str]) -> Evaluate:
        compare = operators.RELATIONS[node.operator]
        one, other, place, shown = (
            self.compiled(node.left, names),
            self.compiled(node.right, names),
            node.start,
            self.shown(node),
        )

        def relation(scope: Scope) -> Any:
            try:
                return compare(one(scope), other(scope), scope)
            except ValueFault as fault:
                raise EvaluationError(f"{shown}: {fault}", place) from None

        return relation

    def _sign(self, node: SignNode, names: Collection[str]) -> Evaluate:
        value, place, shown, negative = (
            self.compiled(node.value, names),
            node.start,
            self.shown(node.value),
            node.operator == "-",
        )

        def sign(scope: Scope) -> Any:
            found = value(scope)
            if negative and is_number(found):
                try:
                    return operators.checked(-found)
                except ValueFault as fault:
                    raise EvaluationError(str(fault), place) from None
            if not negative and type(found) is bool:
                return not found
            raise EvaluationError(f"{shown} is {kind(found)}, which `{node.operator}` does not take", place)

        return sign

    def _conditional(self, node: ConditionalNode, names: Collection[str]) -> Evaluate:
        condition, first, second = self._all((node.condition, node.first, node.second), names)
        shown, place = self.shown(node.condition), node.condition.start

        def conditional(scope: Scope) -> Any:
            value = condition(scope)
            if type(value) is not bool:
                raise EvaluationError(f"{shown} is {kind(value)}, neither true nor false", place)
            return first(scope) if value else second(scope)

        return conditional


def _unknown(what: str, name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name[:80], names, n=1)
    if near:
        return f"there is no {what} {name[:80]!r}; did you mean {near[0]}?"
    return f"there is no {what} {name[:80]!r}; known: {', '.join(sorted(names))}"

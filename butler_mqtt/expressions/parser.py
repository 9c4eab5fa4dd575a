"""
CEL text as a tree of nodes.

The grammar is that of cel-python, whose only use is here: it reads the whole
language and knows the place of every token. What would make an expression's
work unbounded is refused in this module: length, depth, macros in macros.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any, Final

from celpy.celparser import CELParseError, CELParser
from lark import Token, Tree
from lark.exceptions import UnexpectedToken

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

#: Longest expression, in bytes of UTF-8.
MAX_BYTES: Final = 4096
#: Levels of an expression: brackets, fields of fields, conditions in conditions.
MAX_DEPTH: Final = 32
#: Longest number written in an expression, in characters.
_MAX_DIGITS: Final = 40
#: What is done with each element: how many arguments each may have, the variable first.
MACROS: Final = {"all": (2,), "exists": (2,), "exists_one": (2,), "filter": (2,), "map": (2, 3)}

_OPERATORS: Final = {
    "relation_lt": "<",
    "relation_le": "<=",
    "relation_gt": ">",
    "relation_ge": ">=",
    "relation_eq": "==",
    "relation_ne": "!=",
    "relation_in": "in",
    "addition_add": "+",
    "addition_sub": "-",
    "multiplication_mul": "*",
    "multiplication_div": "/",
    "multiplication_mod": "%",
    "unary_not": "!",
    "unary_neg": "-",
}
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|)",
    re.DOTALL,
)
_SIMPLE: Final = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))
#: A word, a text or a sign: what is quoted of a place that cannot be read.
_NEXT: Final = re.compile(r"[A-Za-z_0-9]+|[=!<>&|]+|.", re.DOTALL)
#: Operators of other languages.
_WORDS: Final = {"=": "==", "and": "&&", "or": "||", "not": "!"}
_LAST_WORD: Final = re.compile(r"\b([a-z]+)\s*$")


class _Parser(CELParser):
    """Reads the grammar; the base class makes `true` and `false` tokens that know no place."""

    @staticmethod
    def ambiguous_literals(t: Token) -> Token:
        return Token.new_borrow_pos("BOOL_LIT", str(t), t) if t in {"true", "false"} else t


class ExpressionError(ValueError):
    """An expression that cannot be used; `offset` counts characters of its text from 0."""

    def __init__(self, message: str, offset: int) -> None:
        self.message = message
        self.offset = offset
        super().__init__(message)


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """
    Read one expression.

    Raises:
        ExpressionError: It is no CEL, or goes beyond what an expression may be.
    """
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ExpressionError(f"has {size} bytes, {MAX_BYTES} are allowed", 0)
    if not text.strip():
        raise ExpressionError("is empty", 0)
    try:
        tree = _Parser().parse(text)
    except CELParseError as error:
        raise _syntax_error(text, error) from None
    try:
        node = _Reader(text).read(tree, 0)
    except RecursionError:
        raise ExpressionError(f"is nested deeper than {MAX_DEPTH} levels", 0) from None
    _refuse_nested_macros(node)
    return node


def _syntax_error(text: str, error: CELParseError) -> ExpressionError:
    cause = error.__context__
    line, column = error.line or 1, error.column or 1
    offset = min(sum(len(one) + 1 for one in text.split("\n")[: line - 1]) + column - 1, len(text))
    found = _NEXT.match(text, offset)
    if not found or (isinstance(cause, UnexpectedToken) and cause.token.type == "$END"):
        return ExpressionError("ends too early: something is missing at the end", len(text.rstrip()))
    word = found[0]
    before = _LAST_WORD.search(text, 0, offset)
    for name, at in (word, offset), (before[1], before.start()) if before else ("", 0):
        if name in _WORDS:
            return ExpressionError(f"`{name}` is no operator of CEL; write `{_WORDS[name]}`", at)
    if word in "\"'":
        message = f"a text begins with {word} here and does not end in this line"
    elif word.isascii():
        message = f"{word!r} is not expected here"
    else:
        message = f'{word!r} cannot stand here; a field with such a name is written payload["…"]'
    return ExpressionError(message, offset)


def _refuse_nested_macros(root: Node) -> None:
    """Refuse a macro in what another one does for each element: their steps would multiply."""
    for node in walk(root):
        if isinstance(node, MacroNode):
            inner = (one for body in node.bodies for one in walk(body))
            for one in inner:
                if isinstance(one, MacroNode):
                    raise ExpressionError(
                        f"{one.kind}() stands inside {node.kind}(); one level of macros is allowed", one.at
                    )


class _Reader:
    """Makes nodes of one parsed text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self, tree: Tree[Token], depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._refused(f"is nested deeper than {MAX_DEPTH} levels", tree)
        # Each kind of operator has a rule of its own; most of them hold one thing only.
        while len(tree.children) == 1 and isinstance(tree.children[0], Tree) and tree.data != "list_lit":
            if tree.data in {"map_lit", "ident_arg", "dot_ident_arg"}:
                break
            tree = tree.children[0]
        read = getattr(self, f"_{tree.data}", None)
        if read is None:
            raise self._refused("is not allowed here", tree)
        node: Node = read(tree, depth)
        return node

    def _refused(self, message: str, tree: Tree[Token] | Token) -> ExpressionError:
        return ExpressionError(message, _start(tree))

    def _place(self, tree: Tree[Token]) -> tuple[int, int]:
        return _start(tree), tree.meta.end_pos if not tree.meta.empty else len(self._text)

    def _expr(self, tree: Tree[Token], depth: int) -> Node:
        condition, first, second = (self.read(one, depth + 1) for one in _trees(tree))
        return ConditionalNode(*self._place(tree), condition, first, second)

    def _logical(self, tree: Tree[Token], depth: int, operator: str) -> Node:
        name = str(tree.data)
        parts: list[Node] = []
        here = tree
        while here.data == name and len(here.children) == 2:
            left, right = _trees(here)
            parts.append(self.read(right, depth + 1))
            here = left
        parts.append(self.read(here, depth + 1))
        return LogicalNode(*self._place(tree), operator, tuple(reversed(parts)))

    def _conditionalor(self, tree: Tree[Token], depth: int) -> Node:
        return self._logical(tree, depth, "||")

    def _conditionaland(self, tree: Tree[Token], depth: int) -> Node:
        return self._logical(tree, depth, "&&")

    def _relation(self, tree: Tree[Token], depth: int) -> Node:
        sign, right = _trees(tree)
        (left,) = _trees(sign)
        operator = _OPERATORS[str(sign.data)]
        return RelationNode(
            *self._place(tree), operator, self.read(left, depth + 1), self.read(right, depth + 1)
        )

    def _chain(self, tree: Tree[Token], depth: int) -> Node:
        name = str(tree.data)
        rest: list[tuple[str, Node]] = []
        here = tree
        while here.data == name and len(here.children) == 2:
            sign, right = _trees(here)
            rest.append((_OPERATORS[str(sign.data)], self.read(right, depth + 1)))
            (here,) = _trees(sign)
        first = self.read(here, depth + 1)
        return ChainNode(*self._place(tree), first, tuple(reversed(rest)))

    _addition = _chain
    _multiplication = _chain

    def _unary(self, tree: Tree[Token], depth: int) -> Node:
        sign, value = _trees(tree)
        return SignNode(*self._place(tree), _OPERATORS[str(sign.data)], self.read(value, depth + 1))

    def _member_dot(self, tree: Tree[Token], depth: int) -> Node:
        target, name = tree.children
        assert isinstance(target, Tree)  # noqa: S101 - the grammar has it so
        return FieldNode(*self._place(tree), self.read(target, depth + 1), str(name))

    def _member_index(self, tree: Tree[Token], depth: int) -> Node:
        target, index = _trees(tree)
        return ElementNode(*self._place(tree), self.read(target, depth + 1), self.read(index, depth + 1))

    def _member_dot_arg(self, tree: Tree[Token], depth: int) -> Node:
        target, name, *listed = tree.children
        assert isinstance(target, Tree)  # noqa: S101 - the grammar has it so
        arguments = self._listed(listed, depth)
        holder = self.read(target, depth + 1)
        start, end = self._place(tree)
        at = _start(name)
        if str(name) in MACROS:
            return self._macro(str(name), holder, arguments, (start, end, at))
        return CallNode(start, end, str(name), (holder, *arguments), method=True, at=at)

    def _macro(
        self, kind: str, target: Node, arguments: tuple[Node, ...], place: tuple[int, int, int]
    ) -> Node:
        start, end, at = place
        if len(arguments) not in MACROS[kind]:
            wanted = "a variable and what is done with it, such as exists(item, item.amount > 5)"
            raise ExpressionError(f"{kind}() takes {wanted}", at)
        variable, *bodies = arguments
        if not isinstance(variable, NameNode):
            raise ExpressionError(
                f"the first argument of {kind}() is a name for each element", variable.start
            )
        return MacroNode(start, end, kind, target, variable.name, tuple(bodies), at)

    def _ident_arg(self, tree: Tree[Token], depth: int) -> Node:
        name, *listed = tree.children
        arguments = self._listed(listed, depth)
        start, end = self._place(tree)
        if str(name) != "has":
            return CallNode(start, end, str(name), arguments, method=False, at=start)
        if len(arguments) != 1 or not isinstance(arguments[0], FieldNode):
            raise ExpressionError("has() takes one field, such as has(payload.total)", start)
        field = arguments[0]
        return FieldNode(start, end, field.target, field.name, tested=True)

    def _ident(self, tree: Tree[Token], depth: int) -> Node:
        del depth
        return NameNode(*self._place(tree), str(tree.children[0]))

    def _list_lit(self, tree: Tree[Token], depth: int) -> Node:
        return ListNode(*self._place(tree), self._listed(tree.children, depth))

    def _map_lit(self, tree: Tree[Token], depth: int) -> Node:
        listed = [one for part in _trees(tree) for one in _trees(part)]
        nodes = [self.read(one, depth + 1) for one in listed]
        return MapNode(*self._place(tree), tuple(zip(nodes[::2], nodes[1::2], strict=True)))

    def _listed(self, parts: list[Any], depth: int) -> tuple[Node, ...]:
        return tuple(
            self.read(one, depth + 1) for part in parts if isinstance(part, Tree) for one in _trees(part)
        )

    def _literal(self, tree: Tree[Token], depth: int) -> Node:
        del depth
        token = tree.children[0]
        assert isinstance(token, Token)  # noqa: S101 - the grammar has it so
        return ConstantNode(*self._place(tree), self._value(token))

    def _value(self, token: Token) -> bool | int | float | str | None:
        text = str(token)
        match token.type:
            case "BOOL_LIT":
                return text == "true"
            case "NULL_LIT":
                return None
            case "STRING_LIT" | "MLSTRING_LIT":
                return self._unquoted(token)
            case "INT_LIT" | "FLOAT_LIT" if len(text) > _MAX_DIGITS:
                raise self._refused(f"a number of more than {_MAX_DIGITS} characters", token)
            case "INT_LIT":
                return int(text, 16) if "x" in text else int(text)
            case "FLOAT_LIT" if math.isinf(float(text)):
                raise self._refused(f"{text} is too large a number", token)
            case "FLOAT_LIT":
                return float(text)
            case "UINT_LIT":
                raise self._refused(
                    f"{text} is unsigned; numbers have no such letter here: {text[:-1]}", token
                )
            case _:
                raise self._refused('bytes (b"…") are not supported; write a text', token)

    def _unquoted(self, token: Token) -> str:
        text = str(token)
        raw = text[0] in "rR"
        text = text[1:] if raw else text
        quotes = 3 if text[:3] in {'"""', "'''"} and len(text) >= 6 else 1
        inner = text[quotes:-quotes]
        if raw:
            return inner

        def plain(found: re.Match[str]) -> str:
            simple, *codes, octal = found.groups()
            if simple:
                return _SIMPLE.get(simple, simple)
            number = next((int(code, 16) for code in codes if code), int(octal, 8) if octal else -1)
            if not 0 <= number <= 0x10FFFF or 0xD800 <= number <= 0xDFFF:
                raise self._refused(
                    f"a text has an escape that CEL does not know: {found[0]}{inner[found.end() :][:1]}; "
                    r"a backslash itself is \\",
                    token,
                )
            return chr(number)

        return _ESCAPE.sub(plain, inner)


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [one for one in tree.children if isinstance(one, Tree)]


def _start(part: Tree[Token] | Token) -> int:
    if isinstance(part, Token):
        return part.start_pos or 0
    return 0 if part.meta.empty else part.meta.start_pos

r"""
The filter language of the QRS: text to syntax tree and back.

    filter := and ("or" and)*         and  := term ("and" term)*
    term   := "(" filter ")" | path operator value
    path   := name ("." name)* | "@" name
    value  := guid | number | true | false | enum name | 'string'

Inside a string `\'` is a quote and `\\` a backslash; any other backslash is
refused. Keywords and operators are lower-case. Sources: Qlik's page on
filtering for the operators; the escape was measured by others against a live
server; precedence and the refusals are assumptions (see docs/simulator.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

OPERATORS = frozenset({"eq", "ne", "gt", "ge", "lt", "le", "sw", "ew", "so"})
#: Deeper parentheses are refused rather than recursed into.
MAX_DEPTH = 100


class FilterError(Exception):
    """The filter was refused; the text is the body of the 400."""


class ValueKind(Enum):
    """How a value was written."""

    TEXT = "text"
    GUID = "guid"
    NUMBER = "number"
    BOOLEAN = "boolean"
    #: A bare word: the name of an enum value.
    WORD = "word"


@dataclass(frozen=True, slots=True)
class Value:
    """One value as written; GUIDs in lower case, strings without their quotes."""

    kind: ValueKind
    value: str | float | bool


@dataclass(frozen=True, slots=True)
class Term:
    """`path operator value`; the path of the shorthand `@Name` is `("@", "Name")`."""

    path: tuple[str, ...]
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class And:
    """All parts hold."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple[Expression, ...]


Expression = Term | And | Or

_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
#: A GUID and nothing else.
GUID = re.compile(_GUID)


def _tokens_pattern(string: str) -> re.Pattern[str]:
    return re.compile(
        rf"\s*(?:(?P<bracket>[()])|(?P<text>{string})|(?P<guid>{_GUID})(?![\w.-])"
        r"|(?P<number>-?[0-9]+(?:\.[0-9]+)?)(?![\w.-])|(?P<short>@[A-Za-z_][A-Za-z0-9_]*)(?![\w.-])"
        r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)(?![\w.-]))",
        re.ASCII,
    )


_TOKENS = _tokens_pattern(r"'(?:[^'\\]|\\['\\])*'")
_TOKENS_DOUBLED = _tokens_pattern(r"'(?:[^'\\]|\\['\\]|'')*'")
_TOKENS_ONLY_DOUBLED = _tokens_pattern(r"'(?:[^']|'')*'")
_END = ("end", "")


def parse(text: str, *, doubled_quotes: bool = False, backslashes: bool = True) -> Expression:
    """
    Read a filter.

    Args:
        text: The filter, already percent-decoded.
        doubled_quotes: Whether `''` inside a string stands for a quote.
        backslashes: Whether a backslash escapes; an ordinary character else, which wants doubled quotes.

    Raises:
        FilterError: With the body of the 400.
    """
    parser = _Parser(text, doubled_quotes=doubled_quotes, backslashes=backslashes)
    expression = parser.disjunction(0)
    if parser.peek() != _END:
        raise parser.refusal()
    return expression


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, text: str, *, doubled_quotes: bool, backslashes: bool) -> None:
        self._source = text
        self._doubled = doubled_quotes
        self._backslashes = backslashes
        self._tokens = self._scan()
        self._at = 0

    def _scan(self) -> list[tuple[str, str]]:
        pattern = _TOKENS_DOUBLED if self._doubled else _TOKENS
        if not self._backslashes:
            pattern = _TOKENS_ONLY_DOUBLED
        tokens, position, end = [], 0, len(self._source.rstrip())
        while position < end:
            match = pattern.match(self._source, position)
            if match is None or match.lastgroup is None:
                raise self.refusal()
            tokens.append((match.lastgroup, match[match.lastgroup]))
            position = match.end()
        return tokens

    def refusal(self) -> FilterError:
        return FilterError(f"Cannot parse the expression: {self._source}")

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self) -> tuple[str, str]:
        token = self.peek()
        self._at += 1
        return token

    def disjunction(self, depth: int) -> Expression:
        parts = [self._conjunction(depth)]
        while self.peek() == ("name", "or"):
            self._take()
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self, depth: int) -> Expression:
        parts = [self._term(depth)]
        while self.peek() == ("name", "and"):
            self._take()
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _term(self, depth: int) -> Expression:
        kind, text = self._take()
        if (kind, text) == ("bracket", "("):
            if self.peek() == ("bracket", ")"):
                raise FilterError("Invalid expression")
            if depth >= MAX_DEPTH:
                raise self.refusal()
            expression = self.disjunction(depth + 1)
            if self._take() != ("bracket", ")"):
                raise self.refusal()
            return expression
        if kind == "short":
            path: tuple[str, ...] = ("@", text[1:])
        elif kind == "name":
            path = tuple(text.split("."))
        else:
            raise self.refusal()
        kind, operator = self._take()
        if kind != "name" or operator not in OPERATORS:
            raise self.refusal()
        return Term(path, operator, self._value())

    def _value(self) -> Value:
        kind, text = self._take()
        if kind == "text":
            return Value(ValueKind.TEXT, self._unescaped(text[1:-1]))
        if kind == "guid":
            return Value(ValueKind.GUID, text.lower())
        if kind == "number":
            return Value(ValueKind.NUMBER, float(text))
        if kind == "name" and text in ("true", "false"):
            return Value(ValueKind.BOOLEAN, text == "true")
        if kind == "name" and "." not in text and text not in ("and", "or"):
            return Value(ValueKind.WORD, text)
        raise self.refusal()

    def _unescaped(self, text: str) -> str:
        if not self._backslashes:
            return text.replace("''", "'")
        if self._doubled:
            # An escaped quote keeps its backslash until the next line, so only pairs are halved here.
            text = re.sub(r"\\.|''", lambda pair: "'" if pair[0] == "''" else pair[0], text, flags=re.DOTALL)
        return re.sub(r"\\(['\\])", r"\1", text)


def write(expression: Expression) -> str:
    """Write a tree as a filter with every joined part in parentheses; `parse` reads it back."""
    if isinstance(expression, Term):
        path = "@" + expression.path[1] if expression.path[0] == "@" else ".".join(expression.path)
        return f"{path} {expression.operator} {_written(expression.value)}"
    joint = " and " if isinstance(expression, And) else " or "
    return joint.join(f"({write(part)})" for part in expression.parts)


def _written(value: Value) -> str:
    if value.kind is ValueKind.TEXT:
        escaped = str(value.value).replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    if value.kind is ValueKind.NUMBER:
        return f"{float(value.value):.15f}".rstrip("0").rstrip(".")
    if value.kind is ValueKind.BOOLEAN:
        return "true" if value.value else "false"
    return str(value.value)

"""
A request with expressions in its texts: `${{ … }}`.

Works on the values that YAML has read, never on text: what an expression gives
becomes a value of the request, whatever quotes, braces or `${{` it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.parser import ExpressionError
from butler_mqtt.expressions.values import (
    EvaluationError,
    Scope,
    TooMuchWorkError,
    ValueFault,
    as_json,
    text_of,
)

#: The path of a value below `start`.
Path: TypeAlias = tuple[str | int, ...]

_OPEN: Final = "${{"
#: A text of an expression, one brace, or two that close.
_TOKEN: Final = re.compile(
    r'[rR]?"""(?:\\.|[^\\])*?"""|[rR]?\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|[{}]',
    re.DOTALL,
)

_Fill = Callable[[Scope], object]


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """What is wrong at one place; `offset` is that in the text there, from 0, None where it is the key."""

    path: Path
    message: str
    offset: int | None = 0


class TemplateError(ValueError):
    """A template that cannot be used; `problems` names every fault found, `filled` is as in `Template`."""

    def __init__(self, problems: list[TemplateProblem], filled: dict[Path, bool]) -> None:
        self.problems = problems
        self.filled = filled
        super().__init__("; ".join(f"{dotted(one.path)}: {one.message}" for one in problems))


class RenderError(Exception):
    """A template that a message cannot fill; `path` is the place below `start`."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{dotted(path)}: {message}")


class Template:
    """
    The value of `start`, ready to be filled.

    `filled` tells the places that expressions fill, and whether they fill the
    whole text there, so that its value may be of any type; `expressions` are
    these, each with its place and the offset in the text there.

    Raises:
        TemplateError: An expression that cannot be used, or one in a key.
    """

    def __init__(self, start: Mapping[str, object]) -> None:
        self.filled: dict[Path, bool] = {}
        self.expressions: list[tuple[Path, int, Expression]] = []
        self._problems: list[TemplateProblem] = []
        self._fill = self._compiled(dict(start), ())
        if self._problems:
            raise TemplateError(self._problems, self.filled)

    def render(self, scope: Scope) -> Any:
        """
        Return the request for the message of *scope*, as plain JSON values.

        Raises:
            RenderError: An expression has no value, or one that cannot stand there.
        """
        return self._fill(scope)

    def _compiled(self, value: object, path: Path) -> _Fill:
        if isinstance(value, Mapping):
            for key in value:
                if _OPEN in str(key):
                    self._problems.append(
                        TemplateProblem(
                            (*path, key),
                            f"an expression ({_OPEN} … }}}}) stands in a value, not in a key",
                            None,
                        )
                    )
            parts = {key: self._compiled(item, (*path, key)) for key, item in value.items()}
            return lambda scope: {key: fill(scope) for key, fill in parts.items()}
        if isinstance(value, list):
            items = [self._compiled(item, (*path, index)) for index, item in enumerate(value)]
            return lambda scope: [fill(scope) for fill in items]
        if isinstance(value, str) and _OPEN in value:
            return self._text(value, path)
        return lambda _: value

    def _text(self, text: str, path: Path) -> _Fill:
        parts: list[str | Expression] = []
        try:
            for part, offset in pieces(text):
                if offset is None:
                    parts.append(part)
                    continue
                try:
                    expression = Expression(part)
                    parts.append(expression)
                    self.expressions.append((path, offset, expression))
                except ExpressionError as error:
                    self._problems.append(TemplateProblem(path, error.message, offset + error.offset))
        except ExpressionError as error:
            self._problems.append(TemplateProblem(path, error.message, error.offset))
        self.filled[path] = len(parts) == 1
        if len(parts) == 1 and isinstance(parts[0], Expression):
            return _whole(parts[0], path)
        return _joined(parts, path)


def _whole(expression: Expression, path: Path) -> _Fill:
    def fill(scope: Scope) -> object:
        return _evaluated(expression, path, scope, as_json)

    return fill


def _joined(parts: list[str | Expression], path: Path) -> _Fill:
    def fill(scope: Scope) -> object:
        return "".join(
            part if isinstance(part, str) else _evaluated(part, path, scope, _as_text) for part in parts
        )

    return fill


def _as_text(value: object, scope: Scope) -> str:
    if isinstance(value, str):
        scope.charge(1 + len(value))
    return text_of(value)


def _evaluated(expression: Expression, path: Path, scope: Scope, made: Callable[[object, Scope], Any]) -> Any:
    try:
        return made(expression.evaluate(scope), scope)
    except (EvaluationError, ValueFault) as error:
        raise RenderError(path, f"{_OPEN} {expression.text} }}}}: {error}") from None
    except TooMuchWorkError:
        raise RenderError(path, f"{_OPEN} {expression.text} }}}} makes the request too long") from None


def pieces(text: str) -> Iterator[tuple[str, int | None]]:
    """
    Yield the parts of *text*: plain ones with None, expressions with the offset where they begin.

    Raises:
        ExpressionError: An expression does not end.
    """
    position = 0
    while (start := text.find(_OPEN, position)) >= 0:
        if start > position:
            yield text[position:start], None
        end = _end(text, start + len(_OPEN))
        inner = text[start + len(_OPEN) : end]
        expression = inner.strip()
        yield expression, start + len(_OPEN) + (len(inner) - len(inner.lstrip()) if expression else 0)
        position = end + 2
    if position < len(text):
        yield text[position:], None


def _end(text: str, position: int) -> int:
    """Return where the `}}` stands that ends the expression at *position*."""
    depth = 0
    for found in _TOKEN.finditer(text, position):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}":
            if depth == 0 and text.startswith("}}", found.start()):
                return found.start()
            depth -= 1
    raise ExpressionError(f"{_OPEN} has no }}}} that ends it", position - len(_OPEN))


def dotted(path: Path) -> str:
    """Return *path* as operators write it: `start.customProperty[0].value`."""
    return "start" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)

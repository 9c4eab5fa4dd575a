"""Where the characters of a YAML value stand in the file, so that a problem inside a text has its column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: Blanks around line breaks, which YAML folds in plain and quoted values.
_FOLD: Final = re.compile(r"[ \t]*(?:\r?\n[ \t]*)+")
#: An escape of a value in double quotes, by what follows the backslash.
_ESCAPE: Final = re.compile(r"\\(?:x.{2}|u.{4}|U.{8}|\r?\n[ \t]*|.)", re.DOTALL)


def line_and_column(source: str, index: int) -> tuple[int, int]:
    """Return line and column of a character of *source*, both counted from 1."""
    return source.count("\n", 0, index) + 1, index - source.rfind("\n", 0, index)


def index_of(source: str, start: int, end: int, style: str | None, offset: int) -> int:
    """
    Return where a character of a value stands in *source*.

    Args:
        source: The whole file.
        start: Where the value begins, its quote or `|` included.
        end: Where it ends.
        style: PyYAML's name of how it is written: its quote, `|`, `>`, or nothing.
        offset: The character's place in the value, from 0.
    """
    places = _block(source, start, end, style) if style in {"|", ">"} else _flow(source, start, end, style)
    last = start
    for count, place in enumerate(places):
        last = place
        if count == offset:
            return place
    # Behind the last character: something is missing there.
    return min(last + 1, end)


def _flow(source: str, start: int, end: int, style: str | None) -> Iterator[int]:
    """Yield the place of each character of a plain or quoted value."""
    quoted = style in {"'", '"'}
    position, stop = start + quoted, end - quoted
    while position < stop:
        length = 1
        if fold := _FOLD.match(source, position, stop):
            length = len(fold[0])
            yield from [position] * max(1, fold[0].count("\n") - 1)
        elif style == '"' and (escape := _ESCAPE.match(source, position, stop)):
            length = len(escape[0])
            if "\n" not in escape[0]:
                yield position
        else:
            length += style == "'" and source.startswith("''", position)
            yield position
        position += length


def _block(source: str, start: int, end: int, style: str | None) -> Iterator[int]:
    """Yield the place of each character of a value below `|` or `>`."""
    first = source.find("\n", start, end) + 1
    lines = source[first:end].split("\n") if first else []
    indents = [len(line) - len(line.lstrip(" ")) for line in lines if line.strip()]
    indent = min(indents, default=0)
    position, breaks, before = first, 0, ""
    for line in lines:
        content = line.rstrip("\r")[indent:]
        if style == ">" and content:
            # Lines that stand further in keep the breaks around them; others lose one.
            kept = (before + " ")[0] in " \t" or content[0] in " \t"
            yield from [position - 1] * (breaks if kept or breaks == 0 else max(1, breaks - 1))
            breaks, before = 0, content
        yield from range(position + indent, position + indent + len(content))
        if style == "|":
            yield position + len(line)
        breaks += 1
        position += len(line) + 1

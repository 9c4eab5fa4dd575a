"""
Text from outside for a terminal or a log: what cannot be printed is written as an escape.

`str.isprintable` decides: the control characters C0, DEL and C1
(a terminal takes U+009B for the beginning of a command), line ends, marks that turn the
direction of writing, invisible characters, half characters.
`wrapped` breaks lines for a terminal, `counted` writes how many there are of something.
"""

from __future__ import annotations

import json
import shutil
import textwrap
import unicodedata
from typing import TextIO

#: Stands behind a character that a terminal shows two columns wide, so that `len` counts it twice; it is
#: not printable, and so never in a text that is wrapped.
_SECOND_COLUMN = "\ue000"


def escaped(text: str) -> str:
    r"""Write what cannot be printed as Python escapes (`\x9b`, `\u202e`); the result is one line."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def json_text(value: object, indent: int | None = None, *, ascii_only: bool = False) -> str:
    r"""
    Write *value* as JSON for a terminal or a pipe.

    What cannot be printed is written as `\u` escapes; with *ascii_only*, everything beyond ASCII.
    """
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    if text.isprintable():
        return text
    # Outside of strings JSON has nothing that cannot be printed but the line ends of *indent*.
    return "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)


def escaped_lines(text: str) -> str:
    """Write what cannot be printed as escapes, but keep the line ends: for texts of our own."""
    return "\n".join(escaped(line) for line in text.split("\n"))


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write *number* with the words for *one*, else those for *many*, by default with an s more."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Write a duration in its two largest units: `0.8 s`, `41 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def wrapped(text: str, stream: TextIO, hanging: int | None = None) -> str:
    """
    Break the lines of *text* at blanks where *stream* is a terminal that they do not fit.

    Args:
        text: What can be printed, with line ends.
        stream: Where it goes.
        hanging: Blanks before the second line of each; else as many as before the first.

    Returns:
        The lines; a word that is longer than a line stays whole.
    """
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    broken = []
    for line in map(_measured, text.split("\n")):
        before = len(line) - len(line.lstrip(" "))
        indent = before if hanging is None else hanging
        broken += textwrap.wrap(
            line.lstrip(" "),
            width,
            initial_indent=" " * before,
            subsequent_indent=" " * (indent if indent < width // 2 else 2),
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        ) or [""]
    return "\n".join(broken).replace(_SECOND_COLUMN, "")


def _measured(line: str) -> str:
    """Write *line* with as many characters as it takes columns."""
    if line.isascii():
        return line
    return "".join(one + _SECOND_COLUMN * (unicodedata.east_asian_width(one) in "WF") for one in line)

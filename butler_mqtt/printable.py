"""
Text from outside for a terminal or a log: what cannot be printed is written as an escape.

`str.isprintable` decides: the control characters C0, DEL and C1
(a terminal takes U+009B for the beginning of a command), line ends, marks that turn the
direction of writing, invisible characters, half characters.
"""

from __future__ import annotations

import json


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

"""Lines broken at words for a terminal; a file or a pipe gets them whole. Loads little."""

from __future__ import annotations

import shutil
import textwrap
from typing import TextIO


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
    for line in text.split("\n"):
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
    return "\n".join(broken)

"""Prints the tour: in colours on a terminal, as plain text elsewhere."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from butler_mqtt.printable import wrapped

#: Columns of a paragraph where the terminal has them.
_WIDTH = 96


class Narration:
    """Prints the chapters to standard output, step by step."""

    def __init__(self) -> None:
        # No markup: square brackets in messages are printed as they are.
        self._console = Console(highlight=False, markup=False, soft_wrap=True)
        self._width = min(_WIDTH, self._console.width) if self._console.is_terminal else _WIDTH
        self._chapters = 0

    def title(self, text: str) -> None:
        """Print a heading without a number."""
        self._console.print(f"\n{text}", style="bold")

    def say(self, text: str) -> None:
        """Print a paragraph."""
        self._console.print(textwrap.fill(text, self._width))

    def chapter(self, title: str, text: str) -> None:
        """Print the number, title and text of a chapter."""
        self._chapters += 1
        self._console.print(f"\n{self._chapters}. {title}", style="bold cyan")
        self.say(text)

    def published(self, topic: str, payload: str) -> None:
        """Show what a sender publishes."""
        self._console.print(f"   → published on {topic}", style="dim")
        self._block(payload, "yellow")

    def replied(self, answer: Mapping[str, object], seconds: float) -> None:
        """Show a reply and how long it took."""
        self._console.print(f"   ← the reply, {seconds:.2f} s later", style="dim")
        self._block(pretty(answer), "green")

    def action(self, text: str) -> None:
        """Print what the tour does to a server or to the daemon."""
        lines = textwrap.fill(f"! {text}", self._width, initial_indent="   ", subsequent_indent="     ")
        self._console.print(lines, style="magenta")

    def right(self, text: str) -> None:
        """Print what was just checked."""
        lines = textwrap.fill(text, self._width, initial_indent="   ✓ ", subsequent_indent="     ")
        self._console.print(lines, style="bold green")

    def wrong(self, text: str) -> None:
        """Print what is not as expected."""
        self._console.print(f"   ✗ {text}", style="bold red")

    def tally(self, rows: Mapping[str, int]) -> None:
        """Print the figures at the end."""
        table = Table(box=None, show_header=False, padding=(0, 2))
        table.add_column(justify="right")
        table.add_column()
        for what, count in rows.items():
            table.add_row(Text(str(count), style="bold"), Text(what))
        self._console.print(table)

    def _block(self, text: str, style: str) -> None:
        self._console.print(wrapped(textwrap.indent(text, " " * 6), sys.stdout), style=style)


def pretty(answer: Mapping[str, object]) -> str:
    """Return a reply as JSON with a line for each key and for each task."""
    lines = []
    for key, value in answer.items():
        if isinstance(value, list) and value:
            entries = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in value)
            text = f"[\n{entries}\n  ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        lines.append(f'  "{key}": {text}')
    return "{\n" + ",\n".join(lines) + "\n}"

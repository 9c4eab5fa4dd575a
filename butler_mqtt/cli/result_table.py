"""Tables of results that fit a terminal, with ids cut; whole where there is room, in a file or a pipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from butler_mqtt.printable import escaped

#: Longest text that is never cut by `cut_id`.
_SHORT = 20
#: A GUID, or the random digits behind a prefix of our own.
_RANDOM = re.compile(r"([0-9a-f]{8})(?:(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{4,})$", re.IGNORECASE)


def cut_id(text: str) -> str:
    """Return the beginning of an id that is long, of a GUID the first eight digits, with an ellipsis."""
    short = _RANDOM.sub(r"\1…", text)
    return short if len(short) <= _SHORT else f"{short[: _SHORT - 1]}…"


@dataclass(frozen=True, slots=True)
class Cell:
    """A text of one line; `short` is shown where the whole table does not fit."""

    text: str
    style: str = ""
    short: str | None = None


@dataclass(slots=True)
class ResultTable:
    """
    Rows below headings.

    Headings in `wide_only` are left out of the short form; those in `right`
    have their cells at the right.
    """

    headings: Sequence[str]
    wide_only: frozenset[str] = frozenset()
    right: frozenset[str] = frozenset()
    _rows: list[Sequence[Cell]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Add a row, one cell for each heading."""
        self._rows.append(cells)

    def for_console(self, console: Console, *, long: bool = False) -> RenderableType:
        """
        Return what a terminal shows without breaking a word.

        Where the whole table does not fit, its ids are cut; with *long* each row
        is a block of lines instead, with everything in it.
        """
        whole = self._table(short=False)
        if self._width(whole, console) <= console.width:
            return whole
        return Group(*self._blocks(console)) if long else self._table(short=True)

    def show(self, *, long: bool = False) -> None:
        """Print it to standard output."""
        console = Console(markup=False, highlight=False)
        if not console.is_terminal:
            console.width = max(self._width(self._table(short=False), console), 1)
        console.print(self.for_console(console, long=long))

    def _table(self, *, short: bool) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        shown = [
            number for number, name in enumerate(self.headings) if not short or name not in self.wide_only
        ]
        for number in shown:
            name = self.headings[number]
            table.add_column(name, overflow="ellipsis", justify="right" if name in self.right else "left")
        for row in self._rows:
            table.add_row(*(_text(row[number], short=short) for number in shown))
        return table

    def _blocks(self, console: Console) -> Iterable[Text]:
        margin = max(map(len, self.headings)) + 2
        for row in self._rows:
            for name, cell in zip(self.headings, row, strict=True):
                line = _text(cell, short=False)
                if not line.plain:
                    continue
                room = max(console.width - margin, 40)
                for number, part in enumerate(line.wrap(console, room, overflow="ellipsis")):
                    yield Text((name if not number else "").ljust(margin)).append_text(part)
            yield Text()

    @staticmethod
    def _width(table: Table, console: Console) -> int:
        options = console.options.update(width=100_000, max_width=100_000)
        return Measurement.get(console, options, table).maximum


def _text(cell: Cell, *, short: bool) -> Text:
    text = cell.short if short and cell.short is not None else cell.text
    return Text(escaped(text), cell.style)

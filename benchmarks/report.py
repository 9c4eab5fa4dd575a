"""What a benchmark found, as a table for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True)
class Line:
    """
    One measurement.

    `bare` is what the bare client reached in the same run, `ratio` ours to
    its, `target` what `docs/performance.md` asks for and `met` whether it is
    reached; None where there is none.
    """

    name: str
    value: float
    unit: str
    bare: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass
class Report:
    """All lines of a run; a part that failed is named with its reason."""

    lines: list[Line] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, lines: Iterable[Line]) -> None:
        """Take lines in, and print them so that a long run shows what it does."""
        for line in lines:
            self.lines.append(line)
            print(_row(_cells(line)), flush=True)

    def header(self) -> None:
        """Print the table's head."""
        print(_row(("", "value", "unit", "bare", "ratio", "target", "")), flush=True)

    def as_json(self) -> str:
        """Give everything as one JSON object."""
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()}
        document = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine,
            "results": [asdict(line) for line in self.lines],
            "failed": self.failed,
        }
        return json.dumps(document, indent=1)


def _cells(line: Line) -> tuple[str, ...]:
    met = {None: "", True: "met", False: "NOT MET"}[line.met]
    return (
        line.name,
        _number(line.value),
        line.unit,
        "" if line.bare is None else _number(line.bare),
        "" if line.ratio is None else f"{line.ratio:.2f}",
        line.target,
        met,
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _row(cells: Sequence[str]) -> str:
    name, value, unit, bare, ratio, target, met = cells
    return f"{name:<52} {value:>8} {unit:<10} {bare:>8} {ratio:>6}  {target:<14} {met}".rstrip()

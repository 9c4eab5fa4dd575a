"""The code blocks of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.project import ROOT

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: ```` ```sh run ```` has the language `sh` and the mark `run`."""

    file: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(file: Path) -> Iterator[Block]:
    """Give the blocks of one file, in order."""
    content = file.read_text("utf-8")
    for found in _FENCE.finditer(content):
        language, _, mark = found["info"].strip().partition(" ")
        line = content.count("\n", 0, found.start()) + 1
        yield Block(file, line, language, mark, found["text"])


def pages() -> list[Path]:
    """Give every page of the documentation."""
    return [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "systemd").glob("*.md")),
        *sorted((ROOT / "mosquitto").glob("*.md")),
        *sorted((ROOT / "examples").glob("*.md")),
    ]

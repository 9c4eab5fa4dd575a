"""docs/check.md, held to the code."""

from __future__ import annotations

import ast
import re

from butler_mqtt.checks.finding import State
from butler_mqtt.cli import check_report
from tests.project import ROOT

PAGE = (ROOT / "docs" / "check.md").read_text("utf-8")
#: Where lines are made.
SOURCES = [*(ROOT / "butler_mqtt" / "checks").glob("*.py"), ROOT / "butler_mqtt" / "cli" / "check_report.py"]
NAME = re.compile(r"(alerts|journal|rest|monitoring|broker|qlik|site)\.[a-zA-Z]+|configuration|filter|saved")


def names() -> set[str]:
    """Return the names of all lines that the program can print."""
    found = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
                found.add(node.value)
    return found - {"journal.url"}


def test_every_line_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| ([\w.]+) \|", PAGE.partition("## The lines\n")[2], re.MULTILINE)[1:]
    assert len(rows) == len(set(rows))
    assert set(rows) == names()


def test_every_state_is_documented_with_its_mark() -> None:
    rows = re.findall(r"^\| `([A-Za-z ]+)` \| `([a-z]+)` \|", PAGE, re.MULTILINE)
    assert {state: mark for mark, state in rows} == {
        state.value: mark.strip() for state, mark in check_report.MARKS.items()
    }
    assert len(rows) == len(State)

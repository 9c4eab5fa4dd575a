"""CONTRIBUTING.md: how large a module and a function may be, and that a name occurs once."""

from __future__ import annotations

import ast
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from tests.project import ROOT

PACKAGE = ROOT / "butler_mqtt"
MODULES = sorted(PACKAGE.rglob("*.py"))
#: Written once and never changed: a step of the journal's format is read from top to bottom.
STEPS = PACKAGE / "journal/migrations/versions"


def code_lines(file: Path) -> int:
    """Count the lines that are neither empty nor a comment alone."""
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    with file.open("rb") as source:
        found = [one for one in tokenize.tokenize(source.readline) if one.type not in nothing]
    # The first names the encoding, the last the end.
    return len({line for one in found[1:-1] for line in range(one.start[0], one.end[0] + 1)})


def functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(file.read_text("utf-8"))
    return [one for one in ast.walk(tree) if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_a_module_has_at_most_400_lines_of_code() -> None:
    sizes = {str(file.relative_to(ROOT)): code_lines(file) for file in MODULES}
    assert max(sizes.values()) > 250  # it counts
    assert {file: size for file, size in sizes.items() if size > 400} == {}


def test_a_function_has_at_most_60_lines() -> None:
    sizes = {
        f"{file.relative_to(ROOT)}: {one.name}": (one.end_lineno or 0) - one.lineno + 1
        for file in MODULES
        if STEPS not in file.parents
        for one in functions(file)
    }
    assert max(sizes.values()) > 50  # it counts
    assert {place: size for place, size in sizes.items() if size > 60} == {}


def test_a_basename_occurs_once() -> None:
    names = Counter(file.stem for file in MODULES if not file.stem.startswith("__"))
    assert [name for name, number in names.items() if number > 1] == []


def test_a_class_name_occurs_once() -> None:
    names = Counter(
        one.name
        for file in MODULES
        for one in ast.walk(ast.parse(file.read_text("utf-8")))
        # What begins with an underscore is seen in its module only.
        if isinstance(one, ast.ClassDef) and not one.name.startswith("_")
    )
    assert len(names) > 100
    assert [name for name, number in names.items() if number > 1] == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("", 0),
        ("# alone\n\n", 0),
        ("x = 1  # beside\n", 1),
        ('"""Of two\nlines."""\n\nx = (\n    1,\n)\n', 5),
    ],
    ids=["empty", "comment", "one", "several"],
)
def test_lines_of_code_are_counted(source: str, lines: int, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(source)
    assert code_lines(file) == lines

"""CONTRIBUTING.md: where a unit test stands, and which module has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.project import ROOT

PACKAGE = ROOT / "butler_mqtt"
UNIT = ROOT / "tests" / "unit"
DECISIONS = (ast.If, ast.IfExp, ast.For, ast.While, ast.Try, ast.Match, ast.BoolOp, ast.comprehension)
#: The line of CONTRIBUTING.md that names the packages which only compute.
NAMED = next(
    line
    for line in (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()
    if "has a unit test at its path" in line
)
COMPUTING = re.findall(r"`(\w+)/`", NAMED)


def decides(file: Path) -> bool:
    return any(isinstance(one, DECISIONS) for one in ast.walk(ast.parse(file.read_text("utf-8"))))


def test_a_unit_test_stands_where_its_module_says() -> None:
    tests = {
        file.relative_to(UNIT).with_name(file.name.removeprefix("test_")) for file in UNIT.rglob("test_*.py")
    }
    assert len(tests) > 100
    assert sorted(str(one) for one in tests if not (PACKAGE / one).is_file()) == []


@pytest.mark.parametrize("package", COMPUTING)
def test_a_module_that_only_computes_and_decides_has_a_unit_test(package: str) -> None:
    modules = [file.relative_to(PACKAGE) for file in (PACKAGE / package).rglob("*.py") if decides(file)]
    assert modules
    assert [str(one) for one in modules if not (UNIT / one.with_name(f"test_{one.name}")).is_file()] == []


def test_the_packages_that_only_compute_are_read_from_the_page() -> None:
    assert len(COMPUTING) == 5

"""CONTRIBUTING.md: where a unit test stands, and which module has one."""

from __future__ import annotations

from tests.project import ROOT

PACKAGE = ROOT / "butler_mqtt"
UNIT = ROOT / "tests" / "unit"


def test_a_unit_test_stands_where_its_module_says() -> None:
    tests = {
        file.relative_to(UNIT).with_name(file.name.removeprefix("test_")) for file in UNIT.rglob("test_*.py")
    }
    assert len(tests) > 100
    assert sorted(str(one) for one in tests if not (PACKAGE / one).is_file()) == []

"""docs/architecture.md, docs/README.md, CONTRIBUTING.md: the packages, homes and pages that there are."""

from __future__ import annotations

import re
import tomllib

from tests.project import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
LAYERS = next(one["layers"] for one in CONTRACTS if one["type"] == "layers")


def section(title: str) -> list[list[str]]:
    """Return the first two cells of each row of the table below *title*."""
    text = PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [row[:2] for row in rows[2:]]


def test_the_table_of_packages_is_the_import_contract() -> None:
    written = [re.findall(r"`(\w+)/?`", row[0]) for row in section("Packages")]
    held = [re.findall(r"butler_mqtt\.(\w+)", layer) for layer in LAYERS]
    assert written == [row for row in held if row != ["__main__"]]


def test_every_package_and_every_module_beside_them_has_a_row() -> None:
    package = ROOT / "butler_mqtt"
    there = {one.name for one in package.iterdir() if (one / "__init__.py").exists()}
    there |= {one.stem for one in package.glob("*.py") if not one.stem.startswith("__")}
    assert there == {name for row in section("Packages") for name in re.findall(r"`(\w+)/?`", row[0])}


def test_the_homes_of_libraries_are_those_of_the_contract() -> None:
    written = {
        library.strip(): set(re.findall(r"`(\w+)/`", row[1]))
        for row in section("Homes of foreign libraries")
        for library in row[0].split(",")
    }
    for contract in CONTRACTS:
        if contract["name"].startswith("Home of "):
            homes = {home.removeprefix("butler_mqtt.") for home in contract["allowed_importers"]}
            for library in contract["name"].removeprefix("Home of ").split(", "):
                assert written.get(library, written.get(f"{library} Core")) == homes, library


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {one.name for one in (ROOT / "docs").iterdir() if one.suffix in {".md", ".yaml"}}
    assert set(re.findall(r"\]\((\S+?)\)", index)) == pages - {"README.md"} | {"../examples/README.md"}


def test_the_glossary_has_at_most_fifteen_terms() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## Words\n", 1)[1].split("\n## ", 1)[0]
    assert 10 <= sum(line.startswith("| ") for line in text.splitlines()) - 1 <= 15

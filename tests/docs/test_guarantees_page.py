"""`docs/guarantees.md` names tests that are there, for every guarantee."""

from __future__ import annotations

import re

import pytest

from tests.project import ROOT

TEXT = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = re.findall(r"^- `(tests/\S+)::(\w+)`", TEXT, flags=re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    source = (ROOT / file).read_text()
    assert re.search(rf"^ *(def {name}\(|{name}\b.*=)", source, flags=re.MULTILINE)


def test_every_guarantee_names_at_least_one_test() -> None:
    parts = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    guarantees = {part.split()[0]: part for part in parts if part.startswith("G")}
    assert list(guarantees) == [f"G{number}" for number in range(1, 13)]
    assert all("- `tests/" in part for part in guarantees.values())

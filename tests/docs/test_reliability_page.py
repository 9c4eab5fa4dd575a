"""Summaries of runs of `benchmarks.chaos`, as docs/reliability.md shows them."""

from __future__ import annotations

import json
from collections import Counter

from benchmarks import chaos, summary
from benchmarks.account import Account
from tests.project import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")


def run(seed: int, **killed: int) -> dict[str, object]:
    """Give the summary of a run, as it comes back from its file."""
    account = Account({"requests": 30, "deliveries answered": 34})
    result = chaos.Result(chaos.Plan(sum(killed.values()), seed), 7.4, Counter(killed), account)
    told: dict[str, object] = json.loads(json.dumps(result.numbers()))
    return told


def test_runs_stand_side_by_side_with_a_column_each() -> None:
    lines = summary.table([run(1, x=3), run(2, x=4)]).splitlines()
    assert lines[0] == "|  | seed 1 | seed 2 |"
    assert lines[1] == "|---|---|---|"
    assert "| kills | 3 | 4 |" in lines
    assert "| deliveries answered | 34 | 34 |" in lines
    assert "| duration | 7 s | 7 s |" in lines
    assert lines[-1] == "| faults | none | none |"


def test_kills_are_counted_by_victim_and_moment() -> None:
    killed = {
        "run intended": 5,
        "at random": 4,
        "broker at random": 3,
        "broker, run intended": 2,
        "broker and daemon at random": 1,
    }
    lines = summary.table([run(1, **killed)]).splitlines()
    assert "| of these the broker alone, both at once | 5, 1 |" in lines
    assert "| right after a step or a log line | 7 |" in lines


def test_the_page_has_the_rows_of_the_table() -> None:
    for line in summary.table([run(1, x=3)]).splitlines()[2:]:
        assert f"| {line.split('|')[1].strip()} |" in PAGE, line

"""`docs/states.md` shows the states as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import pytest

from butler_mqtt.domain.states import (
    REQUEST_MOVES,
    RUN_MOVES,
    RUN_OPEN,
    STAGE_MOVES,
    START_MOVES,
    RequestState,
    RunState,
    StageState,
    StartState,
)
from tests.project import ROOT

DOCUMENT = ROOT / "docs" / "states.md"
PARTS = [
    pytest.param("Request", RequestState, REQUEST_MOVES, id="request"),
    pytest.param("Stage", StageState, STAGE_MOVES, id="stage"),
    pytest.param("Start", StartState, START_MOVES, id="start"),
    pytest.param("Run", RunState, RUN_MOVES, id="run"),
]

Moves = Mapping[StrEnum | None, frozenset[StrEnum]]


def part(heading: str) -> str:
    """Give the text below a heading, up to the next one."""
    parts = re.split(r"^## (.+)$", DOCUMENT.read_text(), flags=re.MULTILINE)
    return parts[parts.index(heading) + 1]


def arrows(text: str) -> list[tuple[str, str, str]]:
    """Give from, to and letter of each arrow that is a move."""
    return re.findall(r"^    (\S+) --> (\w+): (\w)$", text, flags=re.MULTILINE)


@pytest.mark.parametrize(("heading", "states", "moves"), PARTS)
def test_each_diagram_shows_exactly_the_moves_of_its_table(
    heading: str, states: type[StrEnum], moves: Moves
) -> None:
    del states
    shown = [(start, end) for start, end, _ in arrows(part(heading))]
    expected = [(start or "[*]", end) for start, ends in moves.items() for end in ends]
    assert sorted(shown) == sorted(expected)


@pytest.mark.parametrize(("heading", "states", "moves"), PARTS)
def test_each_arrow_has_its_letter_and_each_letter_its_cause(
    heading: str, states: type[StrEnum], moves: Moves
) -> None:
    del states, moves
    letters = [letter for _, _, letter in arrows(part(heading))]
    causes = re.findall(r"^- (\w): \S.+\.$", part(heading), flags=re.MULTILINE)
    assert letters == causes
    assert len(set(letters)) == len(letters)


@pytest.mark.parametrize(("heading", "states", "moves"), PARTS)
def test_a_state_that_nothing_follows_is_shown_as_an_end(
    heading: str, states: type[StrEnum], moves: Moves
) -> None:
    ends = set(re.findall(r"^    (\w+) --> \[\*\]$", part(heading), flags=re.MULTILINE))
    assert ends == {str(state) for state in states if state not in moves}


@pytest.mark.parametrize(("heading", "states", "moves"), PARTS)
def test_every_state_can_be_reached(heading: str, states: type[StrEnum], moves: Moves) -> None:
    del heading
    reached: set[StrEnum] = set(moves[None])
    while more := {end for state in reached for end in moves.get(state, ())} - reached:
        reached |= more
    assert reached == set(states)


def test_open_runs_are_those_between_intent_and_outcome() -> None:
    assert {RunState.INTENDED, RunState.POSTED} == RUN_OPEN

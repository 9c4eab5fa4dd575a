"""Which state may follow which."""

from __future__ import annotations

from enum import StrEnum

import pytest

from butler_mqtt.domain.states import RequestState, RunState, StartState, move


def test_a_move_that_is_allowed_gives_the_new_state() -> None:
    assert move(None, RequestState.RECEIVED, "erp-1") is RequestState.RECEIVED
    assert move(StartState.PLANNED, StartState.WAITING, 1) is StartState.WAITING
    assert move(RunState.INTENDED, RunState.EXECUTING, 1) is RunState.EXECUTING


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (None, RequestState.CLOSED, "request 7: a new row cannot become closed"),
        (RequestState.CLOSED, RequestState.REFUSED, "request 7: closed cannot become refused"),
        (StartState.SUCCEEDED, StartState.RUNNING, "start 7: succeeded cannot become running"),
        (RunState.UNKNOWN, RunState.INTENDED, "run 7: unknown cannot become intended"),
    ],
)
def test_any_other_move_is_an_error_that_names_whose_state_it_is(
    before: StrEnum | None, after: RequestState, text: str
) -> None:
    with pytest.raises(RuntimeError, match=f"^{text}$"):
        move(before, after, 7)  # type: ignore[type-var] # one kind of state in each case

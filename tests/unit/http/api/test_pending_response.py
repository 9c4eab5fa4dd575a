"""What a caller who waits no longer is told, by how far the pipeline had come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from butler_mqtt.http.api.pending_response import PendingResponse


def submitted(_call: PendingResponse) -> None:
    """The pipeline has not seen it."""


def writing(call: PendingResponse) -> None:
    assert not call.given_up()


def stored(call: PendingResponse) -> None:
    assert not call.given_up()
    call.on_stored("r1")


@pytest.mark.parametrize(
    ("come_to", "certain", "left_out"),
    [(submitted, True, True), (writing, False, True), (stored, False, False)],
    ids=["submitted", "being written", "stored"],
)
def test_only_what_the_pipeline_has_not_seen_is_certainly_not_recorded(
    come_to: Callable[[PendingResponse], None], certain: bool, left_out: bool
) -> None:
    async def give_up() -> tuple[bool, bool]:
        call = PendingResponse()
        come_to(call)
        return call.give_up(), call.given_up()

    assert asyncio.run(give_up()) == (certain, left_out)

"""The listeners leave files for the journal, the broker and the Qlik server."""

from __future__ import annotations

import pytest

from butler_mqtt.daemon.open_files import FEWEST, RESERVED, shares

WANTED = {"REST": 400, "monitoring": 50}


@pytest.mark.parametrize(
    ("files", "rest", "monitoring"),
    [
        (1024, 400, 50),
        (RESERVED + 450, 400, 50),
        (RESERVED + 449, 399, 49),
        (256, 142, 17),
        (RESERVED, FEWEST, FEWEST),
        (0, FEWEST, FEWEST),
    ],
)
def test_few_files_are_shared_behind_those_that_are_reserved(files: int, rest: int, monitoring: int) -> None:
    assert shares(WANTED, files) == {"REST": rest, "monitoring": monitoring}


def test_a_listener_alone_has_all_the_room() -> None:
    assert shares({"REST": 400}, RESERVED + 100) == {"REST": 100}


def test_without_listeners_nothing_is_shared() -> None:
    assert shares({}, 0) == {}

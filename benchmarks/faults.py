"""What the Qlik stand-in does wrong while the daemon is killed."""

from __future__ import annotations

from random import Random
from typing import Any

#: Kinds of faults: of starts, of reads, and their share of the calls at most.
START_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "cut", "when": "before"},
    {"kind": "cut", "when": "after"},
    {"kind": "hang", "when": "before", "seconds": 1.3},
    {"kind": "hang", "when": "after", "seconds": 1.3},
    {"kind": "status", "status": 500, "when": "before"},
    {"kind": "status", "status": 503, "when": "after"},
    {"kind": "status", "status": 429, "when": "before"},
    {"kind": "garbage", "when": "after"},
    {"kind": "html", "when": "after"},
    {"kind": "truncate"},
    {"kind": "empty", "when": "after"},
    {"kind": "slow", "when": "before", "seconds": 0.3},
    {"kind": "slow", "when": "after", "seconds": 0.3},
)
READ_FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "cut"},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "garbage"},
    {"kind": "html"},
    {"kind": "truncate"},
    {"kind": "slow", "seconds": 0.2},
    {"kind": "hang", "seconds": 1.3},
)
START_SHARE, READ_SHARE = 0.03, 0.02


def wrong_clocks(seconds: float, chance: Random) -> dict[str, Any]:
    """Give switches by which the clocks of nodes are off by up to *seconds*, and the `Date` header old."""
    return {
        "nodeClockSeconds": [chance.uniform(-seconds, seconds) for _ in range(chance.choice((1, 1, 3)))],
        "dateAgeSeconds": chance.choice((0, 0, chance.uniform(0, seconds))),
    }

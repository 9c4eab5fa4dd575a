"""What the tests of following share: a house stepped by hand, and the rig of the acceptance tests."""

from __future__ import annotations

from tests.acceptance.conftest import broker, each, make_daemon, place, places, qlik, qlik_server
from tests.houses import MakeHouse, house, make_house, short_pauses

#: Fixtures are found here as well.
__all__ = [
    "MakeHouse",
    "broker",
    "each",
    "house",
    "make_daemon",
    "make_house",
    "place",
    "places",
    "qlik",
    "qlik_server",
    "short_pauses",
]

"""The pipeline with everything around it under a test's control, stepped by hand."""

from __future__ import annotations

from tests.pipeline.fixtures import MakeHouse, house, journal, make_house, short_pauses

#: Fixtures are found here as well.
__all__ = ["MakeHouse", "house", "journal", "make_house", "short_pauses"]

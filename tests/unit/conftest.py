"""What tests of single modules share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.pipeline.fixtures import journal

#: Fixtures are found here as well.
__all__ = ["journal"]


@pytest.fixture(params=["Pacific/Kiritimati", "Etc/GMT+12"])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the clock on the wall be far from UTC."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()

"""A process that stood still does not count that time against the Qlik server."""

from __future__ import annotations

import logging
import time

import pytest

from butler_mqtt.pipeline.standstill import Standstill


@pytest.mark.parametrize(("ago", "noticed"), [(0.0, False), (5.0, False), (60.0, True)])
def test_deadlines_begin_again_after_a_standstill(
    ago: float, noticed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "butler_mqtt")
    resumed: list[str] = []
    standstill = Standstill(10.0, lambda: resumed.append("a"), lambda: resumed.append("b"))
    standstill.check(time.monotonic() - ago)
    assert resumed == (["a", "b"] if noticed else [])
    assert len(caplog.records) == int(noticed)


def test_the_first_check_is_none() -> None:
    resumed: list[None] = []
    Standstill(0.0, lambda: resumed.append(None)).check(0.0)
    assert resumed == []

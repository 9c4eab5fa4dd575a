"""Whether the daemon is healthy, and whether it is ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from butler_mqtt.daemon.readiness import QLIK_SECONDS, Sources, health, readiness
from butler_mqtt.settings import RuleSettings, Settings

WITH_RULE = Settings(rules=(RuleSettings("orders", topics=("erp/#",), when="true", start={"tag": "x"}),))


def always(value: object) -> Callable[[], Any]:
    return lambda: value


def sources(**shown: object) -> Sources:
    """Return sources of a daemon that works, but for what is *shown*."""
    well: dict[str, object] = {
        "stuck": (),
        "fault": None,
        "accepting": True,
        "progress": 0.0,
        "broker_connected": True,
        "subscription": "ready",
        "reachable": True,
        "reached_at": time.monotonic(),
    }
    return Sources(emit=lambda _event: None, **{name: always(one) for name, one in (well | shown).items()})


def faults(shown: dict[str, object], settings: Settings = WITH_RULE) -> tuple[dict[str, Any], dict[str, Any]]:
    made = sources(**shown)
    return (
        {one.name: one.fault for one in health(made) if one.fault and not one.advisory},
        {one.name: one.fault for one in readiness(made, settings) if one.fault and not one.advisory},
    )


@pytest.mark.parametrize(
    ("shown", "unhealthy", "unready"),
    [
        ({}, {}, {}),
        (
            {"stuck": ("resolver (9 s)",)},
            {"threads": "hung: resolver (9 s)"},
            {"threads": "hung: resolver (9 s)"},
        ),
        ({"fault": "disk /x is full"}, {"journal": "cannot be written"}, {"journal": "cannot be written"}),
        ({"accepting": False}, {}, {"intake": "no room for new requests"}),
        ({"subscription": "connecting"}, {}, {"subscription": "connecting"}),
        ({"subscription": "taken_over"}, {"subscription": "taken over"}, {"subscription": "taken over"}),
        ({"subscription": None}, {}, {}),
        ({"reached_at": None}, {}, {"qlik": "not reached yet"}),
        ({"alert_faults": {"teams": "404"}}, {}, {}),
        ({"rules": "not connected"}, {}, {}),
    ],
    ids=str,
)
def test_what_a_restart_mends_is_unhealthy_and_what_only_delays_is_unready(
    shown: dict[str, object], unhealthy: dict[str, str], unready: dict[str, str]
) -> None:
    assert faults(shown) == (unhealthy, unready)


@pytest.mark.parametrize(
    ("ago", "reachable", "ready"),
    [(QLIK_SECONDS - 5, True, True), (QLIK_SECONDS + 5, True, False), (1.0, False, False)],
)
def test_readiness_is_lost_when_qlik_did_not_answer_the_last_call_or_for_long(
    ago: float, reachable: bool, ready: bool
) -> None:
    shown: dict[str, object] = {"reached_at": time.monotonic() - ago, "reachable": reachable}
    assert ("qlik" not in faults(shown)[1]) is ready


def test_rules_are_shown_only_where_one_subscribes() -> None:
    assert "rules" in [one.name for one in readiness(sources(), WITH_RULE)]
    assert "rules" not in [one.name for one in readiness(sources(), Settings())]

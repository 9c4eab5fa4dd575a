"""Whether an address is of this machine alone."""

from __future__ import annotations

import pytest

from butler_mqtt.loopback import is_loopback


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.test", False),
        ("", False),
        ("127.1", False),
    ],
)
def test_only_loopback_is_reached_from_this_machine_alone(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone

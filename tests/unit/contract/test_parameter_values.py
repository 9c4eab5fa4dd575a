"""Values of parameters as the texts that Butler keeps."""

from __future__ import annotations

import pytest

from butler_mqtt.contract.parameter_values import as_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # As String() of Node.js 20 prints them.
        (0.0, "0"),
        (-0.0, "0"),
        (5.0, "5"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (0.00001, "0.00001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (1.25e-10, "1.25e-10"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (10**21, "1e+21"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ("1.0", "1.0"),
        # A double would lose digits that the sender wrote.
        (12345678901234567890, "12345678901234567890"),
    ],
)
def test_a_value_is_its_javascript_text(value: str | float | bool | None, text: str) -> None:
    assert as_text(value) == text

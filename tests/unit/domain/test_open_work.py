"""What is open, in memory."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.model import Request
from butler_mqtt.domain.open_work import OpenRequest
from butler_mqtt.domain.states import RequestState


@pytest.mark.parametrize(
    ("identity", "says", "shown"),
    [("erp", "crm", "erp"), (None, "crm", "crm"), ("erp", None, "erp"), (None, None, None)],
)
def test_a_request_is_of_whom_it_came_from_whatever_its_body_says(
    identity: str | None, says: str | None, shown: str | None
) -> None:
    request = Request("{}", "f", sender=says)
    opened = OpenRequest(1, "r", request, RequestState.RECEIVED, 0, 0.0, identity=identity)
    assert opened.sender == shown

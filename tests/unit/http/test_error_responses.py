"""The status and the headers of every refusal."""

from __future__ import annotations

import json

import pytest

from butler_mqtt.errors import RequestError
from butler_mqtt.http.error_responses import (
    RETRY_AFTER,
    HttpRefusal,
    refusal_response,
    reply_response,
    status_of,
)

PATH = "/v4/requests"


@pytest.mark.parametrize(
    ("reply", "status"),
    [({"status": "partial"}, 200), ({"code": "expired"}, 410), ({"code": "of a newer version"}, 400)],
    ids=["none", "known", "unknown"],
)
def test_a_reply_has_the_status_of_its_code(reply: dict[str, object], status: int) -> None:
    assert status_of(reply) == status


@pytest.mark.parametrize("code", RETRY_AFTER)
def test_what_may_be_tried_again_says_when(code: str) -> None:
    refused = refusal_response(RequestError(code, "Refused", "details"), PATH)
    replied = reply_response(json.dumps({"code": code}), {})
    assert refused.headers["retry-after"] == replied.headers["retry-after"] == str(RETRY_AFTER[code])


def test_a_refusal_may_say_when_by_itself() -> None:
    assert (
        reply_response('{"code": "rate_limited", "retryAfterSeconds": 42}', {}).headers["retry-after"] == "42"
    )
    refusal = HttpRefusal("rate_limited", "Too many", "details", headers={"Retry-After": "7"})
    assert refusal_response(refusal, PATH).headers["retry-after"] == "7"


def test_each_challenge_is_a_line_of_its_own() -> None:
    response = refusal_response(
        HttpRefusal("unauthorized", "No", "details", challenges=("Bearer", "Basic")), PATH
    )
    assert response.headers.getlist("www-authenticate") == ["Bearer", "Basic"]


def test_a_refusal_names_the_request_where_it_is_known() -> None:
    named = refusal_response(RequestError("expired", "Request expired", "details", "r-1"), PATH)
    assert json.loads(bytes(named.body)) == {
        "requestId": "r-1",
        "error": "Request expired",
        "details": "details",
        "code": "expired",
    }
    assert named.headers["cache-control"] == "no-store"

"""A body that is read out of memory gives what reading it gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.contract import validation
from butler_mqtt.errors import RequestError
from butler_mqtt.intake.body_cache import MAX_BODIES, MAX_BODY_BYTES, BodyCache

ONE = "a8b4c123-def4-5678-9abc-def012345678"
MAX_BYTES = 262144
IDS = st.from_regex(r"\A[A-Za-z0-9._:-]{1,128}\Z")
#: What resembles an id among the values.
WORDS = st.sampled_from(
    [
        '"requestId":"a"',
        'x"requestId":"b',
        "an-id",
        '"requestId":"an-id"',
        '\\"requestId":"c"',
        "ü",
        "requestId",
    ]
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "requestId": IDS | WORDS,
        "taskId": st.sampled_from([ONE, ONE.upper(), [ONE, ONE], "abc"]),
        "sender": WORDS,
        "tag": WORDS | st.lists(WORDS, max_size=3),
        "customProperty": st.fixed_dictionaries({"name": WORDS, "value": WORDS}, optional={"requestId": IDS}),
        "issuedAt": st.sampled_from(["2031-01-31T08:00:00+01:00", "noon"]),
        'x"requestId': IDS,
        "match": st.just({"tag": "all"}),
        "dryRun": st.booleans(),
    },
)


def parsed(payload: bytes, *, path: str | None = None, bodies: BodyCache | None = None) -> object:
    """Return the request, or all that a refusal holds."""
    try:
        if bodies is not None:
            return bodies.parse(payload, MAX_BYTES, path)
        return validation.parse(payload, max_bytes=MAX_BYTES, path_task_id=path, max_selectors=4)
    except RequestError as error:
        return error.code, error.error, error.details, error.request_id, error.reply_topic


@given(
    bodies=st.lists(BODIES, min_size=1, max_size=4),
    indent=st.sampled_from([None, 1]),
    path=st.sampled_from([None, ONE, "abc"]),
    request_id=IDS,
)
def test_any_body_read_again_is_read_the_same(
    bodies: list[dict[str, object]], indent: int | None, path: str | None, request_id: str
) -> None:
    remembered = BodyCache(4)
    for body in [*bodies, *({**body, "requestId": request_id} for body in bodies), *bodies]:
        payload = json.dumps(body, indent=indent).encode()
        assert parsed(payload, path=path, bodies=remembered) == parsed(payload, path=path)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"requestId":"a","requestId":"b","tag":"t"}',
        b'{"requestId":"a","\\u0072equestId":"b","tag":"t"}',
        b'{"\\u0072equestId":"a","tag":"t"}',
        b'{"requestId":"a","tag":"t"} "requestId":"b"',
        b'{"requestId":"a","tag":"t","customProperty":{"name":"n","value":"v","requestId":"b"}}',
        b'{"tag":"t\\"requestId","sender":":\\"b\\""}',
        b'{"tag":"t","requestId"\r\n:\t"a"}',
        b'{"tag":"t","requestId":"a"',
        b'{"tag":"\xff","requestId":"a"}',
        b'{"tag":"t","requestId":"a"}'.decode().encode("utf-16"),
        b'\xef\xbb\xbf{"tag":"t","requestId":"a"}',
        b'{"requestId":"' + b"a" * 129 + b'","tag":"t"}',
        b'{"requestId":"a","sender":"' + b"s" * MAX_BODY_BYTES + b'","tag":"t"}',
        b'["requestId":"a"]',
        b'"requestId":"a"',
        b'{"requestId":"a b","tag":"t"}',
        b'{"tag":["1","2","3","4","5"]}',
        b'{"requestId":"a","tag":["1","2","3","4","5"]}',
        b'{"requestId":"a","tag":1e999e9}',
    ],
)
def test_an_unusual_body_is_read_the_same(payload: bytes) -> None:
    remembered = BodyCache(4)
    for _ in range(2):
        assert parsed(payload, bodies=remembered) == parsed(payload)


def test_a_body_under_another_id_is_that_request_under_the_other_id() -> None:
    remembered = BodyCache(4)
    first, second = (
        remembered.parse(json.dumps({"requestId": name, "tag": "nightly"}).encode(), MAX_BYTES)
        for name in ("erp-1", "erp-2")
    )
    assert (first.request_id, second.request_id) == ("erp-1", "erp-2")
    assert second.fingerprint == first.fingerprint
    assert json.loads(second.document)["requestId"] == "erp-2"


def test_a_body_longer_than_the_limit_is_refused_although_it_is_remembered() -> None:
    remembered = BodyCache(4)
    payload = b'{"requestId":"a","tag":"t"}'
    remembered.parse(payload, MAX_BYTES)
    with pytest.raises(RequestError, match="27 bytes, 20 are allowed"):
        remembered.parse(payload, 20)


def test_a_body_that_comes_again_is_not_read_again() -> None:
    remembered = BodyCache(4)
    read = remembered.parse(b'{"tag":"t"}', MAX_BYTES)
    assert remembered.parse(b'{"tag":"t"}', MAX_BYTES) is read


def test_only_the_last_bodies_are_remembered() -> None:
    remembered = BodyCache(4)
    bodies = [b'{"tag":"%d"}' % number for number in range(MAX_BODIES + 1)]
    read = [remembered.parse(one, MAX_BYTES) for one in bodies]
    assert all(remembered.parse(bodies[number], MAX_BYTES) is read[number] for number in (1, -1))
    assert remembered.parse(bodies[0], MAX_BYTES) is not read[0]


def test_a_long_body_is_read_each_time() -> None:
    remembered = BodyCache(4)
    body = b'{"tag":"t"}'
    long = body + b" " * (MAX_BODY_BYTES - len(body))
    assert remembered.parse(long, MAX_BYTES) is remembered.parse(long, MAX_BYTES)
    assert remembered.parse(long + b" ", MAX_BYTES) is not remembered.parse(long + b" ", MAX_BYTES)


def test_a_refused_body_is_refused_each_time_and_takes_nobodys_place() -> None:
    remembered = BodyCache(4)
    read = remembered.parse(b'{"tag":"t"}', MAX_BYTES)
    for number in range(MAX_BODIES + 1):
        for _ in range(2):
            with pytest.raises(RequestError):
                remembered.parse(b'{"tagg":"%d"}' % number, MAX_BYTES)
    assert remembered.parse(b'{"tag":"t"}', MAX_BYTES) is read

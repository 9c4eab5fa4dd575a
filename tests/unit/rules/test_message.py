"""A message for rules, read once for all of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from butler_mqtt.rules.message import MAX_DEPTH, DecodedMessage, PayloadError, RuleMessage, decoded


def message(payload: bytes, topic: str = "a/b") -> DecodedMessage:
    return decoded(RuleMessage(payload, topic, {"k": "v"}, 1_900_000_000_123))


def test_json_text_and_none_are_what_a_rule_says_it_is() -> None:
    read = message(b'{"a": 1}')
    assert read.variables("json")["payload"] == {"a": 1}
    assert read.variables("json")["text"] == '{"a": 1}'
    assert read.variables("text")["payload"] == '{"a": 1}'
    assert (read.variables("none")["payload"], read.variables("none")["text"]) == (None, "")


def test_what_else_a_rule_sees_does_not_depend_on_it() -> None:
    seen = message(b"").variables("none")
    assert seen["levels"] == ["a", "b"]
    assert seen["properties"] == {"k": "v"}
    assert seen["received"] == datetime(2030, 3, 17, 17, 46, 40, 123_000, tzinfo=UTC)
    assert message(b"", topic="").variables("none")["levels"] == []


@pytest.mark.parametrize(
    ("payload", "kind", "reason"),
    [
        (b"", "json", "the payload is no JSON"),
        (b"\xff\xfe{\x00}\x00", "json", "the payload is no JSON"),
        (b"\xff", "text", "the payload is no UTF-8 text"),
        (b'{"a": 1, "a": 2}', "json", "the payload is no JSON"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "json", "the payload is no JSON"),
    ],
    ids=["empty", "UTF-16", "byte", "key twice", "deep"],
)
def test_a_payload_that_is_something_else_is_so_for_every_rule(
    payload: bytes, kind: str, reason: str
) -> None:
    read = message(payload)
    for _ in range(2):
        with pytest.raises(PayloadError, match=reason):
            read.variables(kind)
    assert read.variables("none")["payload"] is None


def test_bytes_that_are_no_text_are_nothing_to_a_rule_that_reads_none() -> None:
    assert message(b"\xff").variables("none")["text"] == ""


def test_what_was_read_is_read_once() -> None:
    read = message(b"[1]")
    assert read.variables("json") is read.variables("json")
    assert decoded(read) is read

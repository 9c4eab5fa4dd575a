"""What a rule says of a message, and the request it makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.contract.validation import parse
from butler_mqtt.errors import RequestError
from butler_mqtt.rules.message import DecodedMessage
from butler_mqtt.rules.rule import MAX_REQUEST_BYTES, RuleError, RuleOutcome
from butler_mqtt.settings import Coalesce
from tests.unit.rules.messages import message, rule


def rendered(start: dict[str, Any], payload: object, **settings: Any) -> Any:
    """Return the request that *start* makes of a message."""
    return json.loads(rule(start=start, **settings).render(message(json.dumps(payload))))


def refusal(start: dict[str, Any], payload: object) -> str:
    """Return why *start* makes no request of a message."""
    with pytest.raises(RequestError) as caught:
        rendered(start, payload)
    assert caught.value.code == "rule_failed"
    return caught.value.details


A_NUMBER = "write int(…) or double(…) around the text"


@pytest.mark.parametrize(
    ("when", "outcome", "reason"),
    [
        (None, RuleOutcome.MATCHED, ""),
        ("payload.total > 1000", RuleOutcome.MATCHED, ""),
        ("payload.total > 2000", RuleOutcome.UNMATCHED, "`when` is false"),
        ("payload.sum > 2000", RuleOutcome.ERROR, "when: payload.sum is not there"),
        (
            "payload.total > 'a'",
            RuleOutcome.ERROR,
            f"when: payload.total > 'a': a number > a text is not possible; {A_NUMBER}",
        ),
        ("payload.total", RuleOutcome.ERROR, "when: is a number, neither true nor false"),
    ],
)
def test_a_message_is_meant_when_the_condition_is_true(
    when: str | None, outcome: RuleOutcome, reason: str
) -> None:
    judged = rule(when=when).judge(message('{"total": 1500.5}'))
    assert (judged.outcome, judged.reason, judged.key) == (outcome, reason, None)


@pytest.mark.parametrize(
    ("payload", "content", "reason"),
    [
        ("json", b'{"a"', "the payload is no JSON: line 1, column 5: Expecting ':' delimiter"),
        ("json", b'{"a": NaN}', "the payload is no JSON: line 1, column 7: NaN is not JSON"),
        ("json", b"", "the payload is no JSON: line 1, column 1: Expecting value"),
        (
            "json",
            b"[" * 65 + b"]" * 65,
            "the payload is no JSON: line 1, column 65: nested deeper than 64 levels",
        ),
        ("json", b'"\\ud800"', "the payload is no JSON: line 1, column 2: \\ud800 is half a character"),
        ("text", b"\xff\xfe", "the payload is no UTF-8 text: line 1, column 1: "),
    ],
)
def test_a_payload_that_is_not_what_the_rule_says_fails(payload: str, content: bytes, reason: str) -> None:
    judged = rule(payload=payload).judge(message(content))
    assert judged.outcome is RuleOutcome.FAILED
    assert judged.reason.startswith(reason)
    with pytest.raises(RequestError) as caught:
        rule(payload=payload).render(message(content))
    assert (caught.value.code, caught.value.details[:13]) == ("rule_failed", "rule orders: ")


@pytest.mark.parametrize(
    ("payload", "content", "when"),
    [
        ("text", b"OPEN\0\0", "payload == 'OPEN' && text == 'OPEN'"),
        ("none", b"\xff\xff", "payload == null && text == '' && levels[3] == 'closed'"),
        ("json", b'\xef\xbb\xbf{"a": 1}\0', "payload.a == 1"),
        ("json", b"17", "payload == 17.0"),
        ("json", b"[" * 64 + b"]" * 64, "payload.size() == 1"),
    ],
)
def test_a_payload_is_read_as_the_rule_says(payload: str, content: bytes, when: str) -> None:
    assert rule(payload=payload, when=when).judge(message(content)).outcome is RuleOutcome.MATCHED


def test_a_message_tells_its_topic_properties_time_and_number() -> None:
    when = (
        "topic == 'erp/fin/orders/closed' && levels[1] == 'fin' && properties.source == 'plc'"
        " && received == timestamp('2026-11-30T15:08:30Z') && count == 7"
    )
    judged = rule(when=when).judge(message(properties={"source": "plc"}), count=7)
    assert judged.outcome is RuleOutcome.MATCHED


def test_at_a_webhook_there_is_no_topic() -> None:
    judged = rule(when="topic == '' && levels == []").judge(message(topic=""))
    assert judged.outcome is RuleOutcome.MATCHED


def test_a_payload_is_read_once_for_many_rules() -> None:
    shared = DecodedMessage(message('{"a": [1]}'))
    first = shared.variables("json")
    assert rule(when="payload.a[0] == 1").judge(shared).outcome is RuleOutcome.MATCHED
    assert shared.variables("json") is first


@pytest.mark.parametrize(
    ("key", "payload", "expected"),
    [
        ("payload.company", {"company": "fin"}, "fin"),
        ("payload.company", {"company": 7.0}, "7"),
        ("payload.company", {"company": True}, "true"),
        ("levels[1] + '/' + string(count)", {}, "fin/1"),
    ],
)
def test_the_key_of_a_window_is_text(key: str, payload: object, expected: str) -> None:
    judged = rule(coalesce=Coalesce(1, 2, key)).judge(message(json.dumps(payload)))
    assert (judged.outcome, judged.key) == (RuleOutcome.MATCHED, expected)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({}, "coalesce.key: payload.company is not there"),
        ({"company": None}, "coalesce.key: null has no text"),
        ({"company": ["a"]}, "coalesce.key: a list has no text"),
        ({"company": "x" * 1025}, "coalesce.key: has 1025 characters, 1024 are allowed"),
    ],
    ids=["absent", "null", "list", "long"],
)
def test_a_message_whose_window_cannot_be_told_fails(payload: object, reason: str) -> None:
    judged = rule(coalesce=Coalesce(1, 2, "payload.company")).judge(message(json.dumps(payload)))
    assert (judged.outcome, judged.reason) == (RuleOutcome.FAILED, reason)


BIG = 123456789012345678901234567890


def test_a_text_that_is_one_expression_takes_the_type_of_its_value() -> None:
    start = {
        "tag": "${{ payload.tags }}",
        "dryRun": "${{ payload.total > 10 }}",
        "parameters": {
            "orders": {"total": "${{payload.total}}", "big": "${{ payload.big }}", "no": "${{ null }}"}
        },
    }
    assert rendered(start, {"tags": ["a", "b"], "total": 1500.0, "big": BIG}) == {
        "tag": ["a", "b"],
        "dryRun": True,
        "parameters": {"orders": {"total": 1500, "big": BIG, "no": None}},
    }


def test_in_a_longer_text_the_value_is_inserted_as_text() -> None:
    start = {"tag": "${{ payload.a }}-${{ payload.b }}/${{ payload.c }}${{ payload.d }}"}
    assert rendered(start, {"a": 7.0, "b": True, "c": BIG, "d": 0.5}) == {"tag": f"7-true/{BIG}0.5"}


def test_an_expression_may_hold_braces_and_the_sign_itself() -> None:
    start = {"tag": ["${{ {'a': {'b': '}}'}}.a.b }}", '${{ "${{" }}']}
    assert rendered(start, {}) == {"tag": ["}}", "${{"]}


def test_templates_stand_anywhere_in_stages_and_custom_properties() -> None:
    start = {
        "stages": [
            {"name": "load ${{ levels[1] }}", "tag": ["${{ payload.tag }}"]},
            {"customProperty": {"name": "Group", "value": "${{ payload.tag }}"}},
        ]
    }
    assert rendered(start, {"tag": "x"}) == {
        "stages": [{"name": "load fin", "tag": ["x"]}, {"customProperty": {"name": "Group", "value": "x"}}]
    }


@pytest.mark.parametrize(
    "hostile",
    [
        '", "dryRun": false, "x": "',
        "'}]}",
        "${{ payload.other }}",
        "${HOME}",
        "a\nb: c",
        "- x",
        "*",
        "é\U0001f600",
        "\\",
        "%s{0}",
    ],
)
def test_a_value_stays_a_value_whatever_it_holds(hostile: str) -> None:
    start = {"parameters": {"a": {"b": "${{ payload.v }}", "c": "<${{ payload.v }}>"}}, "tag": "x"}
    made = rendered(start, {"v": hostile, "other": "secret"})
    assert made == {"parameters": {"a": {"b": hostile, "c": f"<{hostile}>"}}, "tag": "x"}


@pytest.mark.parametrize(
    ("start", "payload", "details"),
    [
        ({"tag": "${{ payload.v }}"}, {}, "rule orders: start.tag: ${{ payload.v }}: payload.v is not there"),
        (
            {"tag": "a${{ payload.v }}"},
            {"v": ["x"]},
            "rule orders: start.tag: ${{ payload.v }}: a list has no text",
        ),
        (
            {"tag": "a${{ payload.v }}"},
            {"v": None},
            "rule orders: start.tag: ${{ payload.v }}: null has no text",
        ),
        (
            {"tag": ["${{ payload.v }}"]},
            {"v": ["x"]},
            "start makes no valid request: tag[0] must be a string, is an array",
        ),
        (
            {"tag": "${{ payload.v }}"},
            {"v": {}},
            "start makes no valid request: tag must be a string or an array",
        ),
        (
            {"tag": "${{ payload.v }}"},
            {"v": "a\0b"},
            "start makes no valid request: tag must be text without control",
        ),
        ({"tag": "${{ payload.v }}"}, {"v": ""}, "start makes no valid request: tag is empty"),
        (
            {"tag": "${{ payload.v }}"},
            {"v": "x" * 300_000},
            "start makes no valid request: the request has at least",
        ),
        ({"tag": "${{ payload.v }}"}, {"v": "x" * 1_100_000}, "${{ payload.v }} makes the request too long"),
        (
            {"taskId": "${{ payload.v }}"},
            {"v": "abc"},
            "start makes no valid request: Task ID must be a valid GUID",
        ),
        (
            {"tag": "x", "requestId": "${{ payload.v }}"},
            {"v": 4711},
            "requestId must be a string, is the number 4711; string(…) in the expression makes a text of it",
        ),
        (
            {"tag": "x", "requestId": "a ${{ payload.v }}"},
            {"v": 1},
            "start makes no valid request: requestId must be 1 to",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_template_that_makes_no_valid_request_fails_with_the_place(
    start: dict[str, Any], payload: object, details: str
) -> None:
    assert details in refusal(start, payload)


def test_a_list_repeated_for_each_element_is_stopped_before_it_is_written_out() -> None:
    payload = {"items": [1] * 40_000, "big": "a" * 100_000}
    assert "makes the request too long" in refusal(
        {"tag": "${{ payload.items.map(i, payload.big) }}"}, payload
    )


def test_a_request_is_at_most_256_kib_long() -> None:
    start = {"parameters": {"a": {"b": "${{ payload.v }}", "c": "${{ payload.v }}"}}, "tag": "x"}
    assert f"{MAX_REQUEST_BYTES} are allowed" in refusal(start, {"v": "x" * 140_000})


def test_a_header_that_is_no_text_fails() -> None:
    made = rule(start={"tag": "${{ properties.x }}"})
    with pytest.raises(RequestError, match="rule_failed"):
        made.render(message(properties={"x": "\udcff"}))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"when": "payload.a ="}, "rule orders: when, character 11: "),
        ({"coalesce": Coalesce(1, 2, "foo")}, "rule orders: coalesce.key, character 1: there is no variable"),
        ({"start": {"tag": "${{ foo }}"}}, "rule orders: start.tag: there is no variable 'foo'"),
    ],
    ids=["when", "key", "start"],
)
def test_a_rule_that_cannot_be_used_names_its_place(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(RuleError) as caught:
        rule(**settings)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("when", "reasons"),
    [
        ("payload.total > 1000", ["payload.total > 1000 is false: payload.total is 500"]),
        (
            "payload.total > 1 && payload.status == 'closed'",
            ["payload.status == 'closed' is false: payload.status is \"open\""],
        ),
        (
            "payload.status == 'closed' || payload.total > 1000",
            [
                "payload.status == 'closed' is false: payload.status is \"open\"",
                "payload.total > 1000 is false: payload.total is 500",
            ],
        ),
        (
            "payload.totl > 1000",
            ["payload.totl > 1000 cannot be evaluated: payload.totl is not there; payload has 'total'"],
        ),
        (
            "payload.head.x.y == 1",
            ["payload.head.x.y == 1 cannot be evaluated: payload.head.x is not there; payload.head has date"],
        ),
        (
            "payload.status > 5",
            [f"payload.status > 5 cannot be evaluated: a text > a number is not possible; {A_NUMBER}"],
        ),
        ("levels[1] == 'hr'", ["levels[1] == 'hr' is false: levels[1] is \"fin\""]),
        (
            "payload.rows.exists(row, row > 3)",
            ["payload.rows.exists(row, row > 3) is false: payload.rows is [1, 2]"],
        ),
        ("!has(payload.total)", ["!has(payload.total) is false: has(payload.total) is true"]),
        ("payload.total", ["payload.total is 500, neither true nor false"]),
        ("payload.total == 500", []),
    ],
)
def test_an_explanation_names_the_part_that_is_false_and_what_the_message_holds(
    when: str, reasons: list[str]
) -> None:
    payload = {"total": 500, "status": "open", "rows": [1, 2], "head": {"date": "x"}}
    assert rule(when=when).explain(message(json.dumps(payload))) == reasons


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(value=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_no_text_changes_anything_but_its_own_place(value: str) -> None:
    start = {"parameters": {"a": {"b": "${{ payload.v }}", "c": "<${{ payload.v }}>"}}, "tag": "x"}
    assert rendered(start, {"v": value}) == {"parameters": {"a": {"b": value, "c": f"<{value}>"}}, "tag": "x"}


@given(payload=JSON)
def test_whatever_a_message_holds_a_rule_makes_a_valid_request_or_fails(payload: object) -> None:
    start = {
        "tag": "${{ payload }}",
        "requestId": "a-${{ payload.size() }}",
        "dryRun": "${{ payload == 1 }}",
        "sender": "${{ string(payload) }}",
    }
    for key in ("tag", "requestId", "dryRun", "sender"):
        one = rule(start={"taskName": "x", key: start[key]}, when="payload > 0 || payload.a == 'b'")
        judged = one.judge(message(json.dumps(payload)))
        assert judged.outcome in {RuleOutcome.MATCHED, RuleOutcome.UNMATCHED, RuleOutcome.ERROR}
        code = "rule_failed"
        try:
            parse(one.render(message(json.dumps(payload))), max_bytes=MAX_REQUEST_BYTES)
        except RequestError as error:
            code = error.code
        assert code == "rule_failed"


@given(content=st.binary(max_size=200))
def test_bytes_that_are_no_json_fail_and_nothing_else(content: bytes) -> None:
    one = rule(when="payload == 1")
    assert one.judge(message(content)).outcome in set(RuleOutcome)

"""Requests are read as the contract says, and refused with a stable code and the exact place."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from butler_mqtt.clock import from_ms, to_ms
from butler_mqtt.contract import schema_errors
from butler_mqtt.contract.validation import parse
from butler_mqtt.domain.model import Match, Request, Selector, SelectorKind
from butler_mqtt.errors import RequestError
from tests.project import ROOT
from tests.unit.dates import STAMPS

ONE = "a8b4c123-def4-5678-9abc-def012345678"
TWO = "b9c5d234-efe5-6789-abcd-ef0123456789"
MAX_BYTES = 262144
DOCUMENT = ROOT / "docs" / "requests.md"


def read(
    body: object,
    *,
    path: str | None = None,
    max_selectors: int = 200,
    parameters: bool = False,
) -> Request:
    """Parse bytes as they are, anything else as JSON."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(
        payload, max_bytes=MAX_BYTES, path_task_id=path, max_selectors=max_selectors, parameters=parameters
    )


def refusal(body: object, **options: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(body, **options)
    return caught.value


def ids(*values: str) -> tuple[Selector, ...]:
    return tuple(Selector(SelectorKind.TASK_ID, value) for value in values)


def tags(*values: str) -> tuple[Selector, ...]:
    return tuple(Selector(SelectorKind.TAG, value) for value in values)


# What is read.


def test_every_key_reaches_its_field() -> None:
    request = read(
        {
            "requestId": "erp-4711",
            "sender": "ERP nightly",
            "taskId": [ONE.upper()],
            "taskName": "Sales",
            "tag": ["urgent"],
            "customProperty": {"name": "department", "value": "finance"},
            "match": {"tag": "all", "customProperty": "all", "criteria": "all"},
            "allMustExist": True,
            "ifRunning": "skip",
            "dryRun": True,
            "wait": "started",
            "issuedAt": "2031-01-31T08:00:00+01:00",
            "expiresAt": "2031-01-31T08:00:00.5Z",
            "replyTopic": "qliksense/reply/erp",
        }
    )
    assert request.request_id == "erp-4711"
    assert request.sender == "ERP nightly"
    assert request.selectors == (
        *ids(ONE),
        Selector(SelectorKind.TASK_NAME, "Sales"),
        *tags("urgent"),
        Selector(SelectorKind.CUSTOM_PROPERTY, "finance", "department"),
    )
    assert request.match_tag is request.match_custom_property is request.match_criteria is Match.ALL
    assert request.all_must_exist is request.dry_run is True
    assert (request.if_running, request.wait) == ("skip", "started")
    assert request.issued_at == datetime(2031, 1, 31, 7, tzinfo=UTC)
    assert request.expires_at == datetime(2031, 1, 31, 8, 0, 0, 500_000, tzinfo=UTC)
    assert request.reply_topic == "qliksense/reply/erp"


def test_what_is_left_out_has_its_default() -> None:
    request = read({"tag": "daily"})
    assert (request.request_id, request.sender, request.if_running, request.reply_topic) == (None,) * 4
    assert (request.issued_at, request.expires_at, request.not_before) == (None,) * 3
    assert (request.all_must_exist, request.dry_run, request.wait) == (False, False, "started")
    assert request.match_tag is request.match_custom_property is request.match_criteria is Match.ANY


@pytest.mark.parametrize("template", ["{}", " {}\r\n", "\t{}", "\ufeff{}\n", "{}\n\0\0"])
@pytest.mark.parametrize("around", ["{}", '"{}"', "'{}'", "{{{}}}", '"{{{}}}"', "{{ {} }}"])
def test_a_bare_guid_is_a_task_id_with_white_space_quotes_or_braces_around_it(
    template: str, around: str
) -> None:
    assert read(template.format(around.format(ONE.upper())).encode()) == read({"taskId": [ONE]})


@pytest.mark.parametrize("payload", ['"{}', "{}}}", "{{{}", "'{}\"", "[{}]", '{{"{}"}}', '"{}x"', '""{}""'])
def test_a_guid_with_half_of_its_quotes_or_anything_else_is_none(payload: str) -> None:
    assert refusal(payload.format(ONE).encode()).code in {"invalid_json", "invalid_request"}


@pytest.mark.parametrize("nuls", [b"\0", b"\0\0\0"])
def test_nuls_at_the_end_change_nothing(nuls: bytes) -> None:
    assert read(b'{"tag":["one"]}' + nuls) == read({"tag": ["one"]})
    assert read(nuls, path=ONE) == read(b"", path=ONE)
    assert refusal(nuls).details == refusal(b"").details == "the request is empty"


def test_a_byte_order_mark_changes_nothing() -> None:
    assert read(b"\xef\xbb\xbf" + json.dumps({"tag": "a"}).encode()) == read({"tag": "a"})


def test_a_selector_asked_twice_counts_once_and_the_order_asked_is_kept() -> None:
    request = read({"taskId": [TWO, ONE, TWO.upper()], "tag": ["b", "A", "a", "B", "straße", "Straße"]})
    assert request.selectors == (*ids(TWO, ONE), *tags("b", "A", "straße"))


def test_the_same_value_under_another_property_is_another_selector() -> None:
    pairs = [{"name": name, "value": "x"} for name in ("a", "b", "A")]
    assert [selector.name for selector in read({"customProperty": pairs}).selectors] == ["a", "b"]


def test_characters_of_other_scripts_quotes_and_backslashes_are_kept() -> None:
    tag = 'O\'Brien & Söhne #1 \\ "x" 日本 😀'
    assert read({"tag": tag}).selectors == tags(tag)


@pytest.mark.parametrize("body", [b"", b" \n", b"{}"])
def test_a_path_id_needs_no_body(body: bytes) -> None:
    assert read(body, path=ONE.upper()).selectors == ids(ONE)


def test_path_id_and_body_ids_add_up_with_the_path_id_first() -> None:
    assert read({"taskId": [TWO, ONE], "tag": "a"}, path=ONE).selectors == (*ids(ONE, TWO), *tags("a"))


@pytest.mark.parametrize("key", list(SelectorKind))
def test_an_empty_array_counts_as_absent(key: str) -> None:
    other = "taskName" if key == "tag" else "tag"
    assert read({other: "a", key: []}) == read({other: "a"})
    assert refusal({key: []}).details.startswith("the request names no task")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2031-01-31T08:00:00Z", datetime(2031, 1, 31, 8, tzinfo=UTC)),
        ("2031-01-31t08:00:00z", datetime(2031, 1, 31, 8, tzinfo=UTC)),
        ("2031-01-31T08:00:00-05:30", datetime(2031, 1, 31, 13, 30, tzinfo=UTC)),
        ("2031-01-31T08:00:00.123456789Z", datetime(2031, 1, 31, 8, 0, 0, 123456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2017-01-01T00:59:60.7+01:00", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_times_become_utc(text: str, time: datetime) -> None:
    request = read({"tag": "a", "issuedAt": text})
    assert request.issued_at == time
    assert request.issued_at.tzinfo is UTC


# What is refused, and how.


@pytest.mark.parametrize(
    "text",
    [
        "2031-01-31T08:00:00",
        "2031-01-31",
        "2031-13-01T08:00:00Z",
        "2031-02-29T08:00:00Z",
        "2031-01-31T24:00:00Z",
        "2031-01-31T08:60:00Z",
        "2031-01-31T08:00:61Z",
        "2031-01-31T08:00:60Z",
        "2031-01-31T08:00:00+24:00",
        "2031-01-31T08:00:00+01:60",
        "2031-01-31T08:00:00+0100",
        "2031-01-31 08:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:60Z",
        "٢٠٣١-01-31T08:00:00Z",
        "2031-01-31T08:00:00Z\n",
        "tomorrow",
        "",
    ],
)
@pytest.mark.parametrize("key", ["issuedAt", "expiresAt"])
def test_a_time_that_is_none_is_refused_with_its_key(key: str, text: str) -> None:
    error = refusal({"tag": "a", key: text, "requestId": "r1"})
    assert (error.code, error.error, error.request_id) == ("invalid_request", "Invalid request", "r1")
    assert error.details.startswith(f"{key} is {text!r}: ")


@pytest.mark.parametrize(
    ("payload", "details"),
    [
        (b"", "the request is empty"),
        (b" ", "line 1, column 2: Expecting value"),
        (b"hello", "line 1, column 1: Expecting value"),
        (b'{"tag": "a"} x', "line 1, column 14: the text goes on after the end of the JSON value"),
        (b'{"tag": "a",\n "tag": "b"}', "line 2, column 2: the key 'tag' occurs twice"),
        (b'{"tag": NaN}', "line 1, column 9: NaN is not JSON"),
        (b'{"tag": -1e999}', "line 1, column 9: the number -1e999 is too large"),
        (b'{"tag": "\\ud800"}', "line 1, column 10: \\ud800 is half a character (lone surrogate)"),
        (b'{"tag": "\xa4"}', "line 1, column 10: byte 0xa4 is not UTF-8"),
        (b"[" * 17 + b"]" * 17, "line 1, column 17: nested deeper than 16 levels"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_its_place(payload: bytes, details: str) -> None:
    error = refusal(payload)
    assert (error.code, error.error, error.details) == ("invalid_json", "Invalid JSON", details)
    assert error.request_id is None


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ([], "the request must be an object, is an array"),
        ("hello", "the request must be an object, is a string"),
        ({}, "the request names no task: it needs at least one taskId, taskName, tag or customProperty"),
        ({"tags": ["a"]}, "unknown key 'tags', did you mean 'tag'?"),
        ({"taskid": ONE}, "unknown key 'taskid', did you mean 'taskId'?"),
        ({"zzzzzzzz": 1, "tag": "a"}, "unknown key 'zzzzzzzz'"),
        ({"tag": 5}, "tag must be a string or an array, is the number 5"),
        ({"tag": None}, "tag must be a string or an array, is null"),
        ({"tag": ["a", ["b"]]}, "tag[1] must be a string, is an array"),
        ({"tag": ""}, "tag is empty"),
        ({"tag": ["a", "b" * 257]}, "tag[1] has 257 characters, 256 are allowed"),
        ({"taskId": 5}, "taskId must be a string or an array, is the number 5"),
        ({"taskId": [ONE, True]}, "taskId[1] must be a string, is a boolean"),
        ({"customProperty": "a"}, "customProperty must be an object or an array, is a string"),
        ({"customProperty": {"name": "a"}}, "customProperty lacks 'value'"),
        (
            {"customProperty": [{"name": "a", "value": 5}]},
            "customProperty[0].value must be a string, is the number 5",
        ),
        (
            {"customProperty": [{"name": "a", "value": "b", "val": "c"}]},
            "customProperty[0]: unknown key 'val', did you mean 'value'?",
        ),
        ({"tag": "a", "match": "all"}, "match must be an object, is a string"),
        ({"tag": "a", "match": {"tag": "some"}}, "match.tag must be 'any' or 'all', is 'some'"),
        (
            {"tag": "a", "match": {"criterion": "all"}},
            "match: unknown key 'criterion', did you mean 'criteria'?",
        ),
        ({"tag": "a", "match": {"taskId": "all"}}, "match: unknown key 'taskId'"),
        ({"tag": "a", "dryRun": 1}, "dryRun must be a boolean, is the number 1"),
        ({"tag": "a", "allMustExist": "true"}, "allMustExist must be false or true or 'taskId', is 'true'"),
        ({"tag": "a", "ifRunning": "wait"}, "ifRunning must be 'queue' or 'skip', is 'wait'"),
        ({"tag": "a", "wait": ["finished"]}, "wait must be 'started' or 'finished', is an array"),
        ({"tag": "a", "issuedAt": 5}, "issuedAt must be a string, is the number 5"),
        ({"tag": "a", "sender": ""}, "sender is empty"),
        ({"tag": "a", "sender": "x" * 129}, "sender has 129 characters, 128 are allowed"),
        ({"tag": "a", "replyTopic": ""}, "replyTopic is empty"),
        ({"tag": "a", "requestId": "a b"}, "requestId must be 1 to 128 of A-Z a-z 0-9 . _ : -, is 'a b'"),
        (
            {"tag": 1, "sender": 2},
            "tag must be a string or an array, is the number 1; sender must be a string, is the number 2",
        ),
    ],
)
def test_what_the_schema_refuses_is_named_with_its_path(body: object, details: str) -> None:
    error = refusal(body)
    assert (error.code, error.error) == ("invalid_request", "Invalid request")
    first, *others = sorted(error.details.split("; "))
    assert [first, *others] == sorted(details.split("; "))


@pytest.mark.parametrize("request_id", ["", "a" * 129, "a\n", "ä", "a/b", 5, None])
def test_a_request_id_of_other_characters_or_length_is_refused_and_not_carried(request_id: object) -> None:
    error = refusal({"tag": "a", "requestId": request_id})
    assert (error.code, error.request_id) == ("invalid_request", None)
    assert error.details.startswith("requestId must be ")


def test_a_request_id_may_use_all_its_characters() -> None:
    request_id = ("AZaz09._:-" * 13)[:128]
    assert read({"tag": "a", "requestId": request_id}).request_id == request_id


@pytest.mark.parametrize("code_point", [*range(0x20)])
def test_control_characters_in_selectors_are_refused(code_point: int) -> None:
    text = f"a{chr(code_point)}"
    bodies: list[dict[str, object]] = [
        {"tag": text},
        {"tag": [text]},
        {"taskName": text},
        {"taskName": [text]},
        {"customProperty": {"name": text, "value": "v"}},
        {"customProperty": [{"name": "n", "value": text}]},
    ]
    for body in bodies:
        error = refusal(body)
        assert error.code == "invalid_request"
        assert "text without control characters" in error.details


@pytest.mark.parametrize(
    ("body", "path", "details"),
    [
        ({"taskId": [ONE, "abc"]}, None, "taskId[1] is 'abc'"),
        ({"taskId": "abc"}, None, "taskId is 'abc'"),
        ({"taskId": ""}, None, "taskId is ''"),
        ({"taskId": ONE + "\n"}, None, f"taskId is '{ONE}\\n'"),
        ({"taskId": "{" + ONE + "}"}, None, "taskId is '{" + ONE + "}'"),
        ({"taskId": ["abc", ONE, "def"]}, None, "taskId[0] is 'abc'; taskId[2] is 'def'"),
        ({}, "abc", "path id is 'abc'"),
        ({"taskId": ["x"]}, "abc", "path id is 'abc'; taskId[0] is 'x'"),
        ({"taskId": "x" * 200}, None, "taskId is '" + "x" * 79 + "…'"),
    ],
)
def test_a_task_id_that_is_no_guid_is_shown_with_its_place(
    body: object, path: str | None, details: str
) -> None:
    error = refusal(body, path=path)
    assert (error.code, error.error) == ("invalid_task_id", "Invalid task ID format")
    assert error.details == f"Task ID must be a valid GUID: {details}"


def test_at_most_five_problems_are_named() -> None:
    assert refusal({"taskId": ["x"] * 50}).details.count(" is 'x'") == 5
    assert refusal({f"zzzzzzzz{number}": 1 for number in range(50)}).details.count("unknown key") == 5


def test_the_problem_deepest_in_the_request_is_named_first() -> None:
    error = refusal({"sender": 1, "customProperty": [{"name": 1, "value": "x"}], "taskId": "abc"})
    assert error.code == "invalid_request"
    assert error.details == (
        "customProperty[0].name must be a string, is the number 1; "
        "sender must be a string, is the number 1; taskId is 'abc', not a GUID"
    )


@pytest.mark.parametrize(
    "body",
    [
        {"taskId": "abc"},
        {"tag": 5},
        {"tags": 5},
        {},
        {"tag": "a", "issuedAt": "x"},
        {"tag": "a", "cancel": "erp-0"},
        {"tag": ["a", "b", "c"]},
    ],
)
def test_a_refusal_carries_the_senders_request_id(body: dict[str, object]) -> None:
    assert refusal({**body, "requestId": "erp-1"}, max_selectors=2).request_id == "erp-1"


def test_a_payload_beyond_the_limit_is_refused_unread() -> None:
    body = b'{"tag": "a"}'
    assert parse(body, max_bytes=len(body)).selectors == tags("a")
    with pytest.raises(RequestError) as caught:
        parse(body, max_bytes=len(body) - 1)
    assert (caught.value.code, caught.value.error) == ("too_large", "Request too large")
    assert caught.value.details == "the request has at least 12 bytes, 11 are allowed"


def test_more_different_selectors_than_allowed_are_refused() -> None:
    assert len(read({"taskId": [ONE, ONE, TWO], "tag": "a"}, max_selectors=3).selectors) == 3
    error = refusal({"taskId": [ONE, TWO], "tag": ["a", "b"]}, max_selectors=3)
    assert (error.code, error.details) == ("too_many_tasks", "the request has 4 selectors, 3 are allowed")
    assert refusal({"taskId": TWO}, path=ONE, max_selectors=1).code == "too_many_tasks"


def test_a_flood_of_entries_is_refused_before_it_is_read() -> None:
    assert refusal({"tag": ["a"] * 2001}).code == "too_many_tasks"
    assert len(read({"tag": ["a"] * 2000}).selectors) == 1
    assert refusal({"stages": [{"tag": ["a"] * 2001}]}).code == "too_many_tasks"


# Features that are off.


def test_parameters_are_refused_while_the_store_is_off_and_read_while_it_is_on() -> None:
    body = {"tag": "a", "parameters": {"n": {"k": 1}}, "parametersTtlSeconds": 60}
    error = refusal({**body, "requestId": "r1"})
    assert (error.code, error.error, error.request_id) == ("not_supported", "Not supported", "r1")
    assert error.details.startswith("'parameters', 'parametersTtlSeconds' need keyValueStore.enable: true")
    assert json.loads(read(body, parameters=True).document).keys() == body.keys()


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"stages": [{"tag": "a"}], "tag": "b"}, "'stages' excludes tag beside it"),
        ({"stages": [{"tag": "a"}, {"onFailure": "stop"}]}, "stages[1] names no task"),
        ({"stages": []}, "stages is empty"),
        ({"stages": [{"tag": "a", "onFail": "stop"}]}, "stages[0]: unknown key 'onFail'"),
        ({"stages": [{"tag": 1}]}, "stages[0].tag must be a string or an array"),
        ({"cancel": "r1", "tag": "a"}, "'cancel' stands alone, not with tag"),
        ({"cancel": "r1", "dryRun": True}, "'cancel' stands alone, not with dryRun"),
        ({"cancel": "a b"}, "cancel must be 1 to 128 of"),
        ({"tag": "a", "stopRunning": True}, "'stopRunning' is only for 'cancel'"),
    ],
)
def test_keys_that_exclude_each_other_are_refused(body: object, details: str) -> None:
    error = refusal(body)
    assert error.code == "invalid_request"
    assert error.details.startswith(details)


def test_a_path_id_excludes_stages() -> None:
    assert refusal({"stages": [{"tag": "a"}]}, path=ONE).code == "invalid_request"


# The normalised document and the fingerprint.


def test_the_document_is_normalised() -> None:
    request = read(
        b'{"tag": "\xc3\xa4", "match": {"criteria": "any", "tag": "all"}, "dryRun": false, "taskName": [],'
        b'"taskId": "A8B4C123-DEF4-5678-9ABC-DEF012345678", "issuedAt": "2031-01-31T08:00:00+01:00"}'
    )
    assert request.document == (
        '{"issuedAt":"2031-01-31T07:00:00Z","match":{"tag":"all"},"tag":["ä"],"taskId":["' + ONE + '"]}'
    )


FULL: dict[str, Any] = {
    "taskId": [ONE, TWO],
    "tag": ["a"],
    "customProperty": [{"name": "n", "value": "v"}],
}


@pytest.mark.parametrize(
    "same",
    [
        dict(reversed(FULL.items())),
        {**FULL, "taskId": [ONE.upper(), TWO]},
        {**FULL, "tag": "a"},
        {**FULL, "customProperty": {"value": "v", "name": "n"}},
        {**FULL, "taskId": [ONE, TWO, ONE]},
        {**FULL, "taskName": []},
        {**FULL, "requestId": "other"},
        {**FULL, "issuedAt": "2031-01-31T08:00:00Z"},
        {**FULL, "expiresAt": "2031-01-31T08:00:00Z"},
        {**FULL, "replyTopic": "qliksense/other"},
        {**FULL, "wait": "started"},
        {**FULL, "wait": "finished"},
        {**FULL, "dryRun": False, "allMustExist": False, "match": {"tag": "any"}},
        {**FULL, "ifRunning": "queue"},
    ],
)
def test_requests_that_mean_the_same_have_one_fingerprint(same: dict[str, Any]) -> None:
    assert read(same, parameters=True).fingerprint == read(FULL).fingerprint


def test_a_path_id_is_merged_into_the_fingerprint() -> None:
    assert read({**FULL, "taskId": TWO}, path=ONE.upper()).fingerprint == read(FULL).fingerprint
    assert read(b"", path=ONE).fingerprint == read(ONE.encode()).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        {**FULL, "taskId": [ONE]},
        {**FULL, "taskId": [TWO, ONE]},
        {**FULL, "tag": ["A"]},
        {**FULL, "tag": ["a", "b"]},
        {**FULL, "customProperty": [{"name": "v", "value": "n"}]},
        {**FULL, "taskName": "a"},
        {**FULL, "sender": "ERP"},
        {**FULL, "match": {"tag": "all"}},
        {**FULL, "match": {"criteria": "all"}},
        {**FULL, "allMustExist": True},
        {**FULL, "dryRun": True},
        {**FULL, "ifRunning": "skip"},
        {**FULL, "notBefore": "2031-01-31T08:00:00Z"},
    ],
)
def test_requests_that_mean_something_else_have_another_fingerprint(other: dict[str, Any]) -> None:
    assert read(other, parameters=True).fingerprint != read(FULL).fingerprint


names = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1, max_size=20)
guids = st.uuids().map(str)
pairs = st.fixed_dictionaries({"name": names, "value": names})
times = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)).map(
    lambda time: time.isoformat() + "+05:30"
)
bodies = st.fixed_dictionaries(
    {"taskId": st.lists(guids, min_size=1, max_size=4)},
    optional={
        "requestId": st.from_regex(r"[A-Za-z0-9._:-]{1,128}", fullmatch=True),
        "sender": names,
        "taskName": st.lists(names, max_size=3),
        "tag": st.lists(names, max_size=3),
        "customProperty": st.lists(pairs, max_size=3),
        "match": st.dictionaries(
            st.sampled_from(["tag", "customProperty", "criteria"]), st.sampled_from(["any", "all"])
        ),
        "allMustExist": st.booleans(),
        "dryRun": st.booleans(),
        "ifRunning": st.sampled_from(["skip", "queue"]),
        "wait": st.sampled_from(["started", "finished"]),
        "issuedAt": times,
        "expiresAt": times,
        "notBefore": times,
        "replyTopic": names,
    },
)


@given(bodies)
def test_the_document_parses_to_the_same_request(body: dict[str, Any]) -> None:
    request = read(body, parameters=True)
    assert read(request.document.encode(), parameters=True) == request


@given(bodies, st.randoms(use_true_random=False))
def test_spelling_does_not_change_document_or_fingerprint(
    body: dict[str, Any], chance: random.Random
) -> None:
    keys = list(body)
    chance.shuffle(keys)
    respelled = {key: body[key] for key in keys}
    respelled["taskId"] = [chance.choice([str.upper, str.lower])(task_id) for task_id in body["taskId"]]
    for key in SelectorKind:
        if len(respelled.get(key, ())) == 1 and chance.random() < 0.5:
            respelled[key] = respelled[key][0]
    first, second = read(body, parameters=True), read(respelled, parameters=True)
    assert (first.document, first.fingerprint) == (second.document, second.fingerprint)


# Hostile bytes.

words = st.sampled_from(
    [*schema_errors.SCHEMA["properties"], "name", "value", ONE, "any", "\x00", "finished"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=15,
)


def answered(payload: bytes, **options: Any) -> bool:
    """Return that the parser gave a request or a refusal with a documented code."""
    try:
        request = parse(payload, max_bytes=MAX_BYTES, **options)
    except RequestError as error:
        return bool(error.code and error.error and error.details) and error.code in {
            "invalid_json",
            "invalid_request",
            "invalid_task_id",
            "not_supported",
        }
    return bool(request.document)


@given(st.binary(), st.none() | st.text())
def test_any_bytes_get_an_answer(payload: bytes, path: str | None) -> None:
    assert answered(payload, path_task_id=path)


@given(anything)
def test_any_json_gets_an_answer(value: object) -> None:
    payload = json.dumps(value).encode()
    assert answered(payload)
    assert answered(payload, parameters=True)


@given(bodies, words, anything)
def test_the_quick_check_lets_pass_what_the_schema_lets_pass_and_nothing_else(
    body: dict[str, Any], key: str, value: object
) -> None:
    body[key] = value
    well_formed = schema_errors.faults(body) == ([], [])
    assert well_formed == Draft202012Validator(schema_errors.SCHEMA).is_valid(body)


@pytest.mark.parametrize("value", [0, 1, 1.0, "true", [True]])
def test_only_true_is_true(value: object) -> None:
    for key in ("allMustExist", "dryRun"):
        with pytest.raises(RequestError, match=key):
            read({"taskId": [ONE], key: value})


@given(bodies, st.data())
def test_a_damaged_request_gets_an_answer(body: dict[str, Any], data: st.DataObject) -> None:
    payload = bytearray(json.dumps(body).encode())
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    assert answered(bytes(payload))


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"tag":' + b"1" * 200_000 + b"}",
        b'{"tag":' + b"1" * 4300 + b"}",
        b'{"tag":' + b"1" * 200_000 + b".5}",
        b'"' + b'\\"' * 100_000,
        b"[" * 16 + b'"' + b'\\"' * 100_000,
        b'{"' + b"x" * 200_000 + b'":1}',
        b"\\u" * 100_000,
        b'"' + b"\\ud800" * 40_000 + b'"',
        b"{" + b",".join(b'"%d":1' % number for number in range(20_000)) + b"}",
        b'{"tag":[' + b"1," * 1999 + b"1]}",
        b'{"taskId":"' + b"a" * 200_000 + b'"}',
        b" " * MAX_BYTES,
        b"\x00" * MAX_BYTES,
    ],
    ids=lambda payload: repr(payload[:12]),
)
def test_large_hostile_payloads_get_a_short_answer(payload: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse(payload, max_bytes=MAX_BYTES)
    assert caught.value.code in {"invalid_json", "invalid_request", "invalid_task_id"}
    assert len(caught.value.details) < 1000


# Schema and documentation.


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(schema_errors.SCHEMA)


def test_every_key_is_documented() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert [key for key in schema_errors.SCHEMA["properties"] if f"`{key}`" not in text] == []


def documented() -> list[tuple[str, dict[str, Any] | None]]:
    """Return each request of the documentation, with the refusal shown right after it."""
    blocks = re.findall(r"```(?:json|text)\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    found: list[tuple[str, dict[str, Any] | None]] = []
    for block in blocks:
        if '"code"' in block:
            found[-1] = (found[-1][0], json.loads(block))
        else:
            found.append((block, None))
    return found


@pytest.mark.parametrize(("example", "expected"), documented())
def test_the_examples_of_the_documentation_do_what_it_says(
    example: str, expected: dict[str, Any] | None
) -> None:
    path = ONE if example.strip() == "{}" else None
    if expected is None:
        request = read(example.encode(), path=path)
        assert request.selectors or request.cancel
    else:
        error = refusal(example.encode())
        shown = {"error": error.error, "details": error.details, "code": error.code}
        assert expected == ({"requestId": error.request_id} if error.request_id else {}) | shown


@given(STAMPS)
@example("9999-12-31T23:59:59-01:00")
@example("0001-01-01T00:00:00+01:00")
@example("9999-12-31T23:59:60Z")
@example("9999-12-31T23:59:59.9999999Z")
def test_any_time_in_a_request_is_taken_or_refused(stamp: str) -> None:
    body = json.dumps({"tag": "x", "expiresAt": stamp, "issuedAt": stamp}).encode()
    try:
        request = parse(body, max_bytes=100_000, max_selectors=10)
    except RequestError as refused:
        refusal = refused
    else:
        assert request.expires_at is not None
        assert request.expires_at.tzinfo is UTC
        kept = from_ms(to_ms(request.expires_at))
        assert kept is not None
        assert abs(kept - request.expires_at) <= timedelta(milliseconds=1)
        return
    assert refusal.code == "invalid_request"
    assert "expiresAt is" in refusal.details

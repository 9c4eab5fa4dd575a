"""The stages of a request: what is read, what is refused with its place, and which are equal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from butler_mqtt.contract import validation
from butler_mqtt.domain.model import Match, OnFailure, Request, Selector, SelectorKind
from butler_mqtt.errors import RequestError

ID = "a8b4c123-def4-5678-9abc-def012345678"


def read(*stages: dict[str, Any], **more: Any) -> Request:
    return validation.parse(json.dumps({"stages": stages, **more}).encode(), max_bytes=10**6)


def refusal(*stages: Any, **more: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(*stages, **more)
    return caught.value


def test_a_stage_has_selectors_and_says_what_follows_its_failure() -> None:
    first, second = read(
        {"name": "extract", "tag": ["a", "b"], "match": {"tag": "all"}},
        {"taskId": ID.upper(), "onFailure": "continue"},
    ).stages
    assert (first.name, first.match_tag, first.on_failure) == ("extract", Match.ALL, OnFailure.STOP)
    assert [selector.value for selector in first.selectors] == ["a", "b"]
    assert (second.name, second.on_failure) == (None, OnFailure.CONTINUE)
    assert second.selectors == (Selector(SelectorKind.TASK_ID, ID),)


def test_the_selectors_of_a_request_are_those_of_all_stages_each_once() -> None:
    request = read({"tag": ["a", "b"]}, {"tag": ["b", "c"]})
    assert [selector.value for selector in request.selectors] == ["a", "b", "c"]


def test_a_stored_request_is_read_again_as_it_was() -> None:
    request = read({"name": "x", "tag": "a", "match": {"criteria": "all"}}, {"taskName": "b"}, dryRun=True)
    assert validation.reread(request.document) == request


def test_equal_stages_make_equal_requests() -> None:
    first = read({"tag": "a", "onFailure": "stop", "match": {"tag": "any"}}, {"taskId": ID})
    again = read({"match": {}, "tag": ["a"]}, {"taskId": [ID.upper()]}, wait="finished")
    assert first.fingerprint == again.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        ({"taskId": ID}, {"tag": "a"}),
        ({"tag": "a"},),
        ({"tag": "a", "onFailure": "continue"}, {"taskId": ID}),
        ({"tag": "a", "name": "x"}, {"taskId": ID}),
        ({"tag": "a", "match": {"tag": "all"}}, {"taskId": ID}),
    ],
    ids=["order", "fewer", "onFailure", "name", "match"],
)
def test_other_stages_make_another_request(other: tuple[dict[str, Any], ...]) -> None:
    assert read(*other).fingerprint != read({"tag": "a"}, {"taskId": ID}).fingerprint


@pytest.mark.parametrize(
    ("stages", "details"),
    [
        (
            [{"tag": "a"}, {"tag": "b", "onFailure": "retry"}],
            "stages[1].onFailure must be 'stop' or 'continue'",
        ),
        ([{"tag": "a", "nam": "x"}], "stages[0]: unknown key 'nam', did you mean 'name'?"),
        ([{"tag": "a", "name": ""}], "stages[0].name is empty"),
        ([{"tag": "a", "name": "x" * 129}], "stages[0].name has 129 characters, 128 are allowed"),
        ([{"tag": "a", "name": "\t"}], "stages[0].name must be text without control characters"),
        ([{"tag": "a", "match": {"tag": "some"}}], "stages[0].match.tag must be 'any' or 'all'"),
        ([{"tag": "a", "wait": "finished"}], "stages[0]: unknown key 'wait'"),
        ([{"tag": "a"}, {"name": "empty"}], "stages[1] names no task"),
        ([{"tag": "a"}] * 21, "stages has 21 entries, 20 are allowed"),
        (["extract"], "stages[0] must be an object"),
        ([], "stages is empty"),
    ],
)
def test_a_fault_is_named_with_its_place(stages: list[Any], details: str) -> None:
    error = refusal(*stages)
    assert (error.code, error.details[: len(details)]) == ("invalid_request", details)


def test_an_id_that_is_none_is_named_with_its_place() -> None:
    error = refusal({"tag": "a"}, {"taskId": [ID, "abc"]})
    assert error.code == "invalid_task_id"
    assert "stages[1].taskId[1] is 'abc'" in error.details


def test_twenty_stages_are_read() -> None:
    assert len(read(*[{"tag": f"t{number}"} for number in range(20)]).stages) == 20


def test_no_stages_are_refused_beside_selectors_too() -> None:
    error = refusal(tag="a")
    assert (error.code, error.details) == ("invalid_request", "stages is empty")


@pytest.mark.parametrize("beside", [{"tag": "b"}, {"match": {"tag": "all"}}], ids=["tag", "match"])
def test_selectors_and_how_they_match_stand_in_the_stages_alone(beside: dict[str, Any]) -> None:
    error = refusal({"tag": "a"}, **beside)
    assert error.details == f"'stages' excludes {next(iter(beside))} beside it"


def test_selectors_of_all_stages_count_together() -> None:
    body = json.dumps({"stages": [{"tag": ["a", "b"]}, {"tag": ["c", "d"]}]}).encode()
    with pytest.raises(RequestError) as caught:
        validation.parse(body, max_bytes=10**6, max_selectors=3)
    assert caught.value.code == "too_many_tasks"

"""What the schema refuses, in words."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from butler_mqtt.contract import validation
from butler_mqtt.contract.schema_errors import MAX_FAULTS, SCHEMA, faults, faults_beside, shown
from butler_mqtt.errors import RequestError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a" * 80, repr("a" * 80)),
        ("a" * 81, repr("a" * 79 + "…")),
        ("\x9b\u202e", r"'\x9b\u202e'"),
        (None, "null"),
        (True, "a boolean"),
        ([], "an array"),
        ({}, "an object"),
        (1.5, "the number 1.5"),
        (10**60, "the number 1" + "0" * 39),
    ],
    ids=["fits", "cut", "control", "null", "boolean", "array", "object", "decimal", "huge"],
)
def test_a_value_is_shown_in_one_short_line(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_key_that_is_nearly_one_gets_a_hint_whatever_its_case() -> None:
    assert faults({"TASKID": "x"})[1] == ["unknown key 'TASKID', did you mean 'taskId'?"]
    assert faults({"tag": "x", "zzzzzz": 1})[1] == ["unknown key 'zzzzzz'"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ([], "the request must be an object, is an array"),
        ({"tag": ""}, "tag"),
        ({"tag": "x", "dryRun": 1}, "dryRun must be a boolean, is the number 1"),
        ({"tag": "x", "ifRunning": "wait"}, "ifRunning must be 'queue' or 'skip', is 'wait'"),
        ({"customProperty": {"name": "a"}}, "customProperty"),
        ({"customProperty": [{"name": "a", "value": "b", "x": 1}]}, "customProperty[0]: unknown key 'x'"),
    ],
    ids=["array", "empty", "number", "enum", "required", "inside"],
)
def test_a_fault_is_named_with_its_place(body: object, problem: str) -> None:
    bad_ids, problems = faults(body)
    assert bad_ids == []
    assert problems[0].startswith(problem)


def test_ids_that_are_no_guids_are_apart_from_other_problems() -> None:
    assert faults({"taskId": ["abc"], "tag": 1}) == (
        ["taskId[0] is 'abc'"],
        ["tag must be a string or an array, is the number 1"],
    )


def test_a_hostile_body_has_a_bounded_number_of_faults() -> None:
    assert len(faults({f"k{number}": 1 for number in range(1000)})[1]) <= MAX_FAULTS


def test_a_place_that_an_expression_fills_is_judged_by_what_it_may_become() -> None:
    body = {"tag": "${{ payload.x }}", "dryRun": "${{ payload.y }}"}
    assert faults_beside(body, {("tag",): True, ("dryRun",): True}) == []
    assert faults_beside(body, {("tag",): True, ("dryRun",): False}) != []
    assert faults_beside({"tga": "x"}, {})[0] == (("tga",), "unknown key, did you mean 'tag'?")


TASK_ID = "7552d9fc-d1bb-4975-9a38-18357de531ea"
SELECTORS = {
    "taskId": [TASK_ID],
    "taskName": ["a"],
    "tag": ["a"],
    "customProperty": [{"name": "a", "value": "b"}],
    "match": {"tag": "all", "customProperty": "all", "criteria": "all"},
}
#: Between them they have every key.
EVERYTHING: tuple[dict[str, object], ...] = (
    {
        **SELECTORS,
        "requestId": "r",
        "sender": "s",
        "replyTopic": "a/b",
        "allMustExist": False,
        "ifRunning": "queue",
        "dryRun": False,
        "wait": "started",
        "parameters": {"a": {"b": "c"}},
        "parametersTtlSeconds": 5,
        **dict.fromkeys(("issuedAt", "expiresAt", "notBefore"), "2030-01-01T00:00:00Z"),
    },
    {"stages": [{**SELECTORS, "name": "a", "onFailure": "stop"}]},
    {"cancel": "r", "stopRunning": True},
)


def places(value: object) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of each key and of each entry of a list."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield (step,)
        yield from ((step, *rest) for rest in places(inner))


def test_a_sender_and_the_daemon_take_null_at_the_same_keys() -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert {place[0] for body in EVERYTHING for place in places(body)} == set(SCHEMA["properties"])
    differ = []
    for whole, place in ((body, place) for body in EVERYTHING for place in places(body)):
        changed: Any = copy.deepcopy(whole)
        holder = functools.reduce(lambda found, step: found[step], place[:-1], changed)
        holder[place[-1]] = None
        try:
            validation.parse(json.dumps(changed).encode(), max_bytes=10_000, parameters=True)
            taken = True
        except RequestError:
            taken = False
        if taken != validator.is_valid(changed):
            differ.append(place)
    assert differ == []

"""What of a rule's `start` is wrong whatever a message holds."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.constant_parts import problems
from butler_mqtt.expressions.template import Template


def wrong(start: dict[str, object]) -> list[str]:
    return [one.message for one in problems(start, Template(start).filled)]


@pytest.mark.parametrize(
    "start",
    [
        {"tag": "daily"},
        {"tag": ["${{ payload.tag }}"]},
        {"taskId": "${{ payload.id }}"},
        {"taskName": "x ${{ payload.name }}", "dryRun": "${{ payload.dry }}"},
        {"customProperty": "${{ payload.pairs }}"},
        {"customProperty": [{"name": "a", "value": "${{ payload.b }}"}]},
        {"tag": "a", "parameters": {"sales": {"from": "${{ payload.from }}"}}},
        {"stages": [{"tag": "${{ payload.a }}"}, {"taskName": "b", "onFailure": "${{ payload.c }}"}]},
        {"tag": "a", "expiresAt": "${{ payload.until }}"},
    ],
    ids=str,
)
def test_what_a_message_may_make_right_is_no_problem(start: dict[str, object]) -> None:
    assert wrong(start) == []


@pytest.mark.parametrize(
    ("start", "word"),
    [
        ({}, "is empty"),
        ({"dryRun": True}, "no task"),
        ({"tga": "${{ payload.tag }}"}, "did you mean 'tag'"),
        ({"tag": "a", "replyTopic": "b"}, "has no place in a rule"),
        ({"tag": "a", "ifRunning": "wait"}, "'queue' or 'skip'"),
        ({"taskId": "abc"}, "must be a GUID"),
        ({"tag": "a", "dryRun": "x ${{ payload.dry }}"}, "must be a boolean"),
    ],
    ids=str,
)
def test_what_no_message_can_make_right_is_named(start: dict[str, object], word: str) -> None:
    found = wrong(start)
    assert found
    assert word in found[0] or word == "no task"

"""A stage as it stands on the command line."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from butler_mqtt.cli.selection import request_document
from butler_mqtt.cli.stage_option import stage_of


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("tag=extract", {"tag": ["extract"]}),
        (
            "name=one,tag=a,tag=b,match=tag=all,onFailure=continue",
            {"name": "one", "tag": ["a", "b"], "match": {"tag": "all"}, "onFailure": "continue"},
        ),
        ("taskName=Sales, daily, all,taskId=1", {"taskName": ["Sales, daily, all"], "taskId": ["1"]}),
        ("customProperty=Tier=a=b", {"customProperty": [{"name": "Tier", "value": "a=b"}]}),
    ],
)
def test_a_stage_is_read(text: str, stage: dict[str, Any]) -> None:
    assert stage_of(text) == stage


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("extract", "is not KEY=VALUE"),
        ("tags=extract", "with one of the keys tag, taskId"),
        ("tag=a,name=b,name=c", "has name twice"),
        ("customProperty=Tier", "has no = after customProperty="),
    ],
)
def test_what_is_no_stage_is_refused(text: str, problem: str) -> None:
    with pytest.raises(typer.BadParameter, match=problem):
        stage_of(text)


def test_stages_make_the_request() -> None:
    document = request_document(None, None, None, None, None, True, ["tag=a", "tag=b"])
    assert document == {"stages": [{"tag": ["a"]}, {"tag": ["b"]}], "allMustExist": True}


def test_other_selectors_do_not_stand_beside_stages() -> None:
    with pytest.raises(typer.BadParameter, match="in each --stage"):
        request_document(["a"], None, None, None, None, False, ["tag=b"])

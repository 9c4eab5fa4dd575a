"""The stages of a request, between its JSON and `model.StagePlan`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from butler_mqtt.contract.selectors import grouped, match_of, matches, selectors_of
from butler_mqtt.domain.model import Match, OnFailure, Selector, StagePlan


def read(stages: Iterable[Mapping[str, Any]]) -> tuple[StagePlan, ...]:
    """Return the stages of a well-formed request, in their order."""
    return tuple([_read_one(stage) for stage in stages])


def written(stage: StagePlan) -> dict[str, object]:
    """Write a stage so that equal ones are equal: defaults left out, selectors as arrays."""
    normal = grouped(stage.selectors)
    match = {
        key: how.value
        for key, how in (
            ("tag", stage.match_tag),
            ("customProperty", stage.match_custom_property),
            ("criteria", stage.match_criteria),
        )
        if how is not Match.ANY
    }
    if match:
        normal["match"] = match
    if stage.name is not None:
        normal["name"] = stage.name
    if stage.on_failure is not OnFailure.STOP:
        normal["onFailure"] = stage.on_failure.value
    return normal


def selectors(stages: Sequence[StagePlan]) -> tuple[Selector, ...]:
    """Return the selectors of all stages in their order, each once."""
    return tuple(dict.fromkeys(selector for stage in stages for selector in stage.selectors))


def _read_one(stage: Mapping[str, Any]) -> StagePlan:
    match = match_of(stage)
    return StagePlan(
        selectors_of(stage),
        stage.get("name"),
        matches(match, "tag"),
        matches(match, "customProperty"),
        matches(match, "criteria"),
        OnFailure(stage.get("onFailure", "stop")),
    )

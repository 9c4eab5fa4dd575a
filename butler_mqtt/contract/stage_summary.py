"""What a reply says about each stage, and the events about stages, as JSON objects. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from butler_mqtt.contract.timestamps import stamp
from butler_mqtt.domain.open_stages import OpenStage

#: The events about a stage.
STARTED, ENDED = "stageStarted", "stageEnded"


def summary(stages: Iterable[OpenStage]) -> list[dict[str, object]]:
    """Return the entries of `stages` in a reply."""
    return [entry(stage.number, stage.plan.name, stage.state, stage.tasks) for stage in stages]


def entry(number: int, name: str | None, status: str, tasks: int) -> dict[str, object]:
    """Return what a reply says about one stage; *tasks* run in it."""
    named = {"name": name} if name is not None else {}
    return {"stage": number, **named, "status": str(status), "tasks": tasks}


def event(kind: str, stage: OpenStage) -> dict[str, object]:
    """Compose an event about a stage; `eventId` is the same whenever the same fact is published."""
    request_id = stage.of.request_id
    return {
        "event": kind,
        "eventId": f"{request_id}/stage/{stage.number}/{kind}",
        "requestId": request_id,
        **({} if stage.of.rule is None else {"rule": stage.of.rule}),
        "stage": stage.number,
        "name": stage.plan.name,
        "status": stage.state.value,
        "time": stamp(datetime.now(UTC)),
    }

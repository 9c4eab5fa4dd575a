"""Starts and runs for tests, with what a test is about."""

from __future__ import annotations

from typing import Any

from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_work import OpenStart, Run
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import RunState, StartState

TASK = Task("task", "Sales")


def start(**more: Any) -> OpenStart:
    return OpenStart(1, None, 1, "request", more.pop("task", TASK), StartState.PLANNED, **more)


def run(*starts: OpenStart, **more: Any) -> Run:
    task = more.pop("task", TASK)
    since = more.pop("since", 0.0)
    return Run(1, task, list(starts or [start()]), RunState.INTENDED, Baseline(), 0, since, **more)

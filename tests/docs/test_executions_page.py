"""`docs/executions.md` is what the program does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import butler_mqtt
from butler_mqtt.contract import stage_summary, task_events
from butler_mqtt.domain.model import ExecutionStatus
from butler_mqtt.domain.reconciliation import SERVER_CLOCK_SLACK
from butler_mqtt.domain.states import StartState
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.qrs.execution_lists import MAX_IDS
from butler_mqtt.settings import StartTask
from butler_mqtt.starting.execution_tracker import LOG_TRIES
from butler_mqtt.starting.poll_schedule import SHARE_OF_AGE
from tests.docs.blocks import blocks
from tests.project import ROOT

PAGE = ROOT / "docs" / "executions.md"
SCHEMA = json.loads((Path(butler_mqtt.__file__).parent / "schemas" / "event.schema.json").read_text())
EXAMPLES = [json.loads(block.text) for block in blocks(PAGE) if block.language == "json"]


def rows(heading: str) -> Iterator[list[str]]:
    """Return the cells of the table that has *heading* as its first one."""
    found = re.search(rf"^\| {heading} .*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    assert found is not None
    for line in found[1].splitlines():
        yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: str(example["event"]))
def test_each_example_is_an_event(example: dict[str, Any]) -> None:
    jsonschema.validate(example, SCHEMA)
    if "stage" in example:
        about = f"{example['requestId']}/stage/{example['stage']}"
    else:
        about = example["executionId"] or f"{example['requestIds'][0]}/{example['taskId']}"
    assert example["eventId"] == f"{about}/{example['event']}"


def test_every_event_is_documented_below_a_heading_of_its_own() -> None:
    names = SCHEMA["properties"]["event"]["enum"]
    assert [example["event"] for example in EXAMPLES] == names
    assert re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE) == names


def test_every_event_that_the_program_publishes_is_documented() -> None:
    reported = {name for _, name in task_events.ENDS.values()} | set(task_events.PROGRESS.values())
    reported |= {
        stage_summary.STARTED,
        stage_summary.ENDED,
        "queued",
        "started",
        "unknown",
        StartState.EXPIRED.value,
        StartState.CANCELLED.value,
    }
    assert reported == {example["event"] for example in EXAMPLES}


def test_every_status_is_reported_as_documented() -> None:
    ends = {int(status): name for status, (_, name) in task_events.ENDS.items()}
    expected = {
        int(status): ends.get(status) or task_events.PROGRESS.get(status) or ""
        for status in ExecutionStatus
        if status is not ExecutionStatus.NEVER_STARTED
    }
    table = {int(number): (name, reported.strip("`")) for number, name, reported in rows("Status")}
    assert {number: reported for number, (_, reported) in table.items()} == {0: "unknown", **expected}
    for status in ExecutionStatus:
        assert table[status][0].upper() == status.name.replace("_", "")


def test_the_seconds_are_those_of_the_program() -> None:
    timings = QlikTimings()
    assert [float(seconds) for _, seconds in rows("What")] == [
        timings.least_poll,
        timings.most_poll,
        timings.most_blocking_poll,
        timings.result_lag,
        timings.script_log_pause,
    ]
    text = PAGE.read_text()
    assert f"repeated after {timings.most_blocking_poll:g} s at most" in text
    assert SHARE_OF_AGE == 0.1
    assert "a tenth of the execution's age" in text
    assert f"within {timings.result_lag:g} s" in text
    assert f"not more than {SERVER_CLOCK_SLACK.total_seconds():g} s before the intent" in text
    assert f"up to {MAX_IDS} executions" in text
    assert f"{StartTask().script_log_lines} unless `startTask.scriptLogLines`" in text
    assert (LOG_TRIES, "in three tries" in text) == (3, True)

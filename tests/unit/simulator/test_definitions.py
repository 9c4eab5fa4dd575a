from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.simulator import definitions
from butler_mqtt.simulator.definitions import DefinitionError, site_definition
from butler_mqtt.simulator.switches import SwitchError, Switches


def test_ids_that_are_not_given_are_always_the_same() -> None:
    text = "tasks: [{name: a}, {name: a}, {name: b}]"
    first, second = (site_definition(text) for _ in range(2))
    assert first == second
    assert len({task.id for task in first.tasks}) == 3


def test_a_task_is_read_with_all_its_keys() -> None:
    task = site_definition(
        """
        tasks:
          - name: a
            id: A8B4C123-DEF4-5678-9ABC-DEF012345678
            type: reload
            enabled: false
            tags: [x, y]
            customProperties: {Region: [APAC, EMEA], Department: Finance}
            durationSeconds: 0.5
            result: [fail, never]
            retries: 3
            timeoutMinutes: 10
            app: {name: Sales, availability: NotSynced, stream: Work}
            scriptLog: [one]
        """
    ).tasks[0]
    assert task.id == "a8b4c123-def4-5678-9abc-def012345678"
    assert task.custom_properties == (("Region", "APAC"), ("Region", "EMEA"), ("Department", "Finance"))
    assert task.results == (8, None)
    assert task.app is not None
    assert (task.app.name, task.app.availability, task.app.stream) == ("Sales", 4, "Work")


def test_tasks_can_be_generated() -> None:
    site = site_definition("generate: [{count: 3, name: 'Task {n}', tags: [bench]}]")
    assert [task.name for task in site.tasks] == ["Task 1", "Task 2", "Task 3"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tasks: [", "not YAML"),
        ("- 1", "is not of type 'object'"),
        ("tasks: [{}]", "'name' is a required property"),
        ("tasks: [{name: a, colour: red}]", "colour"),
        ("tasks: [{name: a, id: abc}]", "does not match"),
        ("tasks: [{name: a, type: other}]", "is not one of"),
        ("tasks: [{name: a, app: {availability: Lost}}]", "app.availability"),
        ("tasks: [{name: a, retries: 21}]", "maximum"),
        (
            (
                "tasks: [{name: a, id: 11111111-0000-4000-8000-000000000001},"
                " {name: b, id: 11111111-0000-4000-8000-000000000001}]"
            ),
            "is given to 'a' and 'b'",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(text: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        site_definition(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"none\.yaml: cannot be read"):
        definitions.load(tmp_path / "none.yaml")


def test_the_sample_serves_the_well_known_examples() -> None:
    site = definitions.load(None)
    ids = {task.id for task in site.tasks}
    tags = {name for task in site.tasks for name in task.tags}
    pairs = {pair for task in site.tasks for pair in task.custom_properties}
    assert {"a8b4c123-def4-5678-9abc-def012345678", "b9c5d234-efe5-6789-abcd-ef0123456789"} <= ids
    assert {"financial-reports", "daily-refresh", "daily-reports", "urgent", "data-refresh"} <= tags
    assert {
        ("taskGroup", "operational-dashboards"),
        ("priority", "high"),
        ("department", "finance"),
        ("source", "erp-system"),
    } <= pairs
    assert sum("startTask1" in task.tags for task in site.tasks) == 3
    assert sum("Butler 5.0 demo" in task.tags for task in site.tasks) == 4
    assert {task.kind for task in site.tasks} == {0, 1, 2, 3, 4}
    assert any(not task.enabled for task in site.tasks)


def test_switches_go_by_their_json_names() -> None:
    changed = Switches().changed(
        {"unknownTask": 400, "listLimit": 10, "sessionTypes": [0], "resultLagSeconds": 1}
    )
    assert changed.as_json() == Switches().as_json() | {
        "unknownTask": "400",
        "listLimit": 10,
        "sessionTypes": (0,),
        "resultLagSeconds": 1.0,
    }
    assert changed.changed({"listLimit": None}).list_limit is None


@pytest.mark.parametrize(
    ("name", "position"),
    [
        ("colour", "red"),
        ("pairing", "none"),
        ("listLimit", "ten"),
        ("listLimit", -1),
        ("listLimit", 1.5),
        ("listLimit", True),
        ("durationFactor", None),
        ("sessionTypes", ["reload"]),
        ("duplicateCallbacks", 1),
    ],
)
def test_a_switch_that_does_not_exist_or_fit_is_refused(name: str, position: object) -> None:
    with pytest.raises(SwitchError, match=name):
        Switches().changed({name: position})

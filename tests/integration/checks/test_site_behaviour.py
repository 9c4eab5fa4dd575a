"""The lines about how a site behaves, with each switch of the simulator."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from butler_mqtt.checks import qlik
from butler_mqtt.checks import site_behaviour as behaviour
from butler_mqtt.checks.finding import Finding, State
from butler_mqtt.qrs.transport import HttpAnswer
from butler_mqtt.settings import Settings
from tests.integration.checks.site_and_broker import bad, by_name
from tests.integration.simulator.running import CROSS, QUICK, Client


@pytest.mark.parametrize(
    ("positions", "name", "words"),
    [
        ({}, "site.lists", "lists are complete: 8 of 8 tasks"),
        ({"listLimit": 3}, "site.lists", "shows 3 of 8 tasks"),
        ({}, "site.form", "lists tasks with tags and custom properties"),
        ({"taskModel": "base"}, "site.form", "the concrete lists are read as well"),
        ({}, "site.pairing", "any value of the task"),
        ({"pairing": "sameObject"}, "site.pairing", "must be on the same object"),
        ({}, "site.shorthand", "is understood"),
        ({"propertyShorthand": "refused"}, "site.shorthand", "answered with 400"),
        ({}, "site.unknownTask", "answered with 404"),
        ({"unknownTask": "400"}, "site.unknownTask", "answered with 404"),
        ({}, "site.quotes", "are understood"),
        ({}, "site.count", "holds: tasks can be counted by kind (8)"),
        ({}, "site.taskTypes", "6 reload, 1 external program, 1 preload"),
        ({}, "site.names", "not known"),
        ({}, "site.statuses", "are known ones: 0"),
        ({"taskModel": "base"}, "site.statuses", "not known"),
        ({}, "site.startRight", "has update"),
        ({"rights": "read"}, "site.startRight", "lacks update"),
        ({"rights": "none"}, "site.startRight", "not known"),
        ({}, "site.longQueries", "holds: a query for 100 tasks"),
        ({}, "site.starts", "not known without a start"),
        ({"scheduler": "absent"}, "site.capacity", ""),
    ],
)
def test_what_this_site_does_is_shown(
    site: Client, qrs: Settings, positions: dict[str, object], name: str, words: str
) -> None:
    site.switch(**positions)
    assert words in by_name(qlik.check(qrs))[name].text


@pytest.mark.parametrize(
    ("positions", "states"),
    [
        ({"listLimit": 3}, {"site.lists": State.WARNING}),
        ({"taskModel": "base"}, {}),
        ({"pairing": "sameObject", "propertyShorthand": "refused", "doubledQuote": "accepted"}, {}),
        ({"doubledQuote": "only"}, {}),
    ],
)
def test_only_what_an_operator_should_know_is_a_warning(
    site: Client, qrs: Settings, positions: dict[str, object], states: dict[str, State]
) -> None:
    site.switch(**positions)
    assert bad(qlik.check(qrs)) == states


def test_a_connection_lost_in_between_is_unreached(site: Client, qrs: Settings) -> None:
    site.plant(kind="cut", path="*/task/full", skip=1, count=None)
    assert bad(qlik.check(qrs))["qlik.connection"] is State.UNREACHABLE


def answer(value: object, status: int = 200) -> HttpAnswer:
    return HttpAnswer(status, json.dumps(value).encode())


def findings(answers: Callable[[str, str], HttpAnswer]) -> dict[str, Finding]:
    """Check a site that answers as *answers* says, given path and query."""

    def read(path: str, query: str = "") -> HttpAnswer:
        return answers(path, query)

    return by_name(behaviour.check(read))


TASK = {"id": CROSS, "name": "one", "tags": [], "customProperties": []}


def test_a_site_that_refuses_quotes_is_a_warning() -> None:
    found = findings(lambda _, query: answer("", 400) if "%5C" in query else answer([TASK]))
    assert found["site.quotes"].state is State.WARNING
    assert "400" in found["site.quotes"].text


def counted(path: str, number: int) -> HttpAnswer | None:
    """Count so many reload tasks and no others; None for what is no count."""
    if not path.endswith("/count"):
        return None
    return answer({"value": number if path == "/reloadtask/count" else 0})


def test_a_site_that_reads_quotes_otherwise_is_a_warning() -> None:
    found = findings(lambda _path, _query: answer([TASK]))
    assert found["site.quotes"].state is State.WARNING
    assert "do not match" in found["site.quotes"].text


def test_a_site_whose_lists_show_no_tags_at_all_is_a_warning() -> None:
    bare = {"id": CROSS, "name": "one"}
    found = findings(lambda path, _: counted(path, 1) or answer([bare]))
    assert found["site.form"].state is State.WARNING
    assert found["site.lists"].state is State.OK


def test_tasks_that_cannot_be_counted_are_a_warning() -> None:
    found = findings(lambda path, _: answer("", 403) if path.endswith("/count") else answer([TASK]))
    assert found["site.count"].state is State.WARNING
    assert "does not hold" in found["site.count"].text
    assert found["site.lists"].state is State.OK


def test_without_two_custom_properties_pairing_cannot_be_told() -> None:
    found = findings(lambda _path, query: answer([]) if query else answer([TASK]))
    assert "not known" in found["site.pairing"].text
    assert "not known" in found["site.shorthand"].text


def test_a_site_whose_tasks_cannot_be_read_is_told_by_other_lines_only() -> None:
    assert findings(lambda _path, _query: answer("", 403)) == {}


TWINS = [TASK, {**TASK, "id": QUICK}]


@pytest.mark.parametrize(
    ("rows", "name", "state", "words"),
    [
        (TWINS, "site.names", State.OK, "1 belong to more than one task, e.g. 'one'"),
        ([{**TASK, "taskType": 9}], "site.taskTypes", State.WARNING, "1 of type 9"),
        ([{**TASK, "taskType": None}], "site.taskTypes", State.WARNING, "1 without a type"),
        ([{"id": CROSS}], "site.taskTypes", State.WARNING, "1 of 1 tasks lack one"),
        (
            [{**TASK, "operational": {"lastExecutionResult": {"status": 77}}}],
            "site.statuses",
            State.WARNING,
            "77 is not",
        ),
        ([{**TASK, "privileges": ["read"]}], "site.startRight", State.WRONG, "lacks update"),
        (
            [{**TASK, "privileges": ["read"]}, {**TASK, "id": QUICK, "privileges": ["update"]}],
            "site.startRight",
            State.WARNING,
            "on 1 of 2",
        ),
        ([{**TASK, "privileges": ["Read", "Update"]}], "site.startRight", State.OK, "has update"),
        ([{**TASK, "privileges": None}], "site.startRight", State.OK, "does not show its rights"),
        ([], "site.startRight", State.OK, "it sees none"),
    ],
)
def test_what_lists_show_is_judged(
    rows: list[dict[str, object]], name: str, state: State, words: str
) -> None:
    found = findings(lambda path, _: counted(path, len(rows)) or answer(rows))
    assert found[name].state is state
    assert words in found[name].text


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [(414, State.OK, "queries fewer"), (400, State.OK, "queries fewer"), (502, State.WARNING, "502")],
)
def test_a_long_query_that_is_refused_is_named(status: int, state: State, words: str) -> None:
    found = findings(lambda _, query: answer("", status) if len(query) > 3000 else answer([TASK]))
    assert found["site.longQueries"].state is state
    assert words in found["site.longQueries"].text


def test_every_line_about_the_site_says_whether_it_holds(site: Client, qrs: Settings) -> None:
    lines = [one for one in qlik.check(qrs) if one.name.startswith("site.") and one.name != "site.capacity"]
    assert len(lines) == 16
    beginnings = ("holds: ", "does not hold: ", "not known ", "the user has update, which")
    assert [one for one in lines if not one.text.startswith(beginnings)] == []

"""The lines that tell how a site behaves, with each switch of the stand-in."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from butler_mqtt.checks import qlik
from butler_mqtt.checks import site as behaviour
from butler_mqtt.checks.finding import Finding, State
from butler_mqtt.qrs.transport import Answer
from butler_mqtt.settings import Settings
from tests.checks.parts import bad, by_name
from tests.simulator.running import CROSS, Client


@pytest.mark.parametrize(
    ("positions", "name", "words"),
    [
        ({}, "site.lists", "lists come whole: 8 of 8 tasks"),
        ({"listLimit": 3}, "site.lists", "shows 3 of 8 tasks"),
        ({}, "site.form", "lists tasks with tags and custom properties"),
        ({"taskModel": "base"}, "site.form", "the concrete lists are read as well"),
        ({}, "site.pairing", "any value of the task"),
        ({"pairing": "sameObject"}, "site.pairing", "must stand on the same object"),
        ({}, "site.shorthand", "is understood"),
        ({"propertyShorthand": "refused"}, "site.shorthand", "answered with 400"),
        ({}, "site.unknownTask", "answered with 404"),
        ({}, "site.quotes", "are understood"),
        ({"scheduler": "absent"}, "site.capacity", ""),
    ],
)
def test_what_this_site_does_is_told(
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
    ],
)
def test_only_what_an_operator_should_know_is_a_warning(
    site: Client, qrs: Settings, positions: dict[str, object], states: dict[str, State]
) -> None:
    site.switch(**positions)
    assert bad(qlik.check(qrs)) == states


def test_a_connection_lost_in_between_is_unreached(site: Client, qrs: Settings) -> None:
    site.plant(kind="cut", path="*/task/full", skip=1, count=None)
    assert bad(qlik.check(qrs))["qlik.connection"] is State.UNREACHED


def answer(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def told(answers: Callable[[str, str], Answer]) -> dict[str, Finding]:
    """Check a site that answers as *answers* says, given path and query."""

    def read(path: str, query: str = "") -> Answer:
        return answers(path, query)

    return by_name(behaviour.check(read))


TASK = {"id": CROSS, "name": "one", "tags": [], "customProperties": []}


def test_a_site_that_refuses_quotes_is_a_warning() -> None:
    found = told(lambda _, query: answer("", 400) if "%5C" in query else answer([TASK]))
    assert found["site.quotes"].state is State.WARNING
    assert "400" in found["site.quotes"].text


def test_a_site_that_reads_quotes_otherwise_is_a_warning() -> None:
    found = told(lambda _path, _query: answer([TASK]))
    assert found["site.quotes"].state is State.WARNING
    assert "do not fit" in found["site.quotes"].text


def test_a_site_whose_lists_show_no_tags_at_all_is_a_warning() -> None:
    bare = {"id": CROSS, "name": "one"}
    found = told(lambda path, _: answer({"value": 1}) if path.endswith("/count") else answer([bare]))
    assert found["site.form"].state is State.WARNING
    assert found["site.lists"].state is State.OK


def test_tasks_that_cannot_be_counted_are_a_warning() -> None:
    found = told(lambda path, _: answer("", 403) if path.endswith("/count") else answer([TASK]))
    assert found["site.lists"].state is State.WARNING


def test_without_two_custom_properties_pairing_cannot_be_told() -> None:
    found = told(lambda _path, query: answer([]) if query else answer([TASK]))
    assert "cannot be told" in found["site.pairing"].text
    assert "cannot be told" in found["site.shorthand"].text


def test_a_site_whose_tasks_cannot_be_read_is_told_by_other_lines_only() -> None:
    assert told(lambda _path, _query: answer("", 403)) == {}

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.simulator import entity_fields
from butler_mqtt.simulator.collection import Collection, sorter
from butler_mqtt.simulator.definitions import task_definition
from butler_mqtt.simulator.filter_language import FilterError
from butler_mqtt.simulator.filter_matching import Dialect, bind
from butler_mqtt.simulator.tasks import SimulatedTask

_DIALECT = Dialect(known_properties=frozenset({"region", "department"}))
_ONE = "11111111-0000-4000-8000-000000000001"
_TWO = "11111111-0000-4000-8000-000000000002"
_STAMP = "2025-01-16T16:12:18.152Z"


def _tasks(*, indexed: bool = True) -> Collection[SimulatedTask]:
    tasks: Collection[SimulatedTask] = Collection(
        (("id",), ("name",), ("tags", "name"), ("customProperties", "value")) if indexed else ()
    )
    for raw in (
        {
            "name": "Straße",
            "id": _ONE,
            "tags": ["Nightly", "O'Brien \\"],
            "customProperties": {"Region": ["APAC", "EMEA"], "Department": "Finance"},
            "app": {"name": "Sales", "availability": "available"},
        },
        {
            "name": "beta",
            "id": _TWO,
            "enabled": False,
            "tags": ["weekly"],
            "customProperties": {"Region": "Finance", "Department": "APAC"},
            "app": {"name": "Stock", "stream": "Work", "availability": 4},
        },
        {"name": "Gamma", "id": "11111111-0000-4000-8000-000000000003", "type": "userSync"},
    ):
        tasks.add(SimulatedTask(task_definition(raw), _STAMP, {}))
    return tasks


def _found(text: str, dialect: Dialect = _DIALECT, *, indexed: bool = True) -> str:
    condition = bind(text, entity_fields.TASK, dialect)
    return "".join(task.id[-1] for task in _tasks(indexed=indexed).find(condition))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"id eq {_ONE}", "1"),
        (f"ID eq {_ONE.upper()}", "1"),
        (f"id ne {_ONE}", "23"),
        (f"id eq {_TWO} or id eq {_ONE}", "12"),
        ("name eq 'STRASSE'", "1"),
        ("name ne 'beta'", "13"),
        ("name sw 'B'", "2"),
        ("name ew 'a'", "23"),
        ("name so 'AMM'", "3"),
        ("tags.name eq 'nightly'", "1"),
        (r"tags.name eq 'o\'brien \\'", "1"),
        ("Tags.Name sw 'week'", "2"),
        ("(taskType eq 0) and (enabled eq true)", "1"),
        ("taskType eq UserSync", "3"),
        ("taskType ge 1", "3"),
        ("enabled eq false", "2"),
        ("app.stream.name eq 'Everyone'", "1"),
        ("app.availabilityStatus eq NotSynced", "2"),
        ("operational.lastExecutionResult.status eq 0", "123"),
        ("operational.lastExecutionResult.status ne NeverStarted", ""),
        ("createdDate gt '2025-01-16 16:12:18'", "123"),
        ("createdDate le '2025-01-16T16:12:18.152Z'", "123"),
        ("createdDate lt '2025-01-16T17:12:18.152+01:00'", ""),
        ("maxRetries lt 1 and taskSessionTimeout eq 1440", "123"),
        ("@Region eq 'APAC'", "1"),
        ("@region ne 'APAC'", "12"),
        ("(@Region eq 'APAC') and (@Department eq 'Finance')", "1"),
        ("(customProperties.definition.name eq 'Region') and (customProperties.value eq 'EMEA')", "1"),
    ],
)
def test_a_filter_finds_its_tasks(text: str, found: str) -> None:
    assert _found(text) == found
    assert _found(text, indexed=False) == found


@pytest.mark.parametrize(
    "text",
    [
        "unknown eq 'a'",
        "tags eq 'a'",
        "name.x eq 'a'",
        "app eq 'a'",
        "name eq 5",
        "name eq nightly",
        "name gt 'a'",
        f"name eq {_ONE}",
        "id gt 11111111-0000-4000-8000-000000000001",
        "id sw '1'",
        "enabled eq 1",
        "enabled eq 'true'",
        "taskType eq '0'",
        "taskType eq Nothing",
        "taskType so 0",
        "createdDate gt 'yesterday'",
        "createdDate gt 2025",
        "@Unknown eq 'a'",
        "@Region gt 'a'",
        "@Region eq 5",
    ],
)
def test_a_term_that_does_not_fit_its_property_is_refused(text: str) -> None:
    with pytest.raises(FilterError, match="Cannot parse the expression: "):
        bind(text, entity_fields.TASK, _DIALECT)


def test_a_guid_in_quotes_is_refused_unless_the_dialect_takes_it() -> None:
    text = f"id eq '{_ONE}'"
    with pytest.raises(FilterError, match=f"constant value \"Guid\" to the following: '{_ONE}'"):
        bind(text, entity_fields.TASK, _DIALECT)
    loose = replace(_DIALECT, quoted_guids=True)
    assert _found(text.upper().replace(" EQ ", " eq "), loose) == "1"
    with pytest.raises(FilterError, match="Cannot parse the expression: "):
        bind("id eq 'abc'", entity_fields.TASK, loose)


_PAIR = "(customProperties.definition.name eq 'Region') and (customProperties.value eq 'APAC')"


def test_any_object_pairs_with_any_other_by_default() -> None:
    assert _found(_PAIR) == "12"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (_PAIR, "1"),
        (f"enabled eq false and ({_PAIR})", ""),
        (
            (
                "customProperties.definition.name eq 'Region' and "
                "(customProperties.value eq 'EMEA' or customProperties.value eq 'Finance')"
            ),
            "12",
        ),
        ("customProperties.value eq 'APAC' and customProperties.value eq 'EMEA'", ""),
        (f"({_PAIR}) and tags.name eq 'Nightly'", "1"),
    ],
)
def test_the_same_object_must_meet_both_terms_when_switched(text: str, found: str) -> None:
    assert _found(text, replace(_DIALECT, same_object=True)) == found
    assert _found(text, replace(_DIALECT, same_object=True), indexed=False) == found


def test_the_shorthand_can_be_refused() -> None:
    with pytest.raises(FilterError):
        bind("@Region eq 'APAC'", entity_fields.TASK, replace(_DIALECT, known_properties=None))


_TERMS = st.sampled_from(
    [
        f"id eq {_ONE}",
        f"id ne {_TWO}",
        "name eq 'beta'",
        "name so 'a'",
        "tags.name eq 'weekly'",
        "customProperties.value eq 'apac'",
        "customProperties.definition.name eq 'Region'",
        "enabled eq true",
    ]
)


@given(
    st.recursive(
        _TERMS,
        lambda inner: st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_indexes_find_what_looking_at_all_finds(text: str, same_object: bool) -> None:
    dialect = replace(_DIALECT, same_object=same_object)
    assert _found(text, dialect) == _found(text, dialect, indexed=False)


def test_a_removed_task_is_found_no_more_and_a_replaced_one_keeps_its_place() -> None:
    tasks = _tasks()
    tasks.add(SimulatedTask(task_definition({"name": "New", "id": _ONE, "tags": ["weekly"]}), _STAMP, {}))
    tasks.remove("11111111-0000-4000-8000-000000000003")
    names = [
        task.document["name"]
        for task in tasks.find(bind("tags.name eq 'weekly'", entity_fields.TASK, _DIALECT))
    ]
    assert names == ["New", "beta"]
    assert tasks.find(bind("tags.name eq 'Nightly'", entity_fields.TASK, _DIALECT)) == []


def test_orderby_sorts_by_several_properties() -> None:
    order = sorter("enabled, name desc", entity_fields.TASK)
    assert [task.id[-1] for task in order(list(_tasks()))] == ["2", "1", "3"]
    assert [task.id[-1] for task in sorter("app.name", entity_fields.TASK)(list(_tasks()))] == ["3", "1", "2"]


@pytest.mark.parametrize("text", ["unknown", "tags.name", "name up", "name desc desc", "", "app"])
def test_orderby_refuses_what_cannot_be_sorted_by(text: str) -> None:
    with pytest.raises(LookupError):
        sorter(text, entity_fields.TASK)

"""From a request and the server's answers to what shall be started."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.contract import validation
from butler_mqtt.domain.decisions import Decision, RefusedDecision, allowed, decide, decide_stage
from butler_mqtt.domain.model import Request, Task
from butler_mqtt.errors import RequestError
from butler_mqtt.settings import StartTaskFilter
from tests.pipeline.site_double import guid

SALES = Task(
    guid(1), "Sales", 0, tags=("daily", "Finance"), custom_properties=(("Region", "APAC"), ("Tier", "1"))
)
STOCK = Task(guid(2), "Stock", 0, tags=("daily",), custom_properties=(("Region", "EMEA"), ("Region", "APAC")))
STAFF = Task(guid(3), "Staff", 0)
ALL = (SALES, STOCK, STAFF)
OPEN = StartTaskFilter()


def request(**body: Any) -> Request:
    return validation.parse(json.dumps(body).encode(), max_bytes=10**6)


def decision(allow: StartTaskFilter = OPEN, max_tasks: int = 200, **body: Any) -> Decision:
    asked = request(**body)
    answers = {
        selector: tuple(task for task in ALL if selector.matches(task)) for selector in asked.selectors
    }
    return decide(asked, answers, allow=allow, max_tasks=max_tasks)


def refusal(allow: StartTaskFilter = OPEN, max_tasks: int = 200, **body: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decision(allow, max_tasks, **body)
    return caught.value


def names(tasks: tuple[Task, ...]) -> list[str]:
    return [task.name for task in tasks]


def test_tasks_stand_in_the_order_asked_and_once() -> None:
    decided = decision(taskId=[STOCK.id, SALES.id.upper()], tag=["daily"], taskName="Staff")
    assert names(decided.tasks) == ["Stock", "Sales", "Staff"]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, ["Sales", "Stock"]),
        ({"tag": "any"}, ["Sales", "Stock"]),
        ({"tag": "all"}, ["Sales"]),
    ],
)
def test_tags_are_joined_as_asked(match: dict[str, str], expected: list[str]) -> None:
    assert names(decision(tag=["daily", "Finance"], match=match).tasks) == expected


def test_all_pairs_may_stand_on_different_values_of_one_task() -> None:
    pairs = [{"name": "Region", "value": "EMEA"}, {"name": "Region", "value": "APAC"}]
    assert names(decision(customProperty=pairs).tasks) == ["Stock", "Sales"]
    assert names(decision(customProperty=pairs, match={"customProperty": "all"}).tasks) == ["Stock"]


def test_a_name_and_a_value_of_different_properties_are_no_pair() -> None:
    crossed = decision(customProperty=[{"name": "Tier", "value": "APAC"}])
    assert crossed.tasks == ()
    assert [selector.as_json() for selector in crossed.not_found] == [
        {"customProperty": {"name": "Tier", "value": "APAC"}}
    ]


def test_kinds_can_be_intersected() -> None:
    wish: dict[str, Any] = {"tag": ["daily"], "customProperty": [{"name": "Region", "value": "EMEA"}]}
    assert names(decision(**wish).tasks) == ["Sales", "Stock"]
    assert names(decision(**wish, match={"criteria": "all"}).tasks) == ["Stock"]


def test_an_empty_intersection_leaves_every_selector_not_found() -> None:
    decided = decision(tag=["Finance"], taskName="Stock", match={"criteria": "all"})
    assert decided.tasks == ()
    assert {selector.value for selector in decided.not_found} == {"Finance", "Stock"}


def test_an_unmatched_selector_is_not_found_and_the_rest_is_started() -> None:
    decided = decision(tag=["daily", "weekly"], taskId=[guid(9)])
    assert names(decided.tasks) == ["Sales", "Stock"]
    assert [selector.as_json() for selector in decided.not_found] == [{"taskId": guid(9)}, {"tag": "weekly"}]


def test_a_name_of_two_tasks_is_an_error_that_names_them() -> None:
    asked = request(taskName="Twin")
    twins = (Task(guid(7), "Twin"), Task(guid(8), "twin"))
    with pytest.raises(RequestError, match=f"{guid(7)}, {guid(8)}") as caught:
        decide(asked, {asked.selectors[0]: twins}, allow=OPEN, max_tasks=9)
    assert caught.value.code == "ambiguous_task_name"


def test_more_tasks_than_allowed_are_refused_and_as_many_are_not() -> None:
    assert refusal(tag="daily", max_tasks=1).code == "too_many_tasks"
    assert len(decision(tag="daily", max_tasks=2).tasks) == 2


def test_all_must_exist_holds_everything_back_and_says_what_is_missing() -> None:
    refused = refusal(tag=["daily", "weekly"], allMustExist=True)
    assert isinstance(refused, RefusedDecision)
    assert refused.code == "all_must_exist"
    assert [selector.value for selector in refused.decision.not_found] == ["weekly"]


def test_all_must_exist_holds_everything_back_when_one_task_is_denied() -> None:
    allow = StartTaskFilter(enable=True, task_ids=frozenset({SALES.id}))
    refused = refusal(allow, tag="daily", allMustExist=True)
    assert isinstance(refused, RefusedDecision)
    assert refused.code == "all_must_exist"
    assert names(refused.decision.denied) == ["Stock"]


def test_denied_tasks_are_named_and_the_others_are_started() -> None:
    decided = decision(StartTaskFilter(enable=True, tags=("FINANCE",)), tag="daily")
    assert (names(decided.tasks), names(decided.denied)) == (["Sales"], ["Stock"])


def test_when_every_task_is_denied_the_request_is() -> None:
    refused = refusal(StartTaskFilter(enable=True), tag="daily")
    assert isinstance(refused, RefusedDecision)
    assert refused.code == "all_denied"
    assert names(refused.decision.denied) == ["Sales", "Stock"]


def test_an_allow_list_that_is_on_and_empty_allows_nothing() -> None:
    assert not any(allowed(task, StartTaskFilter(enable=True)) for task in ALL)
    assert all(allowed(task, StartTaskFilter(enable=False)) for task in ALL)


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        (StartTaskFilter(enable=True, task_ids=frozenset({STAFF.id})), ["Staff"]),
        (StartTaskFilter(enable=True, tags=("DAILY",)), ["Sales", "Stock"]),
        (StartTaskFilter(enable=True, custom_properties=(("region", "emea"),)), ["Stock"]),
        (StartTaskFilter(enable=True, custom_properties=(("Tier", "APAC"),)), []),
    ],
)
def test_the_allow_list_judges_the_resolved_task(allow: StartTaskFilter, expected: list[str]) -> None:
    assert names(tuple(task for task in ALL if allowed(task, allow))) == expected


WISHES = st.fixed_dictionaries(
    {"tag": st.lists(st.sampled_from(["daily", "Finance", "none"]), min_size=1, max_size=3)},
    optional={
        "taskId": st.lists(st.sampled_from([SALES.id, STAFF.id, guid(9)]), min_size=1, max_size=3),
        "taskName": st.sampled_from(["Stock", "Nobody"]),
        "match": st.fixed_dictionaries(
            {}, optional={"tag": st.sampled_from(["any", "all"]), "criteria": st.sampled_from(["any", "all"])}
        ),
        "allMustExist": st.booleans(),
    },
)
FILTERS = st.builds(
    StartTaskFilter,
    enable=st.booleans(),
    task_ids=st.frozensets(st.sampled_from([SALES.id, STOCK.id, STAFF.id])),
    tags=st.sampled_from([(), ("finance",)]),
)


@given(wish=WISHES, allow=FILTERS)
def test_nothing_is_started_that_was_not_asked_for_or_is_not_allowed(
    wish: dict[str, Any], allow: StartTaskFilter
) -> None:
    try:
        decided = decision(allow, **wish)
    except RefusedDecision as refused:
        decided = refused.decision
        assert wish.get("allMustExist") or not decided.tasks
        assert decided.denied or decided.not_found
    selectors = request(**wish).selectors
    assert len({task.id for task in decided.tasks + decided.denied}) == len(decided.tasks + decided.denied)
    for task in decided.tasks:
        assert allowed(task, allow)
        assert any(selector.matches(task) for selector in selectors)
    assert not any(allowed(task, allow) for task in decided.denied)


# Stages.


def test_a_task_of_several_stages_is_in_the_first_that_names_it() -> None:
    decided = decision(stages=[{"tag": "finance"}, {"tag": "daily"}, {"taskName": "Staff"}])
    assert names(decided.tasks) == ["Sales", "Stock", "Staff"]
    assert [decided.stages[task.id] for task in decided.tasks] == [1, 2, 3]


def test_each_stage_joins_its_own_selectors() -> None:
    stages = [{"tag": ["daily", "finance"], "match": {"tag": "all"}}, {"tag": ["daily", "finance"]}]
    assert [decision(stages=stages).stages[task.id] for task in (SALES, STOCK)] == [1, 2]


def test_what_each_stage_does_not_find_is_known() -> None:
    decided = decision(stages=[{"tag": "daily"}, {"tag": ["none", "daily"]}, {"tag": "none"}])
    assert [selector.value for selector in decided.not_found] == ["none"]
    assert [[one.value for one in decided.missing[number]] for number in (1, 2, 3)] == [
        [],
        ["none"],
        ["none"],
    ]


def test_the_limit_and_all_must_exist_are_for_all_stages_together() -> None:
    stages = [{"tag": "daily"}, {"taskName": "Staff"}]
    assert refusal(max_tasks=2, stages=stages).code == "too_many_tasks"
    assert len(decision(max_tasks=3, stages=stages).tasks) == 3
    assert refusal(allMustExist=True, stages=[{"tag": "daily"}, {"tag": "none"}]).code == "all_must_exist"


def test_a_stage_that_begins_leaves_out_what_others_have_run() -> None:
    asked = request(stages=[{"tag": "finance"}, {"tag": "daily"}])
    answers = {selector: tuple(t for t in ALL if selector.matches(t)) for selector in asked.selectors[1:]}

    def stage(max_tasks: int) -> Decision:
        return decide_stage(
            asked, 2, answers, taken={SALES.id}, others={SALES.id}, allow=OPEN, max_tasks=max_tasks
        )

    decided = stage(2)
    assert (names(decided.tasks), decided.matched_by[STOCK.id]) == (["Stock"], ("tag:1",))
    with pytest.raises(RequestError, match="means 2 tasks"):
        stage(1)

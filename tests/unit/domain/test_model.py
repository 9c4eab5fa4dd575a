"""The program's own values."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.model import (
    Arrival,
    Execution,
    Match,
    Request,
    RuleOrigin,
    Selector,
    SelectorKind,
    StagePlan,
    Task,
)

TASK = Task(
    "a8b4c123-def4-5678-9abc-def012345678",
    "Straße",
    tags=("Daily",),
    custom_properties=(("App", "Sales"), ("Stage", "Load")),
)


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (Selector(SelectorKind.TASK_ID, TASK.id.upper()), True),
        (Selector(SelectorKind.TASK_NAME, "STRASSE"), True),
        (Selector(SelectorKind.TASK_NAME, "Straße "), False),
        (Selector(SelectorKind.TASK_NAME, "Stra\u0073\u0073e"), True),
        (Selector(SelectorKind.TAG, "daily"), True),
        (Selector(SelectorKind.TAG, "dail"), False),
        (Selector(SelectorKind.CUSTOM_PROPERTY, "sales", "APP"), True),
        (Selector(SelectorKind.CUSTOM_PROPERTY, "Sales", "Stage"), False),
        (Selector(SelectorKind.CUSTOM_PROPERTY, "Sales", ""), False),
    ],
)
def test_a_selector_means_a_task_whatever_the_case_of_letters(selector: Selector, matches: bool) -> None:
    assert selector.matches(TASK) is matches


def test_letters_that_look_alike_are_not_the_same() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert not Selector(SelectorKind.TASK_NAME, composed).matches(Task("x", decomposed))


@pytest.mark.parametrize(
    ("status", "session", "active"),
    [(2, False, True), (7, False, False), (8, True, True), (99, False, True), (0, False, False)],
)
def test_an_execution_is_active_while_its_session_is_there_or_its_status_is_no_end(
    status: int, session: bool, active: bool
) -> None:
    assert Execution("e", "r", None, status, session=session).active is active


def test_an_execution_has_the_results_of_its_retries() -> None:
    execution = Execution("e", "r2", None, 10, earlier_results=("r1",))
    assert [execution.has_result(one) for one in ("r2", "r1", "r0", None)] == [True, True, False, False]


def test_a_request_for_one_stage_asks_for_that_alone() -> None:
    tag = Selector(SelectorKind.TAG, "a")
    plan = StagePlan((tag,), match_tag=Match.ALL)
    request = Request("{}", "f", request_id="r", dry_run=True, stages=(plan, plan))
    of_stage = request.of_stage(plan)
    assert (of_stage.selectors, of_stage.match_tag, of_stage.stages) == ((tag,), Match.ALL, ())
    assert (of_stage.request_id, of_stage.dry_run) == ("r", True)


def test_a_request_is_of_a_rule_only_where_one_made_it() -> None:
    assert Arrival("mqtt", b"", 0).rule is None
    assert Arrival("rule", b"", 0, origin=RuleOrigin("orders", b"")).rule == "orders"

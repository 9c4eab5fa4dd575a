"""What a review says of entries of the configuration."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.model import Task
from butler_mqtt.journal.usage import RuleUse, Usage
from butler_mqtt.reviews import configured_entries
from butler_mqtt.reviews.site_tasks import SiteTasks
from butler_mqtt.settings import (
    AlertSettings,
    AlertTarget,
    OverdueEntry,
    RuleSettings,
    Sender,
    Settings,
    StartTaskFilter,
)

DAY = 86_400_000
SITE = SiteTasks([Task(id="x", name="Sales", tags=("Daily", "weekly"))])
GONE = "11111111-0000-4000-8000-000000000009"


def without_task(settings: Settings) -> list[tuple[str, str]]:
    return [(one.text, one.advice) for one in configured_entries.without_task(settings, SITE)]


def unmatched(use: RuleUse | None, **fields: object) -> list[tuple[str, str]]:
    settings = Settings(rules=(RuleSettings("closed", topics=("erp/#",), **fields),))  # type: ignore[arg-type] # a test names fields it knows
    usage = Usage(10 * DAY, rules={} if use is None else {"closed": use})
    return [(one.text, one.advice) for one in configured_entries.unmatched(settings, usage, 40 * DAY)]


def test_each_entry_of_the_allow_list_without_a_task_is_named_with_its_place() -> None:
    allow = StartTaskFilter(
        enable=True,
        task_ids=frozenset({GONE}),
        tags=("daily", "wekly"),
        custom_properties=(("Group", "nightly"),),
    )
    place, nothing = "startTaskFilter.allowTask", "remove the entry, or correct it"
    assert without_task(Settings(start_task_filter=allow)) == [
        (f"{place}: taskId {GONE} matches no task", nothing),
        (f"{place}: tag wekly matches no task", "correct it: weekly is there, a misspelling of it?"),
        (f"{place}: Group=nightly matches no task", nothing),
    ]


def test_an_allow_list_that_is_off_is_not_reviewed() -> None:
    assert without_task(Settings(start_task_filter=StartTaskFilter(enable=False, tags=("gone",)))) == []


def test_what_a_rule_asks_for_whatever_the_message_is_reviewed_in_its_stages_too() -> None:
    start = {"tag": ["daily", "wekly", "${{ levels[1] }}"], "customProperty": {"name": "Group", "value": "a"}}
    staged = {"stages": [{"taskId": GONE.upper()}, {"taskName": "Sales", "tag": "x-${{ text }}"}]}
    rules = (
        RuleSettings("a", start=start),
        RuleSettings("b", start=staged),
        RuleSettings("off", enable=False, start={"tag": "gone"}),
    )
    assert [text for text, _ in without_task(Settings(rules=rules))] == [
        "rules, a: tag wekly matches no task",
        "rules, a: Group=a matches no task",
        f"rules, b: taskId {GONE} matches no task",
    ]


def test_the_allow_list_of_a_sender_is_reviewed_where_it_has_one() -> None:
    erp = Sender("erp", allow_task=StartTaskFilter(enable=True, tags=("daily", "gone")))
    assert [text for text, _ in without_task(Settings(senders=(erp, Sender("gateway"))))] == [
        "senders, erp, allowTask: tag gone matches no task"
    ]


@pytest.mark.parametrize("enable", [True, False])
def test_alerts_about_tasks_that_are_not_there_are_told(enable: bool) -> None:
    alerts = AlertSettings(
        enable=enable,
        targets=(AlertTarget("bi-team", "json://localhost", tags=("daily", "gone")),),
        overdue=(OverdueEntry("tag", "weekly"), OverdueEntry("customProperty", "a", "Group")),
    )
    told = [
        "alerts.targets, bi-team: tag gone matches no task",
        "alerts.overdue: Group=a matches no task",
    ]
    assert [text for text, _ in without_task(Settings(alerts=alerts))] == (told if enable else [])


@pytest.mark.parametrize(
    ("use", "text", "advice"),
    [
        (None, "has never matched; 0 messages judged", "no message came: check the topic of closed"),
        (RuleUse(7, 0, None), "has never matched; 7 messages judged", "try its condition on a message"),
        (RuleUse(7, 2, None), "has never matched; 7 messages judged", "2 of them could not be read"),
        (RuleUse(7, 0, 9 * DAY), "matched last 31 days ago; 7 messages judged", "try its condition"),
    ],
    ids=["no message", "no match", "errors", "not lately"],
)
def test_a_rule_that_matches_no_message_says_what_came(use: RuleUse | None, text: str, advice: str) -> None:
    ((said, what),) = unmatched(use)
    assert said == f"rule closed {text}"
    assert what.startswith(advice)


def test_a_rule_that_matched_in_the_period_and_one_that_is_off_are_left_out() -> None:
    assert unmatched(RuleUse(7, 0, 11 * DAY)) == []
    assert unmatched(None, enable=False) == []

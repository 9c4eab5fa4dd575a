"""Which tasks a request means: awkward names, pairs, injections, the rules of joining."""

from __future__ import annotations

import itertools

import pytest

from tests.acceptance.conftest import Place
from tests.acceptance.rig import Qlik
from tests.acceptance.sender import Sender

AWKWARD = [
    'O\'Brien & Söhne #1 \\ "x"',
    "100% + 1 = ?",
    "%41%27",
    "a+b c",
    "🚀 nightly",
    "back\\slash\\",
    "\\'",
    "quote'quote''",
    "<b>&amp;</b>",
    "a;b,c:d/e?f=g",
    "(tag) or name",
    "日次レポート",
    "\u200f\u0627\u0644",
    "$filter",
    "null",
]
INJECTIONS = [
    "x' or name ne '",
    "x\\' or name ne \\'",
    "x\\\\' or name ne '",
    "x') or (name ne '",
    "x' or 1 eq 1 or name eq 'x",
    "x%27 or name ne %27",
    "x&filter=name ne ''",
    "x' or tags.name ne '",
    "*",
    "%",
    "\\",
    "'",
    "''",
    "\\\\'",
]

_numbers = itertools.count(1)


def unique(name: str) -> str:
    """Make a name that nobody used before of one that everybody uses."""
    return f"{name} {next(_numbers)}"


@pytest.mark.parametrize("doubled_quote", ["refused", "accepted"])
@pytest.mark.parametrize("tag", AWKWARD)
def test_tags_names_and_properties_of_any_characters_start_their_task_and_no_other(
    tag: str, doubled_quote: str, sender: Sender, qlik: Qlik
) -> None:
    qlik.switch(doubledQuote=doubled_quote)
    tagged = qlik.task(tags=[tag := unique(tag)])
    named = qlik.task(f"Name {tag}")
    owned = qlik.task(customProperties={"Awkward": tag})
    before = qlik.total()
    answer = sender.ask(
        {"tag": tag, "taskName": f"Name {tag}", "customProperty": {"name": "Awkward", "value": tag}}
    )
    assert answer["status"] == "ok", answer
    assert {entry["taskId"] for entry in answer["tasksStarted"]} == {tagged, named, owned}
    assert qlik.total() - before == 3


@pytest.mark.parametrize("doubled_quote", ["refused", "accepted"])
def test_texts_made_to_widen_a_filter_start_nothing(doubled_quote: str, each: Place, qlik: Qlik) -> None:
    qlik.switch(doubledQuote=doubled_quote)
    qlik.task(tags=["bystander"], customProperties={"Injected": "x"})
    before = qlik.total()
    for text in INJECTIONS:
        answer = each.sender.ask(
            {
                "tag": text,
                "taskName": text,
                "customProperty": [{"name": "Injected", "value": text}, {"name": text, "value": "x"}],
            }
        )
        assert answer["status"] == "failed", (text, answer)
        assert len(answer["tasksNotFound"]) == 4, (text, answer)
    assert qlik.total() == before


@pytest.mark.parametrize("pairing", ["any", "sameObject"])
def test_a_name_of_one_property_with_the_value_of_another_is_no_match(
    pairing: str, each: Place, qlik: Qlik
) -> None:
    qlik.switch(pairing=pairing)
    value = unique("APAC")
    crossed = qlik.task(customProperties={"Region": "finance", "Department": value})
    right = qlik.task(customProperties={"Region": value, "Department": "crossed"})
    answer = each.sender.ask({"customProperty": {"name": "Region", "value": value}})
    assert [entry["taskId"] for entry in answer["tasksStarted"]] == [right]
    assert qlik.executions(crossed) == 0


def test_several_values_of_one_property_each_match(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task(customProperties={"Shift": ["early", "late"]})
    for value in ("early", "LATE"):
        answer = sender.ask({"customProperty": {"name": "shift", "value": value}})
        assert [entry["taskId"] for entry in answer["tasksStarted"]] == [task], answer
        qlik.until_idle(task)


def test_letter_case_does_not_matter_and_a_part_of_a_tag_is_not_the_tag(sender: Sender, qlik: Qlik) -> None:
    tag = unique("STRASSE")
    task, other = qlik.task(tags=[tag]), qlik.task(tags=[f"{tag} two"])
    answer = sender.ask({"tag": tag.lower()})
    assert [entry["taskId"] for entry in answer["tasksStarted"]] == [task]
    assert qlik.executions(other) == 0


def test_unicode_is_not_normalised(sender: Sender, qlik: Qlik) -> None:
    composed, decomposed = unique("caf\u00e9"), unique("cafe\u0301")
    task = qlik.task(tags=[composed])
    assert sender.ask({"tag": decomposed})["status"] == "failed"
    assert qlik.executions(task) == 0


def test_a_task_matched_by_several_selectors_is_started_once(each: Place, qlik: Qlik) -> None:
    tag, name = unique("several"), unique("Several")
    task = qlik.task(name, tags=[tag, f"{tag}b"], customProperties={"Several": tag})
    answer = each.sender.ask(
        {
            "taskId": [task, task.upper()],
            "taskName": name,
            "tag": [tag, tag.upper(), f"{tag}b"],
            "customProperty": {"name": "Several", "value": tag},
        }
    )
    assert [entry["taskId"] for entry in answer["tasksStarted"]] == [task]
    assert answer["totalTasksStarted"] == 1
    assert (qlik.executions(task), qlik.posts(task)) == (1, 1)


def test_match_all_wants_every_tag_and_every_pair(sender: Sender, qlik: Qlik) -> None:
    one, two = unique("one"), unique("two")
    both = qlik.task(tags=[one, two], customProperties={"Match": [one, two]})
    only = qlik.task(tags=[one], customProperties={"Match": [one]})
    pairs = [{"name": "Match", "value": one}, {"name": "Match", "value": two}]

    def would(body: dict[str, object]) -> set[str]:
        answer = sender.ask({**body, "dryRun": True})
        return {entry["taskId"] for entry in answer.get("tasksWouldStart", ())}

    assert would({"tag": [one, two]}) == {both, only}
    assert would({"tag": [one, two], "match": {"tag": "any"}}) == {both, only}
    assert would({"tag": [one, two], "match": {"tag": "all"}}) == {both}
    assert would({"customProperty": pairs}) == {both, only}
    assert would({"customProperty": pairs, "match": {"customProperty": "all"}}) == {both}


def test_criteria_all_intersects_the_kinds_instead_of_joining_them(sender: Sender, qlik: Qlik) -> None:
    tag, value = unique("tag"), unique("value")
    both = qlik.task(tags=[tag], customProperties={"Kind": value})
    tagged, owned = qlik.task(tags=[tag]), qlik.task(customProperties={"Kind": value})
    body: dict[str, object] = {"tag": tag, "customProperty": {"name": "Kind", "value": value}, "dryRun": True}

    joined = sender.ask(body)
    assert {entry["taskId"] for entry in joined["tasksWouldStart"]} == {both, tagged, owned}
    met = sender.ask({**body, "match": {"criteria": "all"}})
    assert [entry["taskId"] for entry in met["tasksWouldStart"]] == [both]
    nobody = sender.ask({**body, "taskId": owned, "match": {"criteria": "all"}})
    assert nobody["status"] == "failed"


def test_a_dry_run_decides_everything_and_starts_nothing(each: Place, qlik: Qlik) -> None:
    task = qlik.task("Dry")
    answer = each.sender.ask({"taskId": task, "tag": "nobody-has-it", "dryRun": True, "requestId": task})
    assert answer == {
        "requestId": task,
        "status": "partial",
        "tasksStarted": [],
        "tasksWouldStart": [{"taskId": task, "taskName": "Dry", "status": "wouldStart"}],
        "tasksNotFound": [{"tag": "nobody-has-it"}],
        "totalTasksStarted": 0,
    }
    each.sender.drain()
    assert qlik.posts(task) == 0


def test_a_task_name_that_several_tasks_have_is_an_error_and_not_a_guess(each: Place, qlik: Qlik) -> None:
    name = unique("Twin")
    twins = [qlik.task(name), qlik.task(name.upper())]
    other = qlik.task()
    answer = each.sender.ask({"taskName": name, "taskId": other})
    assert answer["code"] == "ambiguous_task_name"
    assert all(twin in answer["details"] for twin in twins)
    assert [qlik.posts(task) for task in (*twins, other)] == [0, 0, 0]


def test_all_must_exist_starts_nothing_when_one_selector_means_nothing(each: Place, qlik: Qlik) -> None:
    task = qlik.task()
    answer = each.sender.ask({"taskId": task, "tag": "nobody-has-it", "allMustExist": True})
    assert answer["code"] == "all_must_exist"
    assert answer["tasksNotFound"] == [{"tag": "nobody-has-it"}]
    assert answer["tasksDenied"] == []
    assert qlik.posts(task) == 0
    assert each.sender.ask({"taskId": task, "allMustExist": True})["status"] == "ok"


def test_more_tasks_than_allowed_are_refused_and_none_is_started(sender: Sender, qlik: Qlik) -> None:
    tag = unique("crowd")
    tasks = qlik.tasks(201, tags=[tag])
    answer = sender.ask({"tag": tag})
    assert answer["code"] == "too_many_tasks"
    assert "201" in answer["details"]
    assert sum(qlik.posts(task) for task in tasks[:5]) == 0
    several = sender.ask({"taskId": tasks[:120], "dryRun": True})
    assert len(several["tasksWouldStart"]) == 120


def test_a_list_that_the_server_cuts_is_completed(sender: Sender, qlik: Qlik) -> None:
    tag = unique("cut")
    tasks = qlik.tasks(23, tags=[tag])
    qlik.switch(listLimit=10)
    answer = sender.ask({"tag": tag, "dryRun": True})
    assert {entry["taskId"] for entry in answer["tasksWouldStart"]} == set(tasks)


def test_a_task_that_was_made_after_a_miss_is_found(sender: Sender, qlik: Qlik) -> None:
    """What was not found is never answered from a cache."""
    tag = unique("late")
    assert sender.ask({"tag": tag})["status"] == "failed"
    task = qlik.task(tags=[tag])
    assert [entry["taskId"] for entry in sender.ask({"tag": tag})["tasksStarted"]] == [task]

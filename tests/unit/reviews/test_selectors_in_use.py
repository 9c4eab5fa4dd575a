"""What a review says of selectors."""

from __future__ import annotations

import pytest

from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.journal.usage import SelectorUse, TaskUse, Usage
from butler_mqtt.reviews import selectors_in_use
from butler_mqtt.reviews.site_tasks import SiteTasks
from butler_mqtt.settings import Settings, StartTask, StartTaskFilter

ID, OTHER = "11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"
SALES = Task(id=ID, name="Sales", tags=("daily-reports",))
BY_ID = Selector(SelectorKind.TASK_ID, ID)
DAILY = Selector(SelectorKind.TAG, "daily-reports")


def not_found(selector: Selector, site: SiteTasks | None, **names: str) -> list[tuple[str, str]]:
    usage = Usage(0, not_found=[SelectorUse(selector, 2, 7)])
    return [(one.text, one.advice) for one in selectors_in_use.not_found(usage, site, names)]


def gone(usage: Usage, site: SiteTasks | None, names: dict[str, str]) -> list[tuple[str, str, int]]:
    return [(one.text, one.advice, one.row) for one in selectors_in_use.gone(usage, site, names)]


def asked(site: SiteTasks | None, settings: Settings) -> str:
    (line,) = selectors_in_use.asked(Usage(0, asked=[SelectorUse(DAILY, 3, 7)]), site, settings)
    return f"{line.text} -> {line.advice}"


def test_a_tag_that_is_still_not_there_is_held_against_those_that_are() -> None:
    ((text, advice),) = not_found(Selector(SelectorKind.TAG, "daly-reports"), SiteTasks([SALES]))
    assert text == "tag daly-reports found nothing in 2 requests"
    assert advice == "correct it at the sender; daily-reports is there: a misspelling of it?"


def test_a_selector_that_means_something_by_now_needs_nothing() -> None:
    ((_, advice),) = not_found(DAILY, SiteTasks([SALES]))
    assert advice == "it means 1 task now: nothing to do"


def test_without_an_answer_of_the_server_the_review_says_so() -> None:
    ((_, advice),) = not_found(DAILY, None)
    assert advice.startswith("what it means now could not be asked")


def test_the_id_of_a_task_that_was_there_once_is_told_as_a_task_that_is_gone() -> None:
    usage = Usage(0, not_found=[SelectorUse(BY_ID, 2, 7)])
    names = {ID: "Sales"}
    assert list(selectors_in_use.not_found(usage, SiteTasks([]), names)) == []
    ((text, advice, row),) = gone(usage, SiteTasks([Task(id=OTHER, name="SALES")]), names)
    assert text == f"the server shows no task {ID} (Sales) any more; 2 requests for it found nothing"
    assert advice == f"a task called Sales is there now: let the sender ask for {OTHER}, or by taskName"
    assert row == 7


def test_a_task_that_requests_named_by_its_id_before_it_went_is_gone_too() -> None:
    usage = Usage(0, tasks={ID: TaskUse("Sales", 9, 8), OTHER: TaskUse("Stock", 9, 0)})
    ((text, advice, row),) = gone(usage, SiteTasks([]), {})
    assert text == f"the server shows no task {ID} (Sales) any more"
    assert advice.startswith("no task is called Sales now")
    assert row == 8


def test_of_several_tasks_of_the_name_none_is_guessed() -> None:
    usage = Usage(0, tasks={ID: TaskUse("Sales", 9, 8)})
    site = SiteTasks([Task(id=OTHER, name="Sales"), Task(id=OTHER[:-1] + "3", name="Sales")])
    ((_, advice, _),) = gone(usage, site, {})
    assert advice.startswith("2 tasks are called Sales now")


def test_without_an_answer_of_the_server_only_what_was_not_found_is_gone() -> None:
    usage = Usage(0, not_found=[SelectorUse(BY_ID, 2, 7)], tasks={OTHER: TaskUse("Stock", 9, 8)})
    ((text, advice, _),) = gone(usage, None, {ID: "Sales"})
    assert ID in text
    assert advice.startswith("whether a task has this name now could not be asked")


@pytest.mark.parametrize(
    ("tasks", "settings", "line"),
    [
        ([SALES], Settings(), "1 task, 3 requests -> nothing to do if"),
        ([], Settings(), "0 tasks, 3 requests -> no task has it now"),
        (
            [SALES, Task(id=OTHER, name="Stock", tags=("daily-reports",))],
            Settings(start_task=StartTask(max_tasks_per_request=1)),
            "2 tasks, 3 requests -> more than startTask.maxTasksPerRequest (1)",
        ),
        (
            [SALES, Task(id=OTHER, name="Stock", tags=("daily-reports",))],
            Settings(start_task_filter=StartTaskFilter(enable=True, task_ids=frozenset({ID}))),
            "2 tasks, 3 requests -> startTaskFilter denies 1 of them",
        ),
        (
            [Task(id=ID, name="Sales", tags=("daily-reports",), enabled=False)],
            Settings(),
            "1 task, 3 requests -> 1 of them cannot start",
        ),
    ],
    ids=["well", "none", "too many", "denied", "disabled"],
)
def test_a_tag_in_use_says_how_many_tasks_it_means_and_what_is_wrong_with_them(
    tasks: list[Task], settings: Settings, line: str
) -> None:
    assert asked(SiteTasks(tasks), settings).startswith(f"tag daily-reports: {line}")


def test_what_is_wrong_stands_first() -> None:
    other = Selector(SelectorKind.CUSTOM_PROPERTY, "nightly", "Group")
    usage = Usage(0, asked=[SelectorUse(DAILY, 30, 1), SelectorUse(other, 3, 2)])
    lines = [one.text for one in selectors_in_use.asked(usage, SiteTasks([SALES]), Settings())]
    assert lines == ["Group=nightly: 0 tasks, 3 requests", "tag daily-reports: 1 task, 30 requests"]

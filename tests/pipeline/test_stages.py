"""Stages: one after another, each resolved again when it begins, durable at every step (design 4.7)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from butler_mqtt.clock import now_ms, to_ms
from butler_mqtt.contract.request_status import request_status
from butler_mqtt.domain.model import TaskType
from butler_mqtt.errors import QlikRefused, QlikUnavailable
from butler_mqtt.journal import deletion, held_requests, tables
from butler_mqtt.journal.status_rows import StatusReader
from butler_mqtt.settings import Settings, StartTask, StartTaskFilter
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import Crash, cut_after_effect

NAMES = ("extract", "transform", "publish")
CHAIN: dict[str, Any] = {"requestId": "night", "stages": [{"name": name, "tag": name} for name in NAMES]}
TO_THE_END = CHAIN | {"wait": "finished"}


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def chain(harness: Harness) -> list[str]:
    """Make a task for each stage and return their ids."""
    return [harness.site.add(f"{name} 1", tags=(name,)) for name in NAMES]


def posted(harness: Harness, *tasks: str) -> None:
    """Step until exactly these starts had an effect, in this order."""
    harness.until(lambda: len(harness.site.posts) >= len(tasks))
    for _ in range(3):
        harness.step()
    assert harness.site.posts == list(tasks)


def ends(harness: Harness, task: str, status: int = 7) -> None:
    """Let the execution of a task end and the daemon learn of it."""
    harness.until(lambda: harness.site.running(task))
    harness.site.end(task, status)
    for _ in range(3):
        harness.step()


def summary(reply: dict[str, Any]) -> list[tuple[int, str, int]]:
    return [(one["stage"], one["status"], one["tasks"]) for one in reply["stages"]]


def stages(harness: Harness) -> list[str]:
    return [row["state"] for row in harness.rows(tables.stages)]


def starts(harness: Harness) -> dict[str, str]:
    return {row["task_name"]: row["state"] for row in harness.rows(tables.starts)}


def told(harness: Harness) -> list[tuple[str, int, str]]:
    """Return the events about stages."""
    of_stages = [
        json.loads(one.payload)
        for one in harness.broker.events
        if one.topic == "qliksense/task/event/request/night"
    ]
    return [(one["event"], one["stage"], one["status"]) for one in of_stages]


# ---- order


def test_a_stage_begins_when_every_execution_of_the_one_before_has_ended(harness: Harness) -> None:
    first, last = harness.site.add("a", tags=("extract",)), harness.site.add("b", tags=("transform",))
    second = harness.site.add("c", tags=("extract",))
    harness.send(CHAIN | {"stages": CHAIN["stages"][:2]})
    posted(harness, first, second)
    ends(harness, first)
    posted(harness, first, second)
    ends(harness, second)
    posted(harness, first, second, last)


def test_the_reply_comes_when_the_first_stage_is_decided_and_names_the_stage_of_each_task(
    harness: Harness,
) -> None:
    tasks = chain(harness)
    reply = harness.ask(CHAIN)
    [started] = reply["tasksStarted"]
    assert (started["taskId"], started["stage"]) == (tasks[0], 1)
    assert [(one["stage"], one["reason"], one["behind"]) for one in reply["tasksQueued"]] == [
        (2, "stage", None),
        (3, "stage", None),
    ]
    assert summary(reply) == [(1, "running", 1), (2, "waiting", 1), (3, "waiting", 1)]
    assert [one["name"] for one in reply["stages"]] == list(NAMES)
    assert (reply["status"], "outcome" in reply) == ("ok", False)


def test_the_reply_at_the_end_comes_when_all_stages_are_over(harness: Harness) -> None:
    tasks = chain(harness)
    harness.send(TO_THE_END)
    for task in tasks:
        assert harness.replies() == []
        ends(harness, task)
    [reply] = harness.replied()
    assert summary(reply) == [(number, "succeeded", 1) for number in (1, 2, 3)]
    assert reply["outcome"] == "succeeded"
    assert [(one["stage"], one["result"]) for one in reply["tasksStarted"]] == [
        (number, "succeeded") for number in (1, 2, 3)
    ]


def test_a_failure_stops_what_comes_later(harness: Harness) -> None:
    tasks = chain(harness)
    harness.send(TO_THE_END)
    ends(harness, tasks[0])
    ends(harness, tasks[1], 8)
    [reply] = harness.replied()
    posted(harness, tasks[0], tasks[1])
    assert summary(reply) == [(1, "succeeded", 1), (2, "failed", 1), (3, "notStarted", 1)]
    [failed] = reply["tasksFailed"]
    assert (failed["taskId"], failed["stage"], failed["status"]) == (tasks[2], 3, "notStarted")
    assert failed["code"] == "previous_stage_failed"
    assert "stage 2" in failed["details"]
    assert (reply["status"], reply["outcome"]) == ("partial", "partial")


def test_with_continue_the_next_stage_begins_all_the_same(harness: Harness) -> None:
    tasks = chain(harness)
    goes_on = [{"tag": name, "onFailure": "continue"} for name in NAMES]
    harness.send(TO_THE_END | {"stages": goes_on})
    ends(harness, tasks[0], 8)
    ends(harness, tasks[1], 6)
    ends(harness, tasks[2])
    [reply] = harness.replied()
    assert summary(reply) == [(1, "failed", 1), (2, "failed", 1), (3, "succeeded", 1)]
    assert reply["outcome"] == "partial"
    assert "name" not in reply["stages"][0]


def test_a_task_that_several_stages_name_runs_once_in_the_first(harness: Harness) -> None:
    both = harness.site.add("both", tags=("extract", "transform"))
    later = harness.site.add("later", tags=("transform",))
    harness.send(TO_THE_END | {"stages": CHAIN["stages"][:2]})
    ends(harness, both)
    ends(harness, later)
    [reply] = harness.replied()
    posted(harness, both, later)
    assert summary(reply) == [(1, "succeeded", 1), (2, "succeeded", 1)]


def test_a_retry_is_not_an_end(harness: Harness) -> None:
    first, second, _ = chain(harness)
    harness.send(CHAIN)
    harness.until(lambda: harness.site.running(first))
    [newest] = harness.site.history[first]
    harness.site.history[first] = [newest.__class__(**{**fields(newest), "status": 10})]
    for _ in range(4):
        harness.step()
    assert harness.site.posts == [first]
    ends(harness, first)
    posted(harness, first, second)


def fields(execution: Any) -> dict[str, Any]:
    return {name: getattr(execution, name) for name in execution.__dataclass_fields__}


def test_what_cannot_be_tracked_counts_as_succeeded_once_it_was_taken(harness: Harness) -> None:
    spread = harness.site.add("spread", task_type=int(TaskType.DISTRIBUTE), tags=("extract",))
    later = harness.site.add("later", tags=("transform",))
    harness.send(CHAIN | {"stages": CHAIN["stages"][:2]})
    posted(harness, spread, later)


def test_a_stage_whose_tasks_all_ran_before_is_passed(harness: Harness) -> None:
    task, last = (
        harness.site.add("a", tags=("extract", "transform")),
        harness.site.add("b", tags=("publish",)),
    )
    harness.send(TO_THE_END)
    ends(harness, task)
    ends(harness, last)
    [reply] = harness.replied()
    assert summary(reply) == [(1, "succeeded", 1), (2, "succeeded", 0), (3, "succeeded", 1)]


# ---- what fails a stage


def test_what_a_later_stage_does_not_find_is_told_at_once_and_the_first_begins(harness: Harness) -> None:
    task = harness.site.add("a", tags=("extract",))
    reply = harness.ask(TO_THE_END | {"wait": "started"})
    assert reply["tasksNotFound"] == [{"tag": "transform"}, {"tag": "publish"}]
    assert summary(reply) == [(1, "running", 1), (2, "waiting", 0), (3, "waiting", 0)]
    assert reply["status"] == "partial"
    posted(harness, task)
    ends(harness, task)
    harness.until(lambda: stages(harness) == ["succeeded", "failed", "notStarted"])


def test_a_first_stage_that_finds_nothing_stops_the_request(harness: Harness) -> None:
    harness.site.add("b", tags=("transform",))
    reply = harness.ask(TO_THE_END)
    assert summary(reply) == [(1, "failed", 0), (2, "notStarted", 1), (3, "notStarted", 0)]
    assert [one["code"] for one in reply["tasksFailed"]] == ["previous_stage_failed"]
    assert (reply["status"], reply["outcome"]) == ("failed", "failed")
    assert harness.site.posts == []


def test_with_all_must_exist_a_later_stage_that_finds_nothing_starts_nothing(harness: Harness) -> None:
    harness.site.add("a", tags=("extract",))
    reply = harness.ask(CHAIN | {"allMustExist": True})
    assert reply["code"] == "all_must_exist"
    assert reply["tasksNotFound"] == [{"tag": "transform"}, {"tag": "publish"}]
    assert harness.site.posts == []


def test_a_task_that_may_not_be_started_fails_its_stage(make_harness: MakeHarness) -> None:
    allow = StartTaskFilter(enable=True, tags=("extract",))
    harness = make_harness(Settings(start_task_filter=allow))
    first, _, _ = chain(harness)
    reply = harness.ask(CHAIN)
    assert [(one["taskName"], one["stage"]) for one in reply["tasksDenied"]] == [
        ("transform 1", 2),
        ("publish 1", 3),
    ]
    assert [one["tasks"] for one in reply["stages"]] == [1, 0, 0]
    ends(harness, first)
    harness.until(lambda: stages(harness) == ["succeeded", "failed", "notStarted"])
    posted(harness, first)


def test_a_disabled_task_stops_the_request_with_the_reply(harness: Harness) -> None:
    harness.site.add("off", tags=("extract",), enabled=False)
    harness.site.add("later", tags=("transform",))
    reply = harness.ask(CHAIN)
    assert [one["code"] for one in reply["tasksFailed"]] == ["task_disabled", "previous_stage_failed"]
    assert summary(reply)[:2] == [(1, "failed", 1), (2, "notStarted", 1)]


def test_an_unreachable_server_refuses_the_request_as_a_whole_and_frees_its_id(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.3)))
    tasks = chain(harness)
    harness.ask(CHAIN | {"dryRun": True, "requestId": "before"})
    harness.site.down = True
    assert harness.ask(CHAIN)["code"] == "qrs_unavailable"
    assert stages(harness)[3:] == ["failed", "notStarted", "notStarted"] or stages(harness)[3:] == []
    harness.site.down = False
    assert harness.ask(CHAIN)["tasksStarted"][0]["taskId"] == tasks[0]


# ---- resolved again


def test_a_stage_is_resolved_again_when_it_begins(harness: Harness) -> None:
    first, second, _ = chain(harness)
    harness.ask(CHAIN)
    new = harness.site.add("new", tags=("transform",))
    harness.site.change(second, tags=())
    ends(harness, first)
    posted(harness, first, new)
    assert starts(harness)["transform 1"] == "notStarted"
    ends(harness, new)
    harness.until(lambda: stages(harness) == ["succeeded", "failed", "notStarted"])


def test_a_task_that_was_deleted_is_not_found_when_its_stage_begins(harness: Harness) -> None:
    first, second = harness.site.add("a"), harness.site.add("b")
    harness.send(TO_THE_END | {"stages": [{"taskId": first}, {"taskId": second}]})
    harness.until(lambda: harness.site.running(first))
    del harness.site.tasks[second]
    ends(harness, first)
    [reply] = harness.replied()
    assert reply["tasksNotFound"] == [{"taskId": second}]
    assert summary(reply)[1][1] == "failed"


def test_the_allow_list_is_asked_again_when_a_stage_begins(make_harness: MakeHarness) -> None:
    allow = StartTaskFilter(enable=True, tags=("open",))
    harness = make_harness(Settings(start_task_filter=allow))
    first = harness.site.add("a", tags=("extract", "open"))
    second = harness.site.add("b", tags=("transform", "open"))
    harness.send(TO_THE_END | {"stages": CHAIN["stages"][:2]})
    harness.until(lambda: harness.site.running(first))
    harness.site.change(second, tags=("transform",))
    ends(harness, first)
    [reply] = harness.replied()
    assert [one["taskId"] for one in reply["tasksDenied"]] == [second]
    events = [json.loads(one.payload) for one in harness.broker.events]
    assert [one["event"] for one in events if one.get("taskId") == second] == ["queued", "failed"]
    assert summary(reply) == [(1, "succeeded", 1), (2, "failed", 0)]
    assert harness.site.posts == [first]


def test_a_task_that_is_named_by_an_earlier_stage_by_then_runs_in_that(harness: Harness) -> None:
    first, second, third = chain(harness)
    harness.send(TO_THE_END)
    harness.until(lambda: harness.site.running(first))
    harness.site.change(third, tags=("transform", "publish"))
    ends(harness, first)
    posted(harness, first, second, third)
    for task in (second, third):
        ends(harness, task)
    [reply] = harness.replied()
    assert summary(reply) == [(1, "succeeded", 1), (2, "succeeded", 2), (3, "succeeded", 0)]


def test_tasks_of_all_stages_count_against_the_limit(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_tasks_per_request=3)))
    first, second, _ = chain(harness)
    harness.ask(CHAIN)
    harness.site.add("new", tags=("transform",))
    ends(harness, first)
    harness.until(lambda: stages(harness) == ["succeeded", "failed", "notStarted"])
    assert harness.site.posts == [first]
    rows = {row["task_id"]: row["code"] for row in harness.rows(tables.starts)}
    assert rows[second] == "too_many_tasks"
    harness.site.add("one more", tags=("publish",))
    assert harness.ask(CHAIN | {"requestId": "again"})["code"] == "too_many_tasks"


def test_a_server_that_does_not_answer_when_a_stage_begins_is_waited_for(harness: Harness) -> None:
    first, second, _ = chain(harness)
    harness.ask(CHAIN)
    harness.site.resolve_errors.extend([QlikUnavailable("connection refused")] * 3)
    ends(harness, first)
    posted(harness, first, second)


def test_a_server_that_never_answers_when_a_stage_begins_fails_it(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.3)))
    first, second, _ = chain(harness)
    harness.ask(CHAIN)
    harness.until(lambda: harness.site.running(first))
    harness.site.resolve_errors.extend([QlikUnavailable("connection refused")] * 10_000)
    ends(harness, first)
    harness.until(lambda: stages(harness) == ["succeeded", "failed", "notStarted"])
    assert {row["task_id"]: row["code"] for row in harness.rows(tables.starts)}[second] == "qrs_unavailable"


def test_a_server_that_refuses_to_answer_when_a_stage_begins_fails_it(harness: Harness) -> None:
    first, second, _ = chain(harness)
    harness.ask(CHAIN)
    harness.site.resolve_errors.append(QlikRefused("403", 403))
    ends(harness, first)
    harness.until(lambda: stages(harness) == ["succeeded", "failed", "notStarted"])
    assert {row["task_id"]: row["code"] for row in harness.rows(tables.starts)}[second] == "qrs_forbidden"


# ---- with everything else


def test_a_task_that_runs_already_is_waited_for_inside_a_stage(harness: Harness) -> None:
    first, second, third = chain(harness)
    harness.ask(CHAIN)
    harness.until(lambda: harness.site.running(first))
    harness.site.begin(second)
    ends(harness, first)
    harness.until(lambda: harness.rows(tables.starts)[1]["reason"] == "running")
    assert harness.site.posts == [first]
    ends(harness, second)
    posted(harness, first, second)
    ends(harness, second)
    posted(harness, first, second, third)


@pytest.mark.parametrize(("status", "stage"), [(7, "succeeded"), (8, "failed"), (6, "failed")])
def test_a_skipped_task_counts_with_the_execution_it_was_skipped_for(
    harness: Harness, status: int, stage: str
) -> None:
    first, second, third = chain(harness)
    harness.site.begin(second)
    harness.send(TO_THE_END | {"ifRunning": "skip"})
    ends(harness, first)
    harness.until(lambda: starts(harness)["transform 1"] == "skipped")
    posted(harness, first)
    harness.restart()
    assert harness.replies() == []
    ends(harness, second, status)
    harness.until(lambda: stages(harness)[1] == stage)
    if stage == "succeeded":
        posted(harness, first, third)
        ends(harness, third)
    [reply] = harness.replied()
    [skipped] = reply["tasksSkipped"]
    assert (skipped["stage"], skipped["result"]) == (2, {7: "succeeded", 8: "failed", 6: "aborted"}[status])
    assert reply["outcome"] == ("succeeded" if stage == "succeeded" else "partial")


def test_a_run_in_doubt_is_reconciled_inside_a_stage(harness: Harness) -> None:
    first, second, third = chain(harness)
    harness.ask(CHAIN)
    harness.site.script.append(cut_after_effect)
    ends(harness, first)
    harness.until(lambda: harness.rows(tables.starts)[1]["state"] == "running")
    assert harness.rows(tables.starts)[1]["adopted"]
    ends(harness, second)
    posted(harness, first, second, third)


def test_an_execution_from_before_its_stage_does_not_serve_a_start(harness: Harness) -> None:
    """What ran while the stage before was still writing has not seen all of its data."""
    first, second, _ = chain(harness)
    harness.ask(CHAIN)
    harness.site.begin(second)
    harness.site.end(second)
    harness.site.begin(second)
    ends(harness, first)
    ends(harness, second)
    posted(harness, first, second)


def test_what_has_not_begun_when_the_time_is_over_never_begins(harness: Harness) -> None:
    first, _, _ = chain(harness)
    harness.send(TO_THE_END | {"wait": "started", "expiresAt": soon(0.8)})
    harness.until(lambda: harness.site.running(first))
    harness.until(
        lambda: starts(harness) == {"extract 1": "running", "transform 1": "expired", "publish 1": "expired"}
    )
    ends(harness, first)
    harness.until(lambda: stages(harness) == ["succeeded", "failed", "notStarted"])
    posted(harness, first)


def test_nothing_begins_before_its_time(harness: Harness) -> None:
    first, second, _ = chain(harness)
    reply = harness.ask(CHAIN | {"notBefore": soon(0.6)})
    assert [(one["stage"], one["reason"]) for one in reply["tasksQueued"]] == [
        (1, "notBefore"),
        (2, "stage"),
        (3, "stage"),
    ]
    assert summary(reply)[0] == (1, "waiting", 1)
    harness.restart()
    assert harness.site.posts == []
    posted(harness, first)
    ends(harness, first)
    posted(harness, first, second)


def test_requests_that_wait_for_their_time_begin_in_its_order_and_are_looked_at_only_then(
    harness: Harness,
) -> None:
    tasks = dict(zip(NAMES, chain(harness), strict=True))
    begin = datetime.now(UTC) + timedelta(seconds=1.5)
    times = {
        name: begin + timedelta(seconds=later)
        for name, later in (("publish", 0.3), ("extract", 0.0), ("transform", 0.15))
    }
    for name, time in times.items():
        harness.ask({"notBefore": time.isoformat(), "stages": [{"tag": name}]})
    harness.step()
    assert harness.pipeline.turns.stages._due_at == to_ms(begin)
    for name in NAMES:
        harness.until(partial(harness.site.posts.__contains__, tasks[name]))
        assert datetime.now(UTC) >= times[name]
    assert harness.site.posts == list(tasks.values())


def test_a_rehearsal_names_the_tasks_of_all_stages(harness: Harness) -> None:
    chain(harness)
    reply = harness.ask(TO_THE_END | {"dryRun": True})
    assert [(one["taskName"], one["stage"]) for one in reply["tasksWouldStart"]] == [
        ("extract 1", 1),
        ("transform 1", 2),
        ("publish 1", 3),
    ]
    assert summary(reply) == [(number, "notStarted", 1) for number in (1, 2, 3)]
    assert reply["outcome"] == "succeeded"
    for _ in range(3):
        harness.step()
    assert (harness.site.posts, told(harness)) == ([], [])


def test_requests_with_stages_to_come_are_bounded_though_they_have_their_reply(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_open_requests=2)))
    tasks = [harness.site.add(f"a{number}") for number in range(2)]
    for number in range(2):
        harness.ask({"stages": [{"taskName": f"a{number}"}, {"tag": "none"}]})
    harness.send({"tag": "later"})
    for _ in range(3):
        harness.step()
    assert len(harness.broker.acknowledged) == 2
    assert "stages to come" in (harness.pipeline.obstacle or "")
    ends(harness, tasks[0])
    harness.until(lambda: len(harness.broker.acknowledged) == 3)
    assert harness.pipeline.obstacle is None


def test_capacity_holds_inside_stages(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_reloads=1)))
    tasks = [harness.site.add(f"a{number}", tags=("extract",)) for number in range(3)]
    last = harness.site.add("b", tags=("transform",))
    harness.send(CHAIN | {"stages": CHAIN["stages"][:2]})
    for number, task in enumerate(tasks, 1):
        posted(harness, *tasks[:number])
        ends(harness, task)
    posted(harness, *tasks, last)


def test_many_staged_requests_at_once_share_executions(harness: Harness) -> None:
    tasks = chain(harness)
    for number in range(50):
        harness.send(TO_THE_END | {"requestId": f"r{number}"})

    while len(harness.replies()) < 50:
        for _ in range(60):  # executions take their time
            harness.step()
        for task in tasks:
            if harness.site.running(task):
                harness.site.end(task)
    assert {reply["outcome"] for reply in harness.replies()} == {"succeeded"}
    assert max(harness.site.posts.count(task) for task in tasks) <= 2


# ---- told


def test_each_stage_is_told_when_it_begins_and_ends(harness: Harness) -> None:
    first, second, _ = chain(harness)
    harness.send(CHAIN)
    ends(harness, first)
    ends(harness, second, 8)
    harness.until(lambda: len(told(harness)) == 4)
    assert told(harness) == [
        ("stageStarted", 1, "running"),
        ("stageEnded", 1, "succeeded"),
        ("stageStarted", 2, "running"),
        ("stageEnded", 2, "failed"),
    ]


def test_an_equal_request_gets_the_stored_reply(harness: Harness) -> None:
    chain(harness)
    first = harness.ask(CHAIN)
    assert harness.ask(CHAIN) == first
    other = CHAIN | {"stages": [*CHAIN["stages"][:2], CHAIN["stages"][2] | {"onFailure": "continue"}]}
    assert harness.ask(other)["code"] == "request_id_conflict"


def test_the_present_state_shows_where_each_stage_stands(harness: Harness) -> None:
    def state() -> dict[str, Any]:
        rows = StatusReader(harness.path).request("night")
        assert rows is not None
        return request_status(rows.request, rows.deliveries, rows.starts, rows.stages)

    first, second, third = chain(harness)
    harness.ask(CHAIN)
    ends(harness, first)
    posted(harness, first, second)
    shown = state()
    assert [(one["status"], "startedAt" in one, "endedAt" in one) for one in shown["stages"]] == [
        ("succeeded", True, True),
        ("running", True, False),
        ("waiting", False, False),
    ]
    assert (shown["finished"], "outcome" in shown) == (False, False)
    assert [one["stage"] for one in (*shown["tasksStarted"], *shown["tasksQueued"])] == [1, 2, 3]
    for task in (second, third):
        ends(harness, task)
    harness.until(lambda: state()["finished"])
    assert state()["outcome"] == "succeeded"


# ---- killed


#: What happens in one round, step by step.
STEPS = ("turn", "find", "turn", "post", "turn", "snapshot", "turn", "follow", "turn")
#: Kills are so many steps apart, so that it gets on between them; beginning at each, every step is hit.
APART = 31
KILLS = [
    *((first, "between") for first in range(APART)),
    *((first, where) for first in range(0, APART, 3) for where in ("before", "after")),
]


@pytest.mark.parametrize(("first", "where"), KILLS)
def test_killed_at_any_step_no_stage_is_repeated_or_skipped(harness: Harness, first: int, where: str) -> None:
    tasks = chain(harness)
    harness.send(TO_THE_END)
    harness.until(lambda: harness.broker.acknowledged)
    done = 0
    while stages(harness) != ["succeeded"] * 3 or harness.open_rows():
        assert done < 500, stages(harness)
        for step in STEPS:
            kill = done % APART == first
            done += 1
            if kill and where != "between":
                harness.journal.fail(where, Crash())
            try:
                getattr(harness, step)()
            except Crash:
                harness.restart()
            if kill and where == "between":
                harness.restart()
        for task in tasks:
            if harness.site.running(task):
                harness.site.end(task)
    posted(harness, *tasks)
    harness.quiet()
    assert len({one.payload for one in harness.broker.published if one.delivery is not None}) == 1
    assert list(dict.fromkeys(told(harness))) == [
        (event, stage, status)
        for stage in (1, 2, 3)
        for event, status in (("stageStarted", "running"), ("stageEnded", "succeeded"))
    ]


def test_a_request_whose_stages_are_open_is_not_forgotten_whenever_it_was_closed(harness: Harness) -> None:
    first, _, _ = chain(harness)
    harness.ask(CHAIN)
    ends(harness, first)
    harness.until(lambda: not harness.rows_unpublished())
    [request] = harness.rows(tables.requests)
    assert request["state"] == "closed"
    with harness.journal.transaction() as transaction:
        cursor = transaction.connection.cursor()
        assert deletion.staying(cursor, [request["id"]], with_dead_letters=True) == {request["id"]}


def test_what_was_restored_from_a_backup_begins_no_stage_until_it_is_resumed(harness: Harness) -> None:
    first, second, _ = chain(harness)
    harness.ask(CHAIN)
    harness.until(lambda: harness.site.running(first))
    harness.site.end(first)
    with harness.journal.transaction() as transaction:
        held_requests.hold(transaction, now_ms())
    harness.restart()
    for _ in range(5):
        harness.step()
    assert harness.site.posts == [first]
    with harness.journal.transaction() as transaction:
        held_requests.release(transaction, [], cancel=False)
    harness.restart()
    posted(harness, first, second)


def test_what_an_operator_discards_after_a_restore_begins_no_further_stage(harness: Harness) -> None:
    first, _, _ = chain(harness)
    harness.ask(CHAIN)
    harness.until(lambda: harness.site.running(first))
    with harness.journal.transaction() as transaction:
        held_requests.hold(transaction, now_ms())
        held_requests.release(transaction, [], cancel=True)
    harness.restart()
    ends(harness, first)
    harness.until(lambda: stages(harness) == ["succeeded", "notStarted", "notStarted"])
    assert starts(harness) == {"extract 1": "succeeded", "transform 1": "cancelled", "publish 1": "cancelled"}
    assert harness.site.posts == [first]


# ---- cancelled


def test_a_cancel_takes_back_what_waits_for_its_stage_and_lets_the_first_run_on(harness: Harness) -> None:
    first, _, _ = chain(harness)
    harness.send(TO_THE_END, correlation=b"end")
    harness.until(lambda: harness.site.running(first))
    reply = harness.ask({"requestId": "back", "cancel": "night"})
    assert [one["taskName"] for one in reply["tasksCancelled"]] == ["transform 1", "publish 1"]
    assert [one["taskName"] for one in reply["tasksRunning"]] == ["extract 1"]
    harness.restart()
    ends(harness, first)
    harness.until(lambda: stages(harness) == ["succeeded", "notStarted", "notStarted"])
    answer = harness.replied(2)[-1]
    assert [(one["stage"], one["status"]) for one in answer["tasksFailed"]] == [
        (2, "cancelled"),
        (3, "cancelled"),
    ]
    posted(harness, first)


def test_a_stage_without_tasks_does_not_begin_after_a_cancel(harness: Harness) -> None:
    first = harness.site.add("a", tags=("extract",))
    harness.ask(CHAIN | {"stages": [{"tag": "extract", "onFailure": "continue"}, {"tag": "transform"}]})
    harness.ask({"requestId": "back", "cancel": "night"})
    harness.site.add("b", tags=("transform",))
    ends(harness, first)
    harness.until(lambda: stages(harness) == ["succeeded", "notStarted"])
    posted(harness, first)


# ---- capacity


def test_a_request_that_needs_more_than_there_is_says_so_with_its_place(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_reloads=2)))
    tasks = [harness.site.add(f"a{number}") for number in range(5)]
    reply = harness.ask({"taskId": tasks})
    assert len(reply["tasksStarted"]) == 2
    assert [(one["reason"], one["place"]) for one in reply["tasksQueued"]] == [
        ("capacity", 1),
        ("capacity", 2),
        ("capacity", 3),
    ]
    events = [json.loads(one.payload) for one in harness.broker.events]
    assert [event["place"] for event in events if event["event"] == "queued"] == [1, 2, 3]


def test_a_request_of_200_tasks_does_not_keep_a_single_start_waiting_for_all(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_reloads=1)))
    many = [harness.site.add(f"a{number}") for number in range(200)]
    single = harness.site.add("single")
    harness.ask({"taskId": many})
    reply = harness.ask({"taskId": single})
    assert reply["tasksQueued"][0]["place"] <= 2
    for task in harness.site.posts:
        ends(harness, task)
        if single in harness.site.posts:
            break
    assert len(harness.site.posts) <= 4


def test_many_starts_that_wait_for_capacity_do_not_keep_others_from_being_decided(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(
        Settings(start_task=StartTask(max_concurrent_reloads=1, max_tasks_per_request=2000))
    )
    for number in range(1200):
        harness.site.add(f"a{number}", tags=("many",))
    single = harness.site.add("single")
    harness.ask({"tag": "many"})
    assert harness.ask({"taskId": single})["tasksQueued"][0]["reason"] == "capacity"


def test_a_start_that_waits_for_capacity_until_its_time_is_over_expires_once(
    make_harness: MakeHarness, caplog: pytest.LogCaptureFixture
) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_reloads=1)))
    busy, task = harness.site.add("busy"), harness.site.add("a")
    harness.ask({"taskId": busy})
    harness.send({"taskId": task, "notBefore": soon(0.2), "expiresAt": soon(0.7)})
    harness.until(lambda: starts(harness).get("a") == "expired")
    assert "bug" not in {getattr(record, "action", "") for record in caplog.records}

"""Everything that starts, on a site that reloads an app once at a time."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Place
from tests.acceptance.rig import Qlik
from tests.acceptance.task_events import event


@pytest.fixture(autouse=True)
def one_reload_of_an_app(qlik: Qlik) -> None:
    qlik.switch(sameApp="empty")


def test_all_tasks_of_one_app_run_one_after_the_other(place: Place, qlik: Qlik) -> None:
    app = {"name": "One app for five tasks"}
    tasks = qlik.tasks(5, app=app, durationSeconds=0.2)
    reply = place.sender.ask(
        {"requestId": f"five-{tasks[0]}", "taskId": tasks, "wait": "finished"}, seconds=60
    )
    assert (reply["status"], reply["outcome"]) == ("ok", "succeeded")
    assert [qlik.executions(task) for task in tasks] == [1] * 5


def test_tasks_of_other_apps_and_kinds_do_not_wait(place: Place, qlik: Qlik) -> None:
    busy = qlik.task(app={"name": "Busy app"}, result="never")
    qlik.begin(busy)
    others = [qlik.task(), qlik.task(type="externalProgram"), qlik.task(type="userSync")]
    reply = place.sender.ask({"taskId": others})
    assert len(reply["tasksStarted"]) == 3
    qlik.end(busy)


def test_a_start_waits_behind_a_foreign_execution_of_its_app(place: Place, qlik: Qlik) -> None:
    app = {"name": "App of a foreign execution"}
    foreign, ours = qlik.task(app=app, result="never"), qlik.task(app=app)
    execution = qlik.begin(foreign)
    reply = place.sender.ask({"requestId": f"behind-{ours}", "taskId": ours})
    [queued] = reply["tasksQueued"]
    assert (queued["reason"], queued["behind"]) == ("running", execution)
    qlik.end(foreign)
    assert event(place.sender, f"behind-{ours}")["event"] == "succeeded"
    assert qlik.executions(ours) == 1


def test_a_start_that_skips_names_what_runs_of_its_app(place: Place, qlik: Qlik) -> None:
    app = {"name": "App of a skipped start"}
    foreign, ours = qlik.task(app=app, result="never"), qlik.task(app=app)
    execution = qlik.begin(foreign)
    reply = place.sender.ask({"taskId": ours, "ifRunning": "skip"})
    [skipped] = reply["tasksSkipped"]
    assert (skipped["status"], skipped["executionId"]) == ("alreadyRunning", execution)
    assert skipped["runningTaskId"] == foreign
    assert qlik.executions(ours) == 0
    qlik.end(foreign)

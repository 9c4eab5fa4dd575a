from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from butler_mqtt.simulator.definitions import NodeDefinition, SiteDefinition, task_definition
from butler_mqtt.simulator.server_clock import Clock
from butler_mqtt.simulator.site import Site
from butler_mqtt.simulator.tasks import EMPTY_GUID, SimulatedTask


@dataclass
class Bench:
    """A site whose time is moved by hand."""

    site: Site
    time: list[float]

    @classmethod
    def of(cls, *tasks: dict[str, Any], engines: int = 4, **switches: Any) -> Bench:
        time = [1_000_000.0]
        definition = SiteDefinition(
            tasks=tuple(task_definition(task) for task in tasks),
            nodes=(NodeDefinition(max_concurrent_engines=engines),),
        )
        site = Site(definition, clock=Clock(lambda: time[0], lambda: time[0]))
        site.set_switches(site.switches.changed(switches))
        return cls(site, time)

    def task(self, name: str = "a") -> SimulatedTask:
        return next(task for task in self.site.tasks if task.document["name"] == name)

    def start(self, name: str = "a", *, synchronous: bool = True) -> str:
        return self.site.start(self.task(name), "INTERNAL\\x", None, synchronous=synchronous)

    def wait(self, seconds: float) -> None:
        """Let time go by in small steps, so that things happen at their time."""
        end = self.time[0] + seconds
        while (due := self.site.agenda.next_due()) is not None and due <= end:
            self.time[0] = max(due, self.time[0])
            self.site.agenda.run()
        self.time[0] = end

    def statuses(self) -> list[int]:
        return [result.status for result in self.site.executions.results]

    def messages(self) -> list[str]:
        return [
            detail["message"]
            for result in self.site.executions.results
            for detail in result.document["details"]
        ]


def test_an_execution_runs_and_ends_after_its_duration() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 2})
    execution_id = bench.start()
    session = bench.site.executions.sessions.get(execution_id)
    assert session is not None
    assert session.document["user"] == "INTERNAL\\x"
    assert session.document["reloadTask"]["id"] == bench.task().id
    assert session.document["executionResult"]["status"] == 2
    assert bench.task().last["status"] == 2
    bench.wait(1.9)
    assert bench.statuses() == [2]
    bench.wait(0.2)
    assert bench.statuses() == [7]
    assert bench.site.executions.sessions.get(execution_id) is None
    assert bench.task().last["status"] == 7
    assert bench.task().last["duration"] == 2000
    assert bench.messages() == [
        "Changing task state to Triggered",
        "Changing task state from Triggered to Started",
        "Changing task state from Started to FinishedSuccess",
    ]


def test_the_duration_factor_scales_time() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 2}, durationFactor=0.1)
    bench.start()
    bench.wait(0.25)
    assert bench.statuses() == [7]


@pytest.mark.parametrize(
    ("result", "status"),
    [("success", 7), ("fail", 8), ("aborted", 6), ("skipped", 9), ("error", 11), ("reset", 12)],
)
def test_an_execution_ends_as_the_task_says(result: str, status: int) -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 1, "result": result})
    bench.start()
    bench.wait(1)
    assert bench.statuses() == [status]


def test_each_retry_adds_a_result_to_the_same_session() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 1, "result": "fail", "retries": 2})
    execution_id = bench.start()
    bench.wait(1)
    session = bench.site.executions.sessions.get(execution_id)
    assert session is not None
    assert session.document["retries"] == 1
    assert bench.statuses() == [8, 10]
    assert session.document["executionResult"]["status"] == 10
    bench.wait(10)
    assert bench.statuses() == [8, 8, 8]
    assert bench.messages()[-1] == "Max retries reached"
    assert {result.document["executionID"] for result in bench.site.executions.results} == {execution_id}


def test_retries_can_share_one_result() -> None:
    bench = Bench.of(
        {"name": "a", "durationSeconds": 1, "result": ["fail", "success"], "retries": 2}, retryResults="one"
    )
    bench.start()
    bench.wait(1.1)
    assert bench.statuses() == [10]
    bench.wait(10)
    assert bench.statuses() == [7]


def test_results_of_successive_executions_follow_the_list() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 0, "result": ["fail", "success"]})
    for _ in range(3):
        bench.start()
        bench.wait(0.1)
    assert bench.statuses() == [8, 7, 7]


def test_what_finds_no_engine_is_queued_and_runs_when_one_is_free() -> None:
    bench = Bench.of(*({"name": name, "durationSeconds": 1} for name in "abc"), engines=1)
    for name in "abc":
        bench.start(name)
    assert bench.statuses() == [2, 3, 3]
    bench.wait(1)
    assert bench.statuses() == [7, 2, 3]
    bench.wait(2)
    assert bench.statuses() == [7, 7, 7]


def test_raising_the_number_of_engines_lets_the_queue_run() -> None:
    bench = Bench.of(*({"name": name, "durationSeconds": 9} for name in "abc"), engines=1)
    for name in "abc":
        bench.start(name)
    bench.site.set_switches(bench.site.switches.changed({"maxConcurrentEngines": 2}))
    assert bench.statuses() == [2, 2, 3]


def test_what_waits_longer_than_the_engine_timeout_is_cancelled() -> None:
    bench = Bench.of(
        {"name": "a", "result": "never", "timeoutMinutes": 100},
        {"name": "b"},
        engines=1,
        engineTimeoutMinutes=30,
    )
    bench.start("a")
    bench.start("b")
    bench.wait(30 * 60 + 1)
    assert bench.statuses() == [2, 6]


def test_external_programs_need_no_engine() -> None:
    bench = Bench.of({"name": "a", "result": "never"}, {"name": "b", "type": "externalProgram"}, engines=1)
    bench.start("a")
    bench.start("b")
    assert bench.statuses() == [2, 2]


def test_a_stop_goes_through_abort_initiated_and_aborting_to_aborted() -> None:
    bench = Bench.of({"name": "a", "result": "never"})
    execution_id = bench.start()
    session = bench.site.executions.sessions.get(execution_id)
    assert session is not None
    assert bench.site.stop(bench.task()) == 1
    assert (bench.statuses(), session.document["abortReason"]) == ([4], 1)
    bench.wait(0.15)
    assert bench.statuses() == [5]
    bench.wait(0.1)
    assert bench.statuses() == [6]
    assert bench.site.executions.sessions.get(execution_id) is None
    assert bench.site.stop(bench.task()) == 0


def test_a_stop_frees_the_engine() -> None:
    bench = Bench.of({"name": "a", "result": "never"}, {"name": "b", "durationSeconds": 1}, engines=1)
    bench.start("a")
    bench.start("b")
    bench.site.stop(bench.task("a"))
    bench.wait(0.3)
    assert bench.statuses() == [6, 2]


def test_a_stop_of_what_waits_does_not_use_an_engine() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 1}, {"name": "b", "durationSeconds": 1}, engines=1)
    bench.start("a")
    bench.start("b")
    bench.site.stop(bench.task("b"))
    bench.wait(5)
    assert bench.statuses() == [7, 6]
    assert bench.site.executions.nodes[0].used == 0


def test_the_session_timeout_aborts_with_its_own_reason() -> None:
    bench = Bench.of({"name": "a", "result": "never", "timeoutMinutes": 1})
    session = bench.site.executions.sessions.get(bench.start())
    assert session is not None
    bench.wait(61)
    assert bench.statuses() == [6]
    assert session.document["abortReason"] == 2


def test_deleting_a_task_aborts_what_runs_of_it() -> None:
    bench = Bench.of({"name": "a", "result": "never"})
    task = bench.task()
    session = bench.site.executions.sessions.get(bench.start())
    assert session is not None
    bench.site.delete_task(task)
    bench.wait(1)
    assert bench.statuses() == [6]
    assert session.document["abortReason"] == 3


def test_the_result_may_lag_behind_the_end_of_the_session() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 1}, resultLagSeconds=2)
    execution_id = bench.start()
    bench.wait(1.5)
    assert bench.site.executions.sessions.get(execution_id) is None
    assert bench.statuses() == [2]
    bench.wait(2)
    assert bench.statuses() == [7]


@pytest.mark.parametrize(
    "task",
    [
        {"name": "a", "enabled": False},
        {"name": "a", "app": {"availability": "NotMigrated"}},
        {"name": "a", "type": "preload"},
    ],
)
def test_a_task_that_cannot_be_started_gives_the_empty_guid(task: dict[str, Any]) -> None:
    bench = Bench.of(task)
    assert bench.start() == EMPTY_GUID
    assert bench.statuses() == []


def test_without_a_scheduler_nothing_starts() -> None:
    bench = Bench.of({"name": "a"}, scheduler="absent")
    assert bench.start() == EMPTY_GUID


def test_a_type_without_sessions_is_started_asynchronously_and_leaves_only_a_result() -> None:
    bench = Bench.of({"name": "a", "type": "distribute", "durationSeconds": 1})
    bench.start(synchronous=False)
    assert bench.statuses() == [14]
    assert len(bench.site.executions.sessions) == 0
    bench.wait(1)
    assert bench.statuses() == [7]


def test_a_running_task_is_not_started_again_by_default() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 1})
    first = bench.start()
    assert bench.start() == EMPTY_GUID
    bench.wait(1)
    assert bench.start() not in (first, EMPTY_GUID)


@pytest.mark.parametrize(("switch", "sessions"), [("same", 1), ("second", 2)])
def test_a_running_task_can_give_its_session_or_a_second_one(switch: str, sessions: int) -> None:
    bench = Bench.of({"name": "a"}, alreadyRunning=switch)
    first, second = bench.start(), bench.start()
    assert (first == second) is (switch == "same")
    assert len(bench.site.executions.sessions) == sessions


def test_another_task_of_an_app_that_runs_is_started_beside_it_by_default() -> None:
    tasks = [{"name": name, "app": {"name": "Sales"}, "durationSeconds": 1} for name in "ab"]
    bench = Bench.of(*tasks)
    assert EMPTY_GUID not in (bench.start("a"), bench.start("b"))


def test_an_app_can_be_reloaded_by_one_of_its_tasks_at_a_time() -> None:
    tasks = [{"name": name, "app": {"name": "Sales"}, "durationSeconds": 1} for name in "ab"]
    bench = Bench.of(*tasks, {"name": "c"}, {"name": "d", "type": "externalProgram"}, sameApp="empty")
    assert EMPTY_GUID not in (bench.start("a"), bench.start("c"), bench.start("d"))
    assert bench.start("b") == EMPTY_GUID
    bench.wait(1)
    assert bench.start("b") != EMPTY_GUID


def test_old_results_are_purged() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 0}, resultsKept=2)
    for _ in range(5):
        bench.start()
        bench.wait(0.1)
    assert bench.statuses() == [7, 7]
    assert len(bench.site.executions.script_logs) == 2


def test_a_wrong_server_clock_changes_stamps_and_not_durations() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 1}, clockOffsetSeconds=-3600)
    bench.start()
    bench.wait(1)
    assert bench.task().last["startTime"] == "1970-01-12T12:46:40.000Z"
    assert bench.task().last["duration"] == 1000


def test_replacing_a_task_while_it_runs_lets_it_end() -> None:
    bench = Bench.of({"name": "a", "durationSeconds": 1, "id": "11111111-0000-4000-8000-000000000001"})
    bench.start()
    bench.site.put_task(
        task_definition({"name": "a", "tags": ["new"], "id": "11111111-0000-4000-8000-000000000001"})
    )
    assert bench.start() == EMPTY_GUID
    bench.wait(1)
    assert bench.task().last["status"] == 7

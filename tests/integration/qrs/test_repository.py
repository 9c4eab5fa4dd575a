"""The client against the simulator over mTLS: the way of a task from its name to its end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from butler_mqtt import settings
from butler_mqtt.domain.model import EMPTY_GUID, Selector, SelectorKind, Task, TaskType
from butler_mqtt.errors import OutcomeUnknown, QlikRefused, QlikUnavailable
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection

HARD = 'O\'Brien & Söhne #1 \\ "x"'
INJECTION = "x' or id ne '"


@dataclass(frozen=True)
class Simulator:
    port: int
    admin_port: int
    certs: Path

    def admin(self, method: str, path: str, body: object = None) -> object:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.admin_port}/admin{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 # loopback
            text = answer.read()
        return json.loads(text) if text else None

    def switch(self, **positions: object) -> None:
        self.admin("PUT", "/switches", positions)

    def starts(self) -> dict[str, object]:
        starts = self.admin("GET", "/starts")
        assert isinstance(starts, dict)
        return starts


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    certs = tmp_path_factory.mktemp("certs")
    command = [sys.executable, "-m", "butler_mqtt.simulator", "--port", "0", "--admin-port", "0"]
    with subprocess.Popen([*command, "--certs", str(certs)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ports = [int(process.stdout.readline().rsplit(":", 1)[1]) for _ in range(2)]
        yield Simulator(ports[0], ports[1], certs)
        process.terminate()


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    running.admin("POST", "/reset")
    return running


@pytest.fixture
def qrs(simulator: Simulator) -> RepositoryClient:
    return RepositoryClient(
        settings.QrsSettings(
            host="127.0.0.1",
            port=simulator.port,
            server_name="sense1",
            read_timeout_seconds=2,
            retry=settings.Retry(attempts=3, max_seconds=10),
            client_cert=simulator.certs / "client.pem",
            client_cert_key=simulator.certs / "client_key.pem",
            client_cert_ca=simulator.certs / "root.pem",
        ),
        threading.Event(),
        first_pause=0.01,
    )


@pytest.fixture
def connection(qrs: RepositoryClient) -> Iterator[RepositoryConnection]:
    connection = qrs.connection()
    yield connection
    connection.close()


def tag(name: str) -> Selector:
    return Selector(SelectorKind.TAG, name)


def named(name: str) -> Selector:
    return Selector(SelectorKind.TASK_NAME, name)


def one(connection: RepositoryConnection, selector: Selector) -> Task:
    tasks = connection.find([selector])[selector]
    assert not isinstance(tasks, QlikRefused)
    (task,) = tasks
    return task


def names(tasks: tuple[Task, ...] | QlikRefused) -> list[str]:
    assert not isinstance(tasks, QlikRefused), tasks
    return sorted(task.name for task in tasks)


def until(condition: Callable[[], bool]) -> None:
    """Wait for *condition*, at most 10 s."""
    deadline = time.monotonic() + 10
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def test_names_tags_and_pairs_are_found_however_they_are_spelled(connection: RepositoryConnection) -> None:
    region = Selector(SelectorKind.CUSTOM_PROPERTY, "apac", "region")
    hard_value = Selector(SelectorKind.CUSTOM_PROPERTY, "R&D's \\ 100% + more", "department")
    found = connection.find(
        [tag(HARD), named(HARD), tag("DAILY-reports"), region, hard_value, named("Twice")]
    )
    assert names(found[tag(HARD)]) == names(found[named(HARD)]) == names(found[hard_value]) == [HARD]
    assert names(found[tag("DAILY-reports")]) == ["Daily Reports Finance", "Daily Reports Sales"]
    assert names(found[region]) == ["Sales Report Update"]
    assert names(found[named("Twice")]) == ["Twice", "Twice"]


QUOTED = "R&D's reload"


@pytest.fixture
def quoted(simulator: Simulator) -> str:
    """A task with a quote in its name; returns its name."""
    simulator.admin("POST", "/tasks", {"name": QUOTED, "tags": [QUOTED]})
    return QUOTED


def searches(simulator: Simulator) -> int:
    calls = simulator.admin("GET", "/calls?path=/task/full")
    assert isinstance(calls, dict)
    return len(calls["calls"])


def test_a_site_that_wants_a_quote_doubled_is_asked_once_more_and_remembered(
    simulator: Simulator, qrs: RepositoryClient, quoted: str
) -> None:
    simulator.switch(doubledQuote="only")
    with contextlib.closing(qrs.connection()) as connection:
        assert names(connection.find([tag(quoted)])[tag(quoted)]) == [quoted]
    assert searches(simulator) == 2
    with contextlib.closing(qrs.connection()) as another:
        assert names(another.find([named(quoted)])[named(quoted)]) == [quoted]
    assert searches(simulator) == 3


def test_a_quote_beside_a_backslash_is_not_asked_for_in_another_way(
    simulator: Simulator, connection: RepositoryConnection, quoted: str
) -> None:
    simulator.switch(doubledQuote="only")
    found = connection.find([tag("a'b\\"), tag(quoted), tag("daily-reports")])
    assert isinstance(found[tag("a'b\\")], QlikRefused)
    assert names(found[tag(quoted)]) == [quoted]
    assert len(names(found[tag("daily-reports")])) == 2


@pytest.mark.parametrize("position", ["refused", "accepted", "only"])
def test_no_text_breaks_out_of_its_quotes(
    simulator: Simulator, connection: RepositoryConnection, position: str
) -> None:
    simulator.switch(doubledQuote=position)
    attempts = [
        INJECTION,
        "\\",
        "\\' or (enabled eq true) or name eq \\'",
        "')",
        "%27",
        "a&filter=id ne x",
        "#",
    ]
    wanted = [tag(text) for text in attempts]
    wanted += [Selector(SelectorKind.CUSTOM_PROPERTY, text, text) for text in attempts]
    assert all(tasks == () or isinstance(tasks, QlikRefused) for tasks in connection.find(wanted).values())


def test_a_pair_matches_only_on_one_object(connection: RepositoryConnection) -> None:
    pair = Selector(SelectorKind.CUSTOM_PROPERTY, "operational-dashboards", "taskGroup")
    assert names(connection.find([pair])[pair]) == ["Operations Dashboard", "Plant Dashboard"]


def test_a_server_with_the_documented_task_model_shows_the_same_tasks(
    simulator: Simulator, connection: RepositoryConnection
) -> None:
    simulator.switch(taskModel="base")
    pair = Selector(SelectorKind.CUSTOM_PROPERTY, "APAC", "Region")
    found = connection.find([pair, tag("other-kinds")])
    assert names(found[pair]) == ["Sales Report Update"]
    assert names(found[tag("other-kinds")]) == ["Directory Sync", "Distribution", "Export Program", "Preload"]


def test_a_cut_list_is_completed(simulator: Simulator, connection: RepositoryConnection) -> None:
    simulator.admin("POST", "/tasks", [{"name": f"Many {n}", "tags": ["many"]} for n in range(130)])
    simulator.switch(listLimit=100)
    assert len(names(connection.find([tag("many")])[tag("many")])) == 130


def test_a_start_is_followed_from_its_session_to_its_result(
    simulator: Simulator, qrs: RepositoryClient, connection: RepositoryConnection
) -> None:
    task = one(connection, named("Financial Dashboard Reload"))
    simulator.switch(durationFactor=0.1)
    execution_id = connection.start(task)
    assert execution_id is not None
    now = qrs.server_time()
    assert now is not None
    snapshot = connection.snapshot(task)
    assert snapshot.sessions_readable
    assert [execution.id for execution in snapshot.executions] == [execution_id]
    assert snapshot.executions[0].active
    assert snapshot.executions[0].began is not None
    assert abs((snapshot.executions[0].began - now).total_seconds()) < 3

    def ended() -> bool:
        execution = connection.executions([execution_id])[execution_id]
        return execution is not None and not execution.active

    until(ended)
    execution = connection.executions([execution_id])[execution_id]
    assert execution is not None
    assert execution.status == 7
    assert execution.message
    assert one(connection, named("Financial Dashboard Reload")).last is not None
    log = connection.script_log(task.id, execution, lines=2)
    assert log is not None
    assert len(log) == 2


@pytest.mark.parametrize("way", ["old", "new"])
def test_a_script_log_is_read_either_way(
    simulator: Simulator, connection: RepositoryConnection, way: str
) -> None:
    simulator.switch(durationFactor=0.01, scriptLog=way)
    task = one(connection, named("Financial Dashboard Reload"))
    connection.start(task)
    until(lambda: not connection.snapshot(task).executions[0].active)
    log = connection.script_log(task.id, connection.snapshot(task).executions[0])
    assert log is not None
    assert any("Execution finished." in line for line in log)


@pytest.mark.parametrize("body", ["object", "string"])
def test_an_execution_id_comes_in_both_forms(
    simulator: Simulator, connection: RepositoryConnection, body: str
) -> None:
    simulator.switch(synchronousBody=body)
    execution_id = connection.start(one(connection, tag("slow")))
    assert execution_id not in {None, EMPTY_GUID}


def test_what_cannot_run_answers_the_empty_guid_and_shows_why(connection: RepositoryConnection) -> None:
    disabled = one(connection, tag("disabled"))
    without_app = one(connection, tag("app-missing"))
    assert (disabled.enabled, without_app.app_available) == (False, False)
    assert connection.start(disabled) == connection.start(without_app) == EMPTY_GUID


def test_other_kinds_start_by_the_path_that_fits_them(connection: RepositoryConnection) -> None:
    tasks = connection.find([tag("other-kinds")])[tag("other-kinds")]
    assert not isinstance(tasks, QlikRefused)
    assert {task.task_type: connection.start(task) is None for task in tasks} == {
        1: False,
        2: False,
        3: True,
        4: True,
    }


def user_sync(connection: RepositoryConnection) -> Task:
    tasks = connection.find([tag("other-kinds")])[tag("other-kinds")]
    assert not isinstance(tasks, QlikRefused)
    (task,) = [one for one in tasks if one.task_type == TaskType.USER_SYNC]
    return task


def test_a_user_sync_that_may_not_start_synchronously_is_started_once_all_the_same(
    simulator: Simulator, connection: RepositoryConnection
) -> None:
    simulator.switch(userSyncSynchronous="400", durationFactor=1000)
    task = user_sync(connection)
    execution_id = connection.start(task)
    (execution,) = connection.snapshot(task).executions
    assert (execution.id, execution.active) == (execution_id, True)
    # It runs: a second one begins nothing, and what it waits behind is seen.
    assert connection.start(user_sync(connection)) == EMPTY_GUID
    assert simulator.starts()["requests"] == 1


def test_a_user_sync_that_began_since_it_was_read_is_not_started_again(
    simulator: Simulator, connection: RepositoryConnection
) -> None:
    simulator.switch(userSyncSynchronous="400", durationFactor=1000)
    read_before = user_sync(connection)
    connection.start(read_before)
    with pytest.raises(QlikRefused, match="400"):
        connection.start(read_before)
    assert simulator.starts()["requests"] == 1


def test_a_user_sync_whose_asynchronous_start_loses_its_answer_is_in_doubt(
    simulator: Simulator, connection: RepositoryConnection
) -> None:
    simulator.switch(userSyncSynchronous="400", durationFactor=1000)
    task = user_sync(connection)
    simulator.admin("POST", "/faults", {"kind": "cut", "method": "POST", "when": "after", "path": "*/start"})
    with pytest.raises(OutcomeUnknown):
        connection.start(task)
    assert simulator.starts()["requests"] == 1


def test_a_start_cut_after_it_took_effect_is_unknown_and_the_snapshot_shows_it(
    simulator: Simulator, connection: RepositoryConnection
) -> None:
    task = one(connection, tag("slow"))
    simulator.admin("POST", "/faults", {"kind": "cut", "method": "POST", "when": "after"})
    with pytest.raises(OutcomeUnknown):
        connection.start(task)
    assert [execution.active for execution in connection.snapshot(task).executions] == [True]
    assert simulator.starts()["requests"] == 1


def test_reads_survive_faults_and_a_start_is_never_repeated(
    simulator: Simulator, connection: RepositoryConnection
) -> None:
    task = one(connection, tag("slow"))
    for kind in ("cut", "html", "garbage", "truncate"):
        simulator.admin("POST", "/faults", {"kind": kind, "method": "GET"})
        assert one(connection, tag("slow")) == task
        simulator.admin("POST", "/faults", {"kind": kind, "method": "POST"})
        with pytest.raises(OutcomeUnknown):
            connection.start(task)
    calls = simulator.admin("GET", "/calls?method=POST")
    assert isinstance(calls, dict)
    assert len(calls["calls"]) == 4


@pytest.mark.parametrize("fault", [{"kind": "xsrf"}, {"kind": "status", "status": 403}])
def test_the_two_kinds_of_403_are_distinguished(
    simulator: Simulator, connection: RepositoryConnection, fault: dict[str, object]
) -> None:
    simulator.admin("POST", "/faults", fault)
    with pytest.raises(QlikRefused) as caught:
        connection.about()
    assert ("lacks the right" in str(caught.value)) is (fault["kind"] != "xsrf")


def test_a_server_that_is_down_is_unavailable_and_noticed_when_it_is_back(
    simulator: Simulator, qrs: RepositoryClient, connection: RepositoryConnection
) -> None:
    task = one(connection, tag("slow"))
    connection.close()
    simulator.switch(listener="refuse")
    with pytest.raises(QlikUnavailable):
        connection.start(task)
    with pytest.raises(QlikUnavailable):
        connection.find([tag("slow")])
    assert not qrs.reachable
    simulator.switch(listener="up")
    assert connection.start(task) is not None
    assert qrs.reachable

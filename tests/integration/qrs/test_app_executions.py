"""What runs of an app, asked of the simulator over mTLS and of servers that do not show all of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs.app_executions import AppExecutions
from butler_mqtt.qrs.execution_lists import ExecutionLists
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.settings import QrsSettings
from tests.acceptance.rig import Qlik
from tests.integration.simulator.running import running

APP = "c9f2a1c4-5c1e-4a0e-9d3b-6a1d1c2b3e4f"
SESSION = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"
GONE = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0002"
TASK = "fb0f317d-da91-4b86-aafa-0174ae1e8c8f"
NEVER = "1753-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def qlik(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qlik]:
    with running(tmp_path_factory.mktemp("qlik") / "certs") as simulator:
        server = Qlik(simulator)
        yield server
        server.close()


@pytest.fixture
def connection(qlik: Qlik) -> Iterator[RepositoryConnection]:
    certs = qlik.simulator.certs
    client = RepositoryClient(
        QrsSettings(
            host=qlik.host,
            port=qlik.port,
            client_cert=certs / "client.pem",
            client_cert_key=certs / "client_key.pem",
            client_cert_ca=certs / "root.pem",
        ),
        threading.Event(),
    )
    opened = client.connection()
    yield opened
    opened.close()


def test_the_execution_that_runs_is_found_with_its_task(qlik: Qlik, connection: RepositoryConnection) -> None:
    task = qlik.task(durationSeconds=600, app={"id": APP, "name": "Sales"})
    qlik.task(app={"id": APP, "name": "Sales"})
    execution = qlik.begin(task)
    [found] = connection.app_executions(APP)
    assert (found.id, found.task_id, found.session) == (execution, task, True)
    qlik.end(task)
    [found] = connection.app_executions(APP)
    assert (found.id, found.active) == (execution, False)
    assert found.stopped is not None


def test_an_app_of_which_nothing_ever_ran_shows_nothing(connection: RepositoryConnection) -> None:
    assert connection.app_executions(GONE) == ()


@dataclass
class Server:
    """Answers questions for lists; refuses sessions by app with `status`."""

    status: int = 400

    def __call__(self, path: str, query: str = "") -> object:
        if path == "/executionsession/full":
            if "app.id" in query:
                raise QlikRefused("not understood", self.status)
            return [{"id": SESSION, "reloadTask": {"id": TASK}}] if SESSION in query else []
        assert path == "/executionresult/full"
        results: list[dict[str, Any]] = [
            {"id": f"0000000{number}-0000-4000-8000-000000000000", "executionID": one, "status": 2}
            for number, one in enumerate([SESSION, GONE, "00000000-0000-0000-0000-000000000000"], 1)
        ]
        return [
            {**one, "taskID": TASK, "startTime": "2025-01-20T19:45:15.553Z", "stopTime": NEVER}
            for one in results
        ]


@pytest.mark.parametrize("status", [400, 404])
def test_without_sessions_by_app_a_result_counts_whose_session_is_there(status: int) -> None:
    server = Server(status)
    found = AppExecutions(server, ExecutionLists(server)).of_app(APP)
    assert [one.id for one in found if one.session] == [SESSION]


def test_a_server_that_refuses_access_to_sessions_is_not_asked_for_more() -> None:
    server = Server(403)
    with pytest.raises(QlikRefused):
        AppExecutions(server, ExecutionLists(server)).of_app(APP)

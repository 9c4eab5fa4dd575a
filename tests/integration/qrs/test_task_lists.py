"""Every selector gets the tasks it means, whichever way this server lists them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator

import pytest

from butler_mqtt.domain.model import Execution, Selector, SelectorKind, Task, TaskSnapshot
from butler_mqtt.errors import QlikRefused, QlikUnavailable
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from tests.integration.qrs.scripted_server import CUT, Call, Server, reply, serving, settings_for

Json = dict[str, object]


def guid(number: int) -> str:
    return f"fb0f317d-da91-4b86-aafa-{number:012}"


def by_id(number: int) -> Selector:
    return Selector(SelectorKind.TASK_ID, guid(number))


def tag(name: str) -> Selector:
    return Selector(SelectorKind.TAG, name)


def pair(name: str, value: str) -> Selector:
    return Selector(SelectorKind.CUSTOM_PROPERTY, value, name)


def raw_task(number: int, *tags: str, kind: int | None = 0, **properties: str) -> Json:
    return {
        "id": guid(number),
        "name": f"Task {number}",
        "taskType": kind,
        "tags": [{"name": name} for name in tags],
        "customProperties": [
            {"value": value, "definition": {"name": name}} for name, value in properties.items()
        ],
    }


class Repository:
    """Lists tasks as loosely as a server may: any value of a task that stands in the filter finds it."""

    def __init__(self, *tasks: Json) -> None:
        self.tasks = list(tasks)
        #: Lists are cut at so many tasks.
        self.limit = 10_000
        self.understands_ne = True
        self.has_concrete = True
        #: The common list gives tasks without custom properties and refuses a filter on them.
        self.common_form = False
        #: Instead of refusing such a filter it finds nothing.
        self.blind = False
        #: Lists that the server does not have.
        self.lacks: set[str] = set()
        #: Filters that hold this text are refused.
        self.refuses = "\x00"

    def __call__(self, call: Call) -> bytes:
        entity, _, verb = call.path.strip("/").partition("/")
        kinds = {"reloadtask", "externalprogramtask", "usersynctask"} if self.has_concrete else set()
        if entity not in (kinds | {"task"}) - self.lacks:
            return reply(404, b"No matching endpoint found")
        if not self.understands_ne and " ne " in call.filter:
            return reply(400, b"Cannot parse the expression")
        unknown = self.common_form and entity == "task" and "customProperties" in call.filter
        if unknown and self.blind:
            return reply(200, [])
        if (
            self.refuses in call.filter
            or unknown
            or (entity == "usersynctask" and "customProp" in call.filter)
        ):
            return reply(400, b"Cannot parse the expression")
        rows = [task for task in self.tasks if self.matches(task, entity, call.filter)]
        if verb == "count":
            return reply(200, {"value": len(rows)}) if entity != "task" else reply(404, b"No such endpoint")
        if self.common_form and entity == "task":
            rows = [{key: task[key] for key in ("id", "name", "tags")} for task in rows]
        return reply(200, rows[: self.limit])

    def matches(self, task: Json, entity: str, text: str) -> bool:
        kinds = {"reloadtask": {0, 3, 4}, "externalprogramtask": {1}, "usersynctask": {2}}
        if entity in kinds and task["taskType"] not in kinds[entity]:
            return False
        if not text:
            return True
        words = set(re.findall(r"'([^']*)'", text)) | set(re.findall(r"id eq ([0-9a-f-]{36})", text))
        if task["id"] in re.findall(r"id ne ([0-9a-f-]{36})", text):
            return False
        values = {task["id"], task["name"]} | {item["name"] for item in task["tags"]}  # type: ignore[attr-defined] # lists of objects
        values |= {item["value"] for item in task["customProperties"]}  # type: ignore[attr-defined] # lists of objects
        return bool(words & values)


@pytest.fixture
def repository() -> Repository:
    return Repository(raw_task(1, "a", "b"), raw_task(2, "b", Region="APAC"), raw_task(3, "c", kind=1))


@pytest.fixture
def server(repository: Repository) -> Iterator[Server]:
    with serving(repository, None) as running:
        yield running


@pytest.fixture
def qrs(server: Server) -> RepositoryClient:
    return RepositoryClient(settings_for(server, None), threading.Event(), first_pause=0)


@pytest.fixture
def connection(qrs: RepositoryClient) -> Iterator[RepositoryConnection]:
    connection = qrs.connection()
    yield connection
    connection.close()


def ids(found: tuple[Task, ...] | QlikRefused) -> list[str]:
    assert not isinstance(found, QlikRefused), found
    return [task.id for task in found]


def test_selectors_of_all_kinds_share_one_query(server: Server, connection: RepositoryConnection) -> None:
    name = Selector(SelectorKind.TASK_NAME, "task 3")
    server.answers = lambda _: reply(200, Repository(raw_task(7)).tasks)
    wanted = [by_id(1), tag("b"), pair("Region", "APAC"), name, by_id(9), tag("b")]
    connection.find(wanted)
    (call,) = server.calls
    assert call.path == "/task/full"
    assert call.target.startswith("/qrs/task/full?xrfkey=")
    assert call.filter == (
        f"(id eq {guid(1)}) or (tags.name eq 'b') or (customProperties.definition.name eq 'Region' and"
        f" customProperties.value eq 'APAC') or (name eq 'task 3') or (id eq {guid(9)})"
    )


def test_each_selector_gets_its_tasks_and_none_is_an_empty_tuple(connection: RepositoryConnection) -> None:
    found = connection.find([by_id(1), tag("b"), pair("Region", "APAC"), by_id(9)])
    assert {one: ids(tasks) for one, tasks in found.items()} == {
        by_id(1): [guid(1)],
        tag("b"): [guid(1), guid(2)],
        pair("Region", "APAC"): [guid(2)],
        by_id(9): [],
    }


def test_nothing_is_asked_for_nothing(server: Server, connection: RepositoryConnection) -> None:
    assert connection.find([]) == {}
    assert connection.find([tag("\ud800")]) == {tag("\ud800"): ()}
    assert server.calls == []


def test_all_tasks_are_read_with_one_list_and_their_counts(
    server: Server, connection: RepositoryConnection
) -> None:
    found = connection.all_tasks()
    assert found is not None
    assert ids(found) == [guid(1), guid(2), guid(3)]
    assert [call.path for call in server.calls] == [
        "/task/full",
        "/reloadtask/count",
        "/externalprogramtask/count",
        "/usersynctask/count",
    ]


@pytest.mark.parametrize(
    "changed",
    [{"limit": 2}, {"common_form": True}, {"has_concrete": False}],
    ids=["cut", "without properties", "not counted"],
)
def test_a_list_that_may_lack_something_is_not_taken_for_all_tasks(
    repository: Repository, connection: RepositoryConnection, changed: dict[str, object]
) -> None:
    for name, value in changed.items():
        setattr(repository, name, value)
    assert connection.all_tasks() is None


def test_a_property_of_another_name_with_that_value_does_not_match(connection: RepositoryConnection) -> None:
    assert connection.find([pair("Owner", "APAC")]) == {pair("Owner", "APAC"): ()}


def test_a_refused_selector_does_not_harm_the_others(
    repository: Repository, connection: RepositoryConnection
) -> None:
    repository.refuses = "bad"
    wanted = [by_id(n) for n in range(1, 8)] + [tag("bad"), tag("b")]
    found = connection.find(wanted)
    refusal = found.pop(tag("bad"))
    assert isinstance(refusal, QlikRefused)
    assert refusal.status == 400
    assert [len(ids(tasks)) for tasks in found.values()] == [1, 1, 1, 0, 0, 0, 0, 2]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_refuses_every_question_is_raised(
    server: Server, connection: RepositoryConnection, status: int
) -> None:
    server.answers = lambda _: reply(status, b"no")
    with pytest.raises(QlikRefused) as caught:
        connection.find([by_id(1), by_id(2)])
    assert caught.value.status == status
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "answer", [CUT, reply(500, b"x"), reply(200, {"not": "a list"}), reply(200, b"<html>")]
)
def test_an_outage_is_not_an_empty_answer(
    server: Server, connection: RepositoryConnection, answer: bytes
) -> None:
    server.answers = lambda _: answer
    with pytest.raises(QlikUnavailable):
        connection.find([by_id(1)])


def test_where_the_common_list_shows_too_little_the_kinds_are_asked_and_that_is_remembered(
    repository: Repository, server: Server, qrs: RepositoryClient
) -> None:
    repository.common_form = True
    repository.tasks.append(raw_task(4, "c", kind=17))
    wanted = [pair("Region", "APAC"), tag("c"), by_id(1)]
    for _ in range(2):
        server.calls.clear()
        found = qrs.connection().find(wanted)
        assert [sorted(ids(tasks)) for tasks in found.values()] == [[guid(2)], [guid(3), guid(4)], [guid(1)]]
    assert sum(call.path == "/task/full" for call in server.calls) == 1


def test_tags_and_properties_come_from_the_concrete_form(
    repository: Repository, connection: RepositoryConnection
) -> None:
    repository.common_form = True
    (task,) = connection.find([by_id(2)])[by_id(2)]  # type: ignore[misc] # not refused
    assert task.custom_properties == (("Region", "APAC"),)


@pytest.mark.parametrize("blind", [False, True])
def test_a_kind_of_tasks_that_the_server_does_not_know_keeps_the_others_findable(
    repository: Repository, connection: RepositoryConnection, *, blind: bool
) -> None:
    repository.common_form = True
    repository.blind = blind
    repository.lacks = {"externalprogramtask", "usersynctask"}
    for _ in range(2):
        found = connection.find([pair("Region", "APAC"), pair("Region", "EMEA")])
        assert [ids(tasks) for tasks in found.values()] == [[guid(2)], []]


def test_a_common_list_that_finds_nothing_by_properties_is_not_believed(
    repository: Repository, server: Server, connection: RepositoryConnection
) -> None:
    repository.common_form = repository.blind = True
    assert ids(connection.find([pair("Region", "APAC")])[pair("Region", "APAC")]) == [guid(2)]
    server.calls.clear()
    assert ids(connection.find([pair("Region", "APAC")])[pair("Region", "APAC")]) == [guid(2)]
    assert "/task/full" not in [call.path for call in server.calls]


def test_a_common_list_that_has_shown_a_whole_task_is_believed_when_it_finds_nothing(
    server: Server, connection: RepositoryConnection
) -> None:
    connection.find([tag("a")])
    assert ids(connection.find([pair("Region", "none")])[pair("Region", "none")]) == []
    assert [call.path for call in server.calls] == ["/task/full"] * 2


def test_a_server_that_has_only_the_common_list_is_believed(
    repository: Repository, server: Server, connection: RepositoryConnection
) -> None:
    repository.common_form = True
    repository.has_concrete = False
    for _ in range(2):
        found = connection.find([by_id(1), pair("Region", "APAC")])
        assert ids(found[by_id(1)]) == [guid(1)]
        assert isinstance(found[pair("Region", "APAC")], QlikRefused)
    assert sum(call.path == "/reloadtask/full" for call in server.calls) == 1


@pytest.mark.parametrize("limit", [10, 64, 100])
def test_a_list_cut_by_the_server_is_completed(
    repository: Repository, connection: RepositoryConnection, limit: int
) -> None:
    repository.tasks = [raw_task(n, "many") for n in range(210)]
    repository.limit = limit
    assert len(ids(connection.find([tag("many")])[tag("many")])) == 210


def test_a_cut_list_that_cannot_be_completed_is_an_error_of_its_selector_alone(
    repository: Repository, connection: RepositoryConnection
) -> None:
    repository.tasks = [raw_task(n, "many" if n < 150 else "few") for n in range(160)]
    repository.limit = 100
    repository.understands_ne = False
    found = connection.find([tag("many"), tag("few")])
    assert isinstance(found[tag("many")], QlikRefused)
    assert "100 of the 150" in str(found[tag("many")])
    assert len(ids(found[tag("few")])) == 10


def test_a_cut_list_of_very_many_tasks_names_what_to_raise(
    repository: Repository, connection: RepositoryConnection
) -> None:
    repository.tasks = [raw_task(n, "many") for n in range(400)]
    repository.limit = 100
    found = connection.find([tag("many")])[tag("many")]
    assert isinstance(found, QlikRefused)
    assert "300 of the 400" in str(found)
    assert "MaxRecordLimit" in str(found)


def test_a_list_of_ids_that_were_all_found_needs_no_count(
    repository: Repository, server: Server, connection: RepositoryConnection
) -> None:
    repository.tasks = [raw_task(n) for n in range(250)]
    found = connection.find([by_id(n) for n in range(250)])
    assert all(len(ids(tasks)) == 1 for tasks in found.values())
    assert [call.path for call in server.calls] == ["/task/full"] * 3


RUN = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e{:04}"


def raw_result(number: int, status: int = 7) -> Json:
    return {"id": guid(900 + number), "executionID": RUN.format(number), "status": status}


class Executions(Repository):
    """Also lists the session of run 1 and the results of runs 1 to 4."""

    def __call__(self, call: Call) -> bytes:
        if call.path == "/executionsession/full":
            return reply(200, [{"id": RUN.format(1), "executionResult": raw_result(1, 2)}])
        if call.path == "/executionresult/full":
            return reply(200, [raw_result(number, 2 if number == 1 else 7) for number in range(1, 5)])
        return super().__call__(call)


@pytest.mark.parametrize(
    ("kind", "path", "readable"),
    [
        (0, f"(reloadTask.id eq {guid(1)})", True),
        (1, f"(externalProgramTask.id eq {guid(1)})", True),
        (2, f"(userSyncTask.id eq {guid(1)})", True),
        (3, f"(reloadTask.id eq {guid(1)}) or (externalProgramTask.id", False),
        (17, f"(reloadTask.id eq {guid(1)}) or (externalProgramTask.id", False),
        (None, f"(reloadTask.id eq {guid(1)}) or (externalProgramTask.id", True),
    ],
)
def test_a_snapshot_has_the_task_its_sessions_and_its_results(
    server: Server, connection: RepositoryConnection, kind: int | None, path: str, readable: bool
) -> None:
    server.answers = Executions(raw_task(1, kind=kind))
    snapshot = connection.snapshot(Task(guid(1), "old name"))
    assert snapshot.task is not None
    assert snapshot.task.name == "Task 1"
    assert snapshot.sessions_readable is readable
    assert [one.active for one in snapshot.executions].count(True) == 1
    sessions, results = server.calls[-2:]
    assert sessions.filter.startswith(path)
    assert results.filter == f"(taskID eq {guid(1)})"
    assert results.query["orderby"] == "startTime desc"


def test_a_snapshot_of_a_task_that_is_gone_shows_it(server: Server, connection: RepositoryConnection) -> None:
    server.answers = Executions()
    assert connection.snapshot(Task(guid(1), "x", 0)).task is None


def test_executions_are_read_fifty_at_a_time_and_unknown_ones_are_none(
    server: Server, connection: RepositoryConnection
) -> None:
    server.answers = Executions()
    asked = [RUN.format(number) for number in range(1, 121)]
    found = connection.executions(asked)
    assert list(found) == asked
    assert len(server.calls) == 6
    assert isinstance(found[asked[0]], Execution)
    assert found[asked[0]].session  # type: ignore[union-attr] # just checked
    assert [one is None for one in found.values()] == [False] * 4 + [True] * 116


class OneByOne(Executions):
    """Has no list of sessions, only each by its id."""

    def __call__(self, call: Call) -> bytes:
        if call.path == "/executionsession/full":
            return reply(404, b"No matching endpoint found")
        if call.path.startswith("/executionsession/"):
            known = call.path.endswith(RUN.format(1))
            return reply(200, {"id": RUN.format(1), "abortReason": 2}) if known else reply(404, b"not found")
        return super().__call__(call)


def test_without_a_list_of_sessions_executions_are_asked_for_one_by_one(
    server: Server, connection: RepositoryConnection
) -> None:
    server.answers = OneByOne()
    asked = [RUN.format(number) for number in (2, 3, 7)]
    found = connection.executions(asked)
    assert [one is not None and not one.active for one in found.values()] == [True, True, False]
    assert [call.path for call in server.calls[2:]] == [f"/executionsession/{one}" for one in asked]


@pytest.mark.parametrize("kind", [0, 3])
def test_without_a_list_of_sessions_a_snapshot_shows_the_results_and_proves_nothing(
    server: Server, connection: RepositoryConnection, kind: int
) -> None:
    server.answers = OneByOne(raw_task(1, kind=kind))
    snapshot = connection.snapshot(Task(guid(1), "Task 1"))
    assert not snapshot.sessions_readable
    assert [one.active for one in snapshot.executions].count(True) == 1


class Site(Repository):
    """Twelve reload tasks and one of another kind, each with a session, and many results of the first."""

    def __init__(self) -> None:
        super().__init__(*(raw_task(number) for number in range(1, 13)), raw_task(13, kind=1))
        #: Rows say which task they belong to, and lists can be counted.
        self.names_tasks = self.counts = True

    def __call__(self, call: Call) -> bytes:
        entity, _, verb = call.path.strip("/").partition("/")
        if entity not in {"executionsession", "executionresult"}:
            return super().__call__(call)
        asked = set(re.findall(r"eq ([0-9a-f-]{36})", call.filter))
        rows = [row for row in self.rows(entity) if row["of"] in asked]
        if verb == "count":
            return reply(200, {"value": len(rows)}) if self.counts else reply(404, b"No matching endpoint")
        return reply(200, rows[: self.limit])

    def rows(self, entity: str) -> list[Json]:
        rows: list[Json] = []
        for number in range(1, 14):
            if entity == "executionresult":
                for result in range(20 if number == 1 else 1):
                    row: Json = {"executionID": RUN.format(100 * number + result), "of": guid(number)}
                    rows.append({**row, "id": guid(5000 + 100 * number + result), "status": 7})
                    if self.names_tasks:
                        rows[-1]["taskID"] = guid(number)
            else:
                task = "externalProgramTask" if number == 13 else "reloadTask"
                row = {"id": RUN.format(100 * number), "of": guid(number)}
                rows.append({**row, task: {"id": guid(number)}} if self.names_tasks else row)
        return rows


def looked_at(connection: RepositoryConnection) -> dict[str, TaskSnapshot | QlikRefused]:
    return connection.read_snapshots([Task(guid(number), "x") for number in range(1, 14)])


def test_many_tasks_are_read_with_one_query_for_each_list(
    server: Server, connection: RepositoryConnection
) -> None:
    server.answers = Site()
    snapshots = looked_at(connection)
    assert len(snapshots) == 13
    assert [call.path for call in server.calls if call.path.endswith("full")] == [
        "/task/full",
        "/executionsession/full",
        "/executionresult/full",
        "/executionsession/full",
        "/executionresult/full",
    ]


@pytest.mark.parametrize("change", [{}, {"limit": 10}, {"counts": False}, {"names_tasks": False}], ids=str)
def test_snapshots_of_many_tasks_show_what_one_of_each_shows(
    server: Server, connection: RepositoryConnection, change: dict[str, object]
) -> None:
    """Lists may be cut, uncounted or silent about tasks: an execution that is overlooked is repeated."""
    site = Site()
    for name, value in change.items():
        setattr(site, name, value)
    server.answers = site
    snapshots = looked_at(connection)
    for number in range(1, 14):
        snapshot = snapshots[guid(number)]
        assert snapshot == connection.snapshot(Task(guid(number), "x"))
        assert isinstance(snapshot, TaskSnapshot)
        assert RUN.format(100 * number) in {one.id for one in snapshot.executions if one.session}
        assert number == 1 or len(snapshot.executions) == 1


def test_a_task_that_a_cut_list_left_out_is_asked_for_alone_before_it_is_gone(
    server: Server, connection: RepositoryConnection
) -> None:
    """A task that is gone is a verdict: its start would be reported as not started."""
    site = Site()
    site.limit = 10

    def answers(call: Call) -> bytes:
        return reply(404, b"No matching endpoint") if call.path.endswith("/count") else site(call)

    server.answers = answers
    snapshots = looked_at(connection)
    assert [
        snapshot.task is not None for snapshot in snapshots.values() if isinstance(snapshot, TaskSnapshot)
    ] == [True] * 13


@pytest.mark.parametrize("status", [403, 404, 413, 431])
def test_a_question_about_many_tasks_that_is_refused_is_asked_about_fewer(
    server: Server, connection: RepositoryConnection, status: int
) -> None:
    """A proxy may not like how long it is."""
    site = Site()

    def answers(call: Call) -> bytes:
        too_long = call.path.startswith("/execution") and len(call.target) > 300
        return reply(status, b"too long") if too_long else site(call)

    server.answers = answers
    snapshots = looked_at(connection)
    assert all(isinstance(snapshot, TaskSnapshot) and snapshot.executions for snapshot in snapshots.values())


def test_a_kind_of_tasks_whose_sessions_are_refused_does_not_harm_the_others(
    server: Server, connection: RepositoryConnection
) -> None:
    site = Site()

    def answers(call: Call) -> bytes:
        refused = "externalProgramTask" in call.target
        return reply(400, b"Cannot parse the expression") if refused else site(call)

    server.answers = answers
    snapshots = looked_at(connection)
    assert isinstance(snapshots.pop(guid(13)), QlikRefused)
    assert all(isinstance(snapshot, TaskSnapshot) for snapshot in snapshots.values())

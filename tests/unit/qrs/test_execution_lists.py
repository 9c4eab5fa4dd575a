"""Executions by their ids, with as few questions as prove what is there."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest

from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs.execution_lists import ALL_SESSIONS_EVERY, FULL_LENGTH, MAX_IDS, ExecutionLists

GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def guid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


class Server:
    """Shows results and sessions by their ids; lists of sessions may be missing."""

    def __init__(self, *, active: int = 0, ended: int = 0, lists_sessions: bool = True) -> None:
        self.active = {guid(number) for number in range(active)}
        self.ended = {guid(active + number) for number in range(ended)}
        self.lists_sessions = lists_sessions
        self.asked: list[tuple[str, int]] = []

    def __call__(self, path: str, query: str = "") -> Any:
        entity = path.split("/")[1]
        ids = GUID.findall(unquote(query)) or GUID.findall(path)
        self.asked.append((entity, len(ids)))
        if entity == "executionresult":
            rows = [self._result(one) for one in ids if one in self.active | self.ended]
            return rows[:FULL_LENGTH]
        if not path.endswith("/full"):
            if ids[0] not in self.active:
                raise QlikRefused("no", 404)
            return self._session(ids[0])
        if not self.lists_sessions:
            raise QlikRefused("no", 404)
        return [self._session(one) for one in ids if one in self.active]

    def _result(self, identity: str) -> dict[str, object]:
        status = 2 if identity in self.active else 7
        return {
            "id": identity,
            "executionID": identity,
            "status": status,
            "startTime": "2031-01-31T08:00:00Z",
        }

    def _session(self, identity: str) -> dict[str, object]:
        return {"id": identity, "executionResult": {"id": identity, "status": 2}}


def test_what_runs_needs_no_question_for_its_session() -> None:
    server = Server(active=3)
    shown = ExecutionLists(server).read_by_id(sorted(server.active))
    assert all(one is not None and one.session for one in shown.values())
    assert server.asked == [("executionresult", 3)]


def test_the_session_is_asked_for_where_a_result_has_ended_or_is_not_there() -> None:
    server = Server(ended=1)
    shown = ExecutionLists(server).read_by_id([*server.ended, guid(99)])
    assert server.asked == [("executionresult", 2), ("executionsession", 2)]
    assert [one is None for one in shown.values()] == [False, True]


def test_now_and_then_all_sessions_are_read() -> None:
    server = Server(active=1)
    lists = ExecutionLists(server)
    for _ in range(ALL_SESSIONS_EVERY):
        lists.read_by_id(sorted(server.active))
    assert [entity for entity, _ in server.asked].count("executionsession") == 1


@pytest.mark.parametrize("number", [0, 1, MAX_IDS, MAX_IDS + 1, 3 * MAX_IDS])
def test_any_number_is_read_in_groups(number: int) -> None:
    server = Server(active=number)
    shown = ExecutionLists(server).read_by_id(sorted(server.active))
    assert len(shown) == number
    assert None not in shown.values()
    assert all(size <= MAX_IDS for _, size in server.asked)


def test_a_server_without_a_list_of_sessions_shows_them_one_by_one() -> None:
    server = Server(active=1, ended=1, lists_sessions=False)
    sessions = ExecutionLists(server).sessions_by_id(sorted(server.active | server.ended))
    assert len(sessions) == 1
    assert server.asked == [("executionsession", 2), ("executionsession", 1), ("executionsession", 1)]


def test_any_other_refusal_is_one() -> None:
    def refusing(path: str, query: str = "") -> object:
        raise QlikRefused(f"no {path} {query}", 403)

    with pytest.raises(QlikRefused):
        ExecutionLists(refusing).sessions_by_id([guid(1)])

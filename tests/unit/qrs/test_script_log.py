"""The script log is fetched by what there is, not by what the server says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs.script_log import last_lines

TASK = "96e580be-0000-4000-8000-000000000001"
RESULT = "9c100694-0000-4000-8000-000000000003"
FILE = "2030ee32-0000-4000-8000-000000000004"
#: A good result as a server of 2017 showed it, ids replaced: a log, and the flag false.
RECORDED: dict[str, object] = json.loads(
    '{"id":"9c100694-0000-4000-8000-000000000003","executingNodeName":"","status":7,'
    '"startTime":"2017-01-20T01:46:27.831Z","stopTime":"2017-01-20T01:47:17.615Z","duration":49784,'
    '"fileReferenceID":"2030ee32-0000-4000-8000-000000000004","scriptLogAvailable":false}'
)


class Site:
    """A server with some of the calls for script logs; `answers` are by path."""

    def __init__(self, row: Mapping[str, object], answers: Mapping[str, object]) -> None:
        self.answers = {"/executionresult/full": [row], **answers}
        self.asked: list[str] = []

    def read(self, path: str, query: str = "") -> object:
        self.asked.append(f"{path}?{query}" if query else path)
        if path not in self.answers:
            raise QlikRefused(f"{path}: 404 'No matching endpoint found'", 404)
        return self.answers[path]

    def log(self) -> list[str] | None:
        return last_lines(self.read, self.read, TASK, RESULT, 2)


OLD: dict[str, object] = {f"/reloadtask/{TASK}/scriptlog": {"value": FILE}}
NEW: dict[str, object] = {f"/reloadtask/{TASK}/scriptlogfile": {"value": FILE}}
TEXT: dict[str, object] = {f"/download/reloadtask/{FILE}/script.log": "one\r\ntwo\r\nthree\r\n"}


def test_a_log_that_is_said_not_to_be_available_is_fetched_by_its_reference() -> None:
    site = Site(RECORDED, OLD | TEXT)
    assert site.log() == ["two", "three"]
    assert site.asked[1] == f"/reloadtask/{TASK}/scriptlog?fileReferenceId={FILE}"


def test_a_server_that_knows_only_the_new_call_is_asked_by_the_result() -> None:
    site = Site(RECORDED, NEW | TEXT)
    assert site.log() == ["two", "three"]
    assert site.asked[2] == f"/reloadtask/{TASK}/scriptlogfile?executionResultId={RESULT}"


def test_a_result_without_a_reference_is_asked_for_by_the_new_call_only() -> None:
    site = Site(RECORDED | {"fileReferenceID": "00000000-0000-0000-0000-000000000000"}, OLD | NEW | TEXT)
    assert site.log() == ["two", "three"]
    assert not any("/scriptlog?" in path for path in site.asked)


def test_a_log_that_is_not_there_yet_is_none() -> None:
    assert Site(RECORDED, OLD | NEW).log() is None

"""Tasks are counted by kind, and a number that is not whole is none."""

from __future__ import annotations

import pytest

from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs.task_count import KINDS, count_tasks


def site(*answers: object) -> dict[str, object]:
    return {f"/{kind}/count": answer for kind, answer in zip(KINDS, answers, strict=True)}


def counted(answers: dict[str, object]) -> int | None:
    def read(path: str, query: str = "") -> object:
        assert query == "filter=x"
        answer = answers[path]
        if isinstance(answer, QlikRefused):
            raise answer
        return answer

    return count_tasks(read, "filter=x")


def refused(status: int) -> QlikRefused:
    return QlikRefused(f"{status}", status)


def test_the_number_of_tasks_is_that_of_all_kinds() -> None:
    assert counted(site({"value": 7}, {"value": 1}, {"value": 2})) == 10


@pytest.mark.parametrize("status", [400, 404])
def test_a_kind_that_the_server_does_not_know_has_no_tasks(status: int) -> None:
    assert counted(site({"value": 7}, refused(status), {"value": 2})) == 9


@pytest.mark.parametrize("statuses", [(404, 404, 404), (403, 404, 404), (404, 404, 401)])
def test_where_no_kind_is_counted_or_rights_are_missing_the_refusal_stands(
    statuses: tuple[int, int, int],
) -> None:
    with pytest.raises(QlikRefused):
        counted(site(*map(refused, statuses)))


@pytest.mark.parametrize("answer", [None, [], {}, {"value": "7"}, 7])
def test_an_answer_that_is_no_number_leaves_the_number_unknown(answer: object) -> None:
    assert counted(site({"value": 7}, answer, {"value": 2})) is None

"""What the server sends becomes words of the model, whatever is missing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from butler_mqtt.clock import from_ms, to_ms
from butler_mqtt.domain.model import ExecutionStatus
from butler_mqtt.qrs import json_fields
from tests.unit.dates import STAMPS

TASK = "fb0f317d-da91-4b86-aafa-0174ae1e8c8f"
RUN = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"
OTHER = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0002"
RESULT = "2f6c1f0a-6e0b-4f55-8a3a-7f0e2f1d2c3b"
RETRY = "2f6c1f0a-6e0b-4f55-8a3a-7f0e2f1d2c3c"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["id", "name", "taskType", "enabled", "tags", "customProperties", "operational", "app", "details"]
KEYS += ["startTime", "status", "duration", "executionID", "executionResult", "user", "createdDate"]


def at(hour: int, minute: int = 0) -> str:
    return f"2025-01-20T{hour:02}:{minute:02}:00.000Z"


def result(**changes: object) -> dict[str, object]:
    row: dict[str, object] = {
        "id": RESULT,
        "executionID": RUN,
        "createdDate": at(9),
        "startTime": at(9, 1),
        "status": 7,
    }
    return row | changes


def test_a_task_needs_only_id_and_name() -> None:
    task = json_fields.task({"id": TASK.upper(), "name": "Sales"})
    assert task is not None
    assert (task.id, task.name, task.task_type, task.enabled) == (TASK, "Sales", None, None)
    assert (task.tags, task.custom_properties, task.last, task.app_available) == ((), (), None, None)


def test_every_value_of_a_custom_property_keeps_its_own_name() -> None:
    values = [("Region", "APAC"), ("Region", "EMEA"), ("Owner", "IT")]
    raw = [{"value": value, "definition": {"name": name}} for name, value in values]
    task = json_fields.task(
        {"id": TASK, "name": "Sales", "customProperties": raw, "tags": [{"name": "Nightly"}]}
    )
    assert task is not None
    assert task.custom_properties == tuple(values)
    assert task.tags == ("Nightly",)


def test_a_task_type_nobody_knows_is_kept() -> None:
    task = json_fields.task({"id": TASK, "name": "Sales", "taskType": 17})
    assert task is not None
    assert task.task_type == 17


def test_a_reload_task_whose_app_is_null_has_no_app() -> None:
    task = json_fields.task({"id": TASK, "name": "Sales", "taskType": 0, "app": None})
    assert task is not None
    assert task.app_available is False


def test_a_task_that_never_ran_has_no_last_execution() -> None:
    never = {"id": RESULT, "status": 0, "startTime": "1753-01-01T00:00:00.000Z", "duration": 0, "details": []}
    task = json_fields.task({"id": TASK, "name": "Sales", "operational": {"lastExecutionResult": never}})
    assert task is not None
    assert task.last is None


def test_a_name_with_half_a_character_can_be_written() -> None:
    task = json_fields.task({"id": TASK, "name": "Sales \ud83d 😀"})
    assert task is not None
    assert task.name == "Sales ? 😀"


@pytest.mark.parametrize("value", [True, None, "7", float("nan"), float("inf"), 1e300, 2**63, -(10**30)])
def test_what_no_database_holds_is_no_number(value: object) -> None:
    assert json_fields.number(value) is None


def test_years_before_1900_and_9999_are_no_times() -> None:
    assert json_fields.time("1753-01-01T00:00:00.000Z") is None
    assert json_fields.time("9999-12-30T23:59:59.999Z") is None
    assert json_fields.time("2017-01-16T16:12:18.152Z") == datetime(2017, 1, 16, 16, 12, 18, 152000, UTC)


def test_the_message_is_the_last_error_else_the_last_detail_whatever_their_order() -> None:
    rows = [
        {"detailsType": 2, "message": "third", "detailCreatedDate": at(9, 3)},
        {"detailsType": 2, "message": "first", "detailCreatedDate": at(9, 1)},
    ]
    error = {"detailsType": 0, "message": "no\ndata\x1b[0m", "detailCreatedDate": at(9, 2)}
    assert json_fields.result(result(details=rows)).message == "third"
    assert json_fields.result(result(details=[*rows, error])).message == "no data [0m"


def test_the_state_is_the_retrys_and_the_beginning_the_first_results() -> None:
    failed = result(status=8)
    again = result(id=RETRY, createdDate=at(10), startTime=at(10, 1), status=7)
    for rows in ([failed, again], [again, failed]):
        (execution,) = json_fields.executions([], rows)
        assert (execution.id, execution.result_id, execution.status) == (RUN, RETRY, 7)
        assert execution.began == datetime(2025, 1, 20, 9, tzinfo=UTC)
        assert not execution.active


def test_a_session_is_active_whatever_its_result_says() -> None:
    session = {"id": RUN, "createdDate": at(8, 59), "user": "LAB\\me", "executionResult": result(status=8)}
    (execution,) = json_fields.executions([session], [result(status=8)])
    assert execution.session
    assert execution.active
    assert execution.user == "LAB\\me"
    assert execution.began == datetime(2025, 1, 20, 8, 59, tzinfo=UTC)


def test_a_result_that_names_no_execution_is_found_through_its_session() -> None:
    session = {"id": RUN, "executionResult": {"id": RESULT, "status": 2}}
    row = result(status=2)
    del row["executionID"]
    (execution,) = json_fields.executions([session], [row])
    assert (execution.id, execution.result_id) == (RUN, RESULT)


def test_a_session_without_a_result_counts_as_triggered() -> None:
    (execution,) = json_fields.executions([{"id": RUN, "executionResult": None}], [])
    assert (execution.id, execution.status) == (RUN, ExecutionStatus.TRIGGERED)
    assert execution.active


def test_executions_come_newest_first() -> None:
    late = result(id=RETRY, executionID=OTHER, createdDate=at(11), startTime=at(11))
    assert [one.id for one in json_fields.executions([], [result(), late])] == [OTHER, RUN]


def test_a_text_is_one_bounded_line() -> None:
    assert json_fields.text("a\r\n\tb\x00\x1b\u202ec", 20) == "a b c"
    assert json_fields.text("x" * 1000, 10) == "x" * 9 + "…"
    assert json_fields.text(12) == ""


@given(st.dictionaries(st.sampled_from(KEYS), json_values), st.lists(json_values), st.lists(json_values))
def test_no_shape_of_json_raises(
    raw: dict[str, object], sessions: list[object], results: list[object]
) -> None:
    task = json_fields.task({"id": TASK, "name": "x", **raw})
    assert task is None or task.id == raw.get("id", TASK).lower()  # type: ignore[attr-defined] # a str where kept
    known = json_fields.executions([*sessions, raw], [*results, raw])
    assert len(known) <= len(results) + len(sessions) + 2


@given(STAMPS)
@example("1753-01-01T00:00:00.000Z")
@example("9999-12-31T23:59:59.9999999Z")
def test_any_stamp_of_the_server_is_a_time_or_none(stamp: str) -> None:
    moment = json_fields.time(stamp)
    assert moment is None or 1900 <= moment.year < 9999
    assert from_ms(to_ms(moment)) is None or moment is not None

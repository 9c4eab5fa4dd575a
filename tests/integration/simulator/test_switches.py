"""What each switch changes, seen from outside."""

from __future__ import annotations

import email.utils
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.simulator.running import (
    CROSS,
    EMPTY,
    FAILING,
    KEY,
    LONG,
    PRELOAD,
    QUICK,
    UNKNOWN,
    Client,
    eventually,
)

_PAIR = "(customProperties.definition.name eq 'Region') and (customProperties.value eq 'APAC')"


def test_pairing_of_collection_terms(qrs: Client) -> None:
    assert {task["id"] for task in qrs.get("task", filter=_PAIR)} == {QUICK, CROSS}
    qrs.switch(pairing="sameObject")
    assert {task["id"] for task in qrs.get("task", filter=_PAIR)} == {QUICK}


def test_the_shorthand_for_custom_properties(qrs: Client) -> None:
    assert [task["id"] for task in qrs.get("task", filter="@Region eq 'apac'")] == [QUICK]
    assert qrs.call("GET", "task", filter="@Unknown eq 'apac'").status_code == 400
    qrs.switch(propertyShorthand="refused")
    assert qrs.call("GET", "task", filter="@Region eq 'apac'").status_code == 400


def test_doubled_quotes(qrs: Client) -> None:
    assert qrs.call("GET", "task", filter="name eq 'a''b'").status_code == 400
    qrs.switch(doubledQuote="accepted")
    assert qrs.get("task", filter="name eq 'a''b'") == []


def test_the_paths_of_the_abstract_task(qrs: Client) -> None:
    qrs.switch(abstractTask="present")
    assert qrs.get("task/count") == {"value": 8}
    assert qrs.get(f"task/{QUICK}")["id"] == QUICK


def test_guids_in_quotes(qrs: Client) -> None:
    refusal = qrs.call("GET", "task", filter=f"id eq '{QUICK}'")
    words = f"Cannot convert the constant value &quot;Guid&quot; to the following: &#39;{QUICK}&#39;"
    assert (refusal.status_code, refusal.text) == (400, words)
    qrs.switch(quotedGuid="accepted")
    assert [task["id"] for task in qrs.get("task", filter=f"id eq '{QUICK}'")] == [QUICK]


def test_the_text_of_a_refusal(qrs: Client) -> None:
    assert qrs.call("GET", "task", filter="a 'b'").text == "Cannot parse the expression: a &#39;b&#39;"
    qrs.switch(errorText="plain")
    assert qrs.call("GET", "task", filter="a 'b'").text == "Cannot parse the expression: a 'b'"


def test_the_start_of_a_running_task(qrs: Client) -> None:
    first = qrs.start(LONG)
    assert qrs.start(LONG) == EMPTY
    qrs.switch(alreadyRunning="same")
    assert qrs.start(LONG) == first
    qrs.switch(alreadyRunning="second")
    assert qrs.start(LONG) not in (first, EMPTY)
    assert qrs.get("executionsession/count") == {"value": 2}


def test_the_body_of_a_synchronous_start(qrs: Client) -> None:
    qrs.switch(synchronousBody="string")
    response = qrs.call("POST", f"task/{LONG}/start/synchronous")
    assert response.status_code == 201
    assert qrs.get(f"executionsession/{response.json()}")["id"] == response.json()


def test_the_status_for_an_unknown_task(qrs: Client) -> None:
    qrs.switch(unknownTask=400)
    assert qrs.call("POST", f"task/{UNKNOWN}/start").status_code == 400
    assert qrs.call("POST", "task/start", name="nobody").status_code == 400


def test_a_list_limit_cuts_lists_and_not_counts(qrs: Client) -> None:
    qrs.switch(listLimit=3)
    assert len(qrs.get("task/full")) == 3
    assert qrs.get("reloadtask/count") == {"value": 7}


def test_the_task_model_of_the_mixed_path(qrs: Client) -> None:
    qrs.switch(taskModel="base", abstractTask="present")
    for task in (qrs.get("task/full", filter=f"id eq {QUICK}")[0], qrs.get(f"task/{QUICK}")):
        assert task["tags"][0]["name"] == "Nightly"
        assert not {"app", "customProperties", "operational"} & set(task)
    assert "operational" not in qrs.get("task")[0]
    assert "customProperties" in qrs.get(f"reloadtask/{QUICK}")
    assert {task["id"] for task in qrs.get("task/full", filter=_PAIR)} == {QUICK, CROSS}


def test_the_clock_of_the_server(qrs: Client) -> None:
    qrs.switch(clockOffsetSeconds=-7200)
    header = email.utils.parsedate_to_datetime(qrs.call("GET", "about").headers["date"])
    created = datetime.fromisoformat(qrs.get(f"executionsession/{qrs.start(LONG)}")["createdDate"])
    for moment in (header, created):
        assert abs(datetime.now(UTC) - timedelta(hours=2) - moment) < timedelta(minutes=1)


def test_the_clocks_of_nodes(qrs: Client) -> None:
    """Executions are stamped in turn by nodes whose clocks differ from that of the `Date` header."""
    qrs.switch(nodeClockSeconds=[-60, 60], alreadyRunning="second")
    header = email.utils.parsedate_to_datetime(qrs.call("GET", "about").headers["date"])
    created = [
        datetime.fromisoformat(qrs.get(f"executionsession/{qrs.start(LONG)}")["createdDate"])
        for _ in range(3)
    ]
    assert [round((moment - header).total_seconds() / 60) for moment in created] == [-1, 1, -1]
    qrs.switch(nodeClockSeconds=3600)
    created = [datetime.fromisoformat(qrs.get(f"executionsession/{qrs.start(LONG)}")["createdDate"])]
    assert round((created[0] - header).total_seconds() / 3600) == 1


def test_the_date_header(qrs: Client) -> None:
    qrs.switch(dateAgeSeconds=3600)
    old = qrs.call("GET", "about").headers["date"]
    assert datetime.now(UTC) - email.utils.parsedate_to_datetime(old) > timedelta(minutes=59)
    qrs.switch(dateHeader="constant", dateAgeSeconds=0)
    kept = qrs.call("GET", "about").headers["date"]
    qrs.switch(clockOffsetSeconds=600)
    assert qrs.call("GET", "about").headers["date"] == kept
    qrs.switch(dateHeader="missing")
    assert "date" not in qrs.call("GET", "about").headers


def test_the_rights_of_the_user(qrs: Client) -> None:
    qrs.switch(rights="read")
    refusal = qrs.call("POST", f"task/{QUICK}/start/synchronous")
    assert (refusal.status_code, refusal.text) == (403, "Forbidden")
    assert len(qrs.get("task")) == 8
    qrs.switch(rights="none")
    assert qrs.get("task/full") == []
    assert qrs.get("reloadtask/count") == {"value": 0}
    assert qrs.call("GET", f"reloadtask/{QUICK}").status_code == 403
    assert qrs.admin("GET", "/starts")["executions"] == 0


def test_the_user_header_can_be_optional(qrs: Client) -> None:
    qrs.switch(userHeader="optional")
    response = qrs.raw("GET", f"/qrs/about?xrfkey={KEY}", headers={"X-Qlik-Xrfkey": KEY})
    assert response.status_code == 200


def test_the_scheduler_can_be_absent(qrs: Client) -> None:
    qrs.switch(scheduler="absent")
    assert qrs.start(QUICK) == EMPTY


def test_results_lag_behind_the_end_of_the_session(qrs: Client) -> None:
    qrs.switch(resultLagSeconds=0.5)
    execution_id = qrs.start(QUICK)
    eventually(lambda: qrs.session_gone(execution_id))
    mine = f"executionID eq {execution_id}"
    assert qrs.get("executionresult/full", filter=mine)[0]["status"] == 2
    eventually(
        lambda: qrs.get("executionresult/count", filter=f"{mine} and status eq FinishedSuccess")["value"]
    )


def test_retries_can_share_one_result(qrs: Client) -> None:
    qrs.switch(retryResults="one")
    execution_id = qrs.start(FAILING)
    eventually(lambda: qrs.session_gone(execution_id))
    assert len(qrs.get("executionresult", filter=f"executionID eq {execution_id}")) == 1


def test_types_can_be_given_sessions(qrs: Client) -> None:
    qrs.switch(sessionTypes=[0, 1, 2, 3, 4])
    assert qrs.start(PRELOAD) != EMPTY


@pytest.mark.parametrize(("position", "statuses"), [("old", (200, 404)), ("new", (404, 200))])
def test_a_server_may_know_only_one_way_to_the_script_log(
    qrs: Client, position: str, statuses: tuple[int, int]
) -> None:
    qrs.switch(scriptLog=position)
    execution_id = qrs.start(QUICK)
    eventually(lambda: qrs.session_gone(execution_id))
    result = qrs.get("executionresult/full", filter=f"executionID eq {execution_id}")[0]
    old = qrs.call("GET", f"reloadtask/{QUICK}/scriptlog", fileReferenceId=result["fileReferenceID"])
    new = qrs.call("GET", f"reloadtask/{QUICK}/scriptlogfile", executionResultId=result["id"])
    assert (old.status_code, new.status_code) == statuses


def test_a_script_log_may_be_said_to_be_available(qrs: Client) -> None:
    qrs.switch(scriptLogAvailable=True)
    execution_id = qrs.start(QUICK)
    eventually(lambda: qrs.session_gone(execution_id))
    assert qrs.get("executionresult/full", filter=f"executionID eq {execution_id}")[0]["scriptLogAvailable"]


def test_a_script_log_may_come_late(qrs: Client) -> None:
    qrs.switch(scriptLogLagSeconds=0.5)
    execution_id = qrs.start(QUICK)
    eventually(lambda: qrs.session_gone(execution_id))
    result = qrs.get("executionresult/full", filter=f"executionID eq {execution_id}")[0]
    path = f"download/reloadtask/{result['fileReferenceID']}/x"
    assert qrs.call("GET", path).status_code == 404
    eventually(lambda: qrs.call("GET", path).status_code == 200)

"""Every endpoint and status of the tables, over TLS with a client certificate."""

from __future__ import annotations

import email.utils
import uuid

import pytest
import requests

from tests.integration.simulator.running import (
    CROSS,
    DISABLED,
    EMPTY,
    FAILING,
    KEY,
    LONG,
    NO_APP,
    PRELOAD,
    PROGRAM,
    QUICK,
    UNKNOWN,
    USER,
    Client,
    eventually,
)

XSRF = "XSRF prevention check failed. Possible XSRF discovered."


def refused(response: requests.Response, status: int, text: str) -> None:
    assert (response.status_code, response.text) == (status, text)
    assert response.headers["content-type"].startswith("text/plain")
    assert "date" in response.headers


def test_about_describes_the_server_with_the_time(qrs: Client) -> None:
    response = qrs.call("GET", "about")
    assert response.json()["buildVersion"] == "31.60.4.0"
    email.utils.parsedate_to_datetime(response.headers["date"])
    assert qrs.call("GET", "ssl/ping").status_code == 200


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/qrs/about", {"X-Qlik-Xrfkey": KEY, "X-Qlik-User": USER}),
        (f"/qrs/about?xrfkey={KEY}", {"X-Qlik-User": USER}),
        (f"/qrs/about?xrfkey={KEY}", {"X-Qlik-Xrfkey": "fedcba9876543210", "X-Qlik-User": USER}),
        ("/qrs/about?xrfkey=short", {"X-Qlik-Xrfkey": "short", "X-Qlik-User": USER}),
        ("/qrs/about?xrfkey=0123456789abcde-", {"X-Qlik-Xrfkey": "0123456789abcde-", "X-Qlik-User": USER}),
        # A raw `#` cuts off what comes behind it.
        (f"/qrs/tag?filter=name#&xrfkey={KEY}", {"X-Qlik-Xrfkey": KEY, "X-Qlik-User": USER}),
    ],
)
def test_a_missing_or_different_xrfkey_is_403(qrs: Client, target: str, headers: dict[str, str]) -> None:
    refused(qrs.raw("GET", target, headers=headers), 403, XSRF)


@pytest.mark.parametrize(
    "user", [None, "", "sa_repository", "UserDirectory=INTERNAL", "UserId=x; UserDirectory=y"]
)
def test_a_missing_or_malformed_user_is_403(qrs: Client, user: str | None) -> None:
    headers = {"X-Qlik-Xrfkey": KEY} | ({} if user is None else {"X-Qlik-User": user})
    refused(qrs.raw("GET", f"/qrs/about?xrfkey={KEY}", headers=headers), 403, "Forbidden")


def test_the_blank_in_the_user_is_optional(qrs: Client) -> None:
    headers = {"X-Qlik-Xrfkey": KEY, "X-Qlik-User": "UserDirectory=LAB;UserId=goran"}
    assert qrs.raw("GET", f"/qrs/about?xrfkey={KEY}", headers=headers).status_code == 200
    assert qrs.admin("GET", "/calls")["calls"][-1]["user"] == "LAB\\goran"


def test_paths_and_parameter_names_are_read_without_case(qrs: Client) -> None:
    response = qrs.raw("GET", f"/QRS/ReloadTask/Full?XrfKey={KEY}&Filter=Name%20eq%20'QUICK'")
    assert [task["id"] for task in response.json()] == [QUICK]


@pytest.mark.parametrize("path", ["nothing", "task/full/more", "task/start/other/thing", "about/full"])
def test_an_unknown_path_is_404(qrs: Client, path: str) -> None:
    refused(qrs.call("GET", path), 404, "No matching endpoint found")
    refused(qrs.call("POST", "about"), 404, "No matching endpoint found")


def test_a_path_outside_qrs_is_404(qrs: Client) -> None:
    refused(qrs.raw("GET", "/other"), 404, "No matching endpoint found")


def test_the_full_form_of_a_reload_task_has_every_property(qrs: Client) -> None:
    task = qrs.get(f"reloadtask/{QUICK}")
    assert set(task) == {
        "id",
        "createdDate",
        "modifiedDate",
        "modifiedByUserName",
        "customProperties",
        "app",
        "isManuallyTriggered",
        "isPartialReload",
        "timeToLive",
        "preloadNodes",
        "operational",
        "name",
        "taskType",
        "enabled",
        "taskSessionTimeout",
        "maxRetries",
        "tags",
        "privileges",
        "schemaPath",
    }
    assert task["tags"][0]["name"] == "Nightly"
    assert task["customProperties"][0]["definition"]["name"] == "Region"
    assert task["customProperties"][0]["definition"]["choiceValues"] == [
        "Americas",
        "APAC",
        "EMEA",
        "finance",
    ]
    assert task["operational"]["lastExecutionResult"]["status"] == 0
    assert task["operational"]["lastExecutionResult"]["startTime"] == "1753-01-01T00:00:00.000Z"
    assert qrs.get(f"reloadtask/{QUICK}") == task
    assert task in qrs.get("task/full")
    assert task in qrs.get("reloadtask/full")


def test_condensed_forms_have_neither_app_nor_tags(qrs: Client) -> None:
    assert set(qrs.get("task")[0]) == {"id", "name", "taskType", "enabled", "operational"}
    assert set(qrs.get("reloadtask")[0]) == {
        "id",
        "name",
        "taskType",
        "enabled",
        "taskSessionTimeout",
        "maxRetries",
        "operational",
        "privileges",
    }


def test_each_entity_path_shows_its_kinds(qrs: Client) -> None:
    assert qrs.call("GET", "task/count").status_code == 404
    assert qrs.call("GET", f"task/{QUICK}").status_code == 404
    assert qrs.get("reloadtask/count") == {"value": 7}
    assert [task["id"] for task in qrs.get("externalprogramtask/full")] == [PROGRAM]
    assert qrs.get("usersynctask") == []
    assert qrs.get(f"reloadtask/{PRELOAD}")["taskType"] == 4
    assert qrs.get(f"externalprogramtask/{PROGRAM}")["schemaPath"] == "ExternalProgramTask"
    assert qrs.call("GET", f"reloadtask/{PROGRAM}").status_code == 404


def test_a_list_is_filtered_counted_and_ordered(qrs: Client) -> None:
    either = f"id eq {QUICK} or id eq {LONG}"
    assert qrs.get("reloadtask/count", filter=either) == {"value": 2}
    assert [task["name"] for task in qrs.get("task", filter=either, orderby="name")] == ["Long", "Quick"]
    assert [task["name"] for task in qrs.get("task", filter=either, orderby="name desc")] == ["Quick", "Long"]
    assert qrs.get("task/full", filter="name eq 'nobody'") == []


def test_privileges_are_filled_when_asked_for(qrs: Client) -> None:
    assert "read" in qrs.get(f"reloadtask/{QUICK}", privileges="true")["privileges"]
    assert "read" in qrs.get("task/full", privileges="true")[0]["privileges"]


def test_unknown_parameters_are_ignored(qrs: Client) -> None:
    assert len(qrs.get("task", skip="1", take="1")) == 8


def test_a_filter_that_cannot_be_parsed_is_400_with_its_text(qrs: Client) -> None:
    text = "name eq 'Q1''25'"
    refused(
        qrs.call("GET", "task", filter=text),
        400,
        "Cannot parse the expression: name eq &#39;Q1&#39;&#39;25&#39;",
    )
    refused(qrs.call("GET", "task", filter="()"), 400, "Invalid expression")
    assert qrs.call("GET", "task", filter="colour eq 'red'").status_code == 400
    assert qrs.call("GET", "task", orderby="colour").status_code == 400


@pytest.mark.parametrize("raw", ["name%20eq%20'a%20&%20b'", "", "name%20eq%20'a'&"])
def test_a_raw_ampersand_or_a_parameter_without_value_is_400(qrs: Client, raw: str) -> None:
    response = qrs.raw("GET", f"/qrs/task?xrfkey={KEY}&filter={raw}&b")
    refused(response, 400, "Missing parameter value(s)")


def test_a_plus_sign_is_no_blank(qrs: Client) -> None:
    assert qrs.raw("GET", f"/qrs/task?xrfkey={KEY}&filter=name+eq+'Quick'").status_code == 400


def test_ids_that_are_malformed_or_unknown_are_told_apart(qrs: Client) -> None:
    assert qrs.call("GET", "reloadtask/abc").status_code == 400
    assert qrs.call("GET", f"reloadtask/{UNKNOWN}").status_code == 404
    assert qrs.call("GET", f"executionsession/{UNKNOWN}").status_code == 404


def test_tags_and_custom_property_definitions_can_be_read(qrs: Client) -> None:
    assert [tag["name"] for tag in qrs.get("tag/full")] == ["unused", "Nightly", "nightly-long"]
    assert set(qrs.get("tag")[0]) == {"id", "name", "privileges"}
    found = qrs.get("custompropertydefinition/full", filter="name eq 'Region'")[0]
    assert found["choiceValues"] == ["Americas", "APAC", "EMEA", "finance"]
    assert qrs.get("task/full", filter="@Region eq 'finance'")[0]["id"] == CROSS


def test_a_synchronous_start_gives_the_session_at_once(qrs: Client) -> None:
    execution_id = qrs.start(LONG)
    session = qrs.get(f"executionsession/{execution_id}")
    assert session["user"] == "INTERNAL\\sa_repository"
    assert session["executionResult"]["status"] == 2
    found = qrs.get("executionsession/full", filter=f"reloadTask.id eq {LONG}")
    assert [one["id"] for one in found] == [execution_id]
    result = qrs.get("executionresult/full", filter=f"ExecutionId eq {execution_id}")[0]
    assert (result["taskID"], result["status"]) == (LONG, 2)
    assert qrs.get(f"reloadtask/{LONG}")["operational"]["lastExecutionResult"]["id"] == result["id"]
    assert qrs.get(f"executionresult/{result['id']}") == result


def test_a_session_is_gone_when_the_execution_has_ended(qrs: Client) -> None:
    execution_id = qrs.start(QUICK)
    eventually(lambda: qrs.session_gone(execution_id))
    result = qrs.get("executionresult/full", filter=f"executionID eq {execution_id}")[0]
    assert result["status"] == 7
    assert result["stopTime"] > result["startTime"]


def test_condensed_results_do_not_tell_their_task(qrs: Client) -> None:
    qrs.start(LONG)
    assert not {"taskID", "executionID", "appID", "createdDate"} & set(qrs.get("executionresult")[0])


def test_a_retried_execution_has_several_results(qrs: Client) -> None:
    execution_id = qrs.start(FAILING)
    eventually(lambda: qrs.session_gone(execution_id))
    results = qrs.get(
        "executionresult/full", filter=f"executionID eq {execution_id}", orderby="startTime desc"
    )
    assert [result["status"] for result in results] == [8, 8]
    assert results[0]["startTime"] > results[1]["startTime"]


@pytest.mark.parametrize("task_id", [DISABLED, NO_APP])
def test_a_task_that_cannot_start_gives_the_empty_guid_with_201(qrs: Client, task_id: str) -> None:
    assert qrs.start(task_id) == EMPTY
    assert qrs.call("POST", f"task/{task_id}/start").status_code == 204
    assert qrs.get("executionsession/count") == {"value": 0}


def test_an_asynchronous_start_is_204_without_a_body(qrs: Client) -> None:
    response = qrs.call("POST", f"task/{LONG}/start")
    assert (response.status_code, response.content) == (204, b"")
    assert qrs.get("executionsession/count") == {"value": 1}
    # A body does not hurt.
    assert qrs.call("POST", f"task/{QUICK}/start", json={}).status_code == 204


def test_a_type_without_sessions_leaves_only_a_result(qrs: Client) -> None:
    assert qrs.start(PRELOAD) == EMPTY
    assert qrs.call("POST", f"task/{PRELOAD}/start").status_code == 204
    eventually(lambda: qrs.get("executionresult/full", filter=f"taskID eq {PRELOAD} and status eq 7"))


def test_a_task_can_be_started_by_its_name(qrs: Client) -> None:
    assert qrs.call("POST", "task/start", name="long").status_code == 204
    response = qrs.call("POST", "task/start/synchronous", name="Program")
    assert (response.status_code, bool(response.json()["value"])) == (201, True)
    assert qrs.call("POST", "task/start", name="nobody").status_code == 404
    assert qrs.call("POST", "task/start").status_code == 400


def test_many_are_started_and_stopped_at_once(qrs: Client) -> None:
    assert qrs.call("POST", "task/start/many", json=[LONG, PROGRAM]).status_code == 204
    assert qrs.admin("GET", "/starts")["executions"] == 2
    assert qrs.call("POST", "task/stop/many", json=[LONG]).status_code == 204
    eventually(
        lambda: qrs.get("executionresult/count", filter=f"taskID eq {LONG} and status eq Aborted")["value"]
    )


@pytest.mark.parametrize(
    ("ids", "status"), [([LONG, UNKNOWN], 404), ([LONG, "abc"], 400), ({}, 400), ([1], 400)]
)
def test_one_bad_id_among_many_starts_none(qrs: Client, ids: object, status: int) -> None:
    assert qrs.call("POST", "task/start/many", json=ids).status_code == status
    assert qrs.admin("GET", "/starts")["executions"] == 0


def test_starting_what_is_unknown_or_malformed_is_refused(qrs: Client) -> None:
    for path in ("start", "start/synchronous", "stop"):
        assert qrs.call("POST", f"task/{UNKNOWN}/{path}").status_code == 404
        assert qrs.call("POST", f"task/abc/{path}").status_code == 400


def test_a_stop_aborts_and_is_204_even_when_nothing_runs(qrs: Client) -> None:
    execution_id = qrs.start(LONG)
    assert qrs.call("POST", f"task/{LONG}/stop").status_code == 204
    eventually(lambda: qrs.session_gone(execution_id))
    assert qrs.get(f"reloadtask/{LONG}")["operational"]["lastExecutionResult"]["status"] == 6
    assert qrs.call("POST", f"task/{LONG}/stop").status_code == 204


def test_what_finds_no_engine_is_queued(qrs: Client) -> None:
    qrs.switch(maxConcurrentEngines=1)
    assert qrs.get("schedulerservice/full")[0]["settings"]["maxConcurrentEngines"] == 1
    qrs.start(LONG)
    queued = qrs.start(QUICK)
    assert qrs.get(f"executionsession/{queued}")["executionResult"]["status"] == 3


def test_the_scheduler_service_tells_the_capacity(qrs: Client) -> None:
    node = qrs.get("schedulerservice/full")[0]
    assert node["settings"]["maxConcurrentEngines"] == 2
    assert node["serverNodeConfiguration"]["hostName"] == "sense1.lab.local"


def test_a_script_log_is_fetched_in_two_calls_in_two_ways(qrs: Client) -> None:
    execution_id = qrs.start(QUICK)
    eventually(lambda: qrs.session_gone(execution_id))
    result = qrs.get("executionresult/full", filter=f"executionID eq {execution_id}")[0]
    assert not result["scriptLogAvailable"]
    old = qrs.get(f"reloadtask/{QUICK}/scriptlog", fileReferenceId=result["fileReferenceID"])["value"]
    new = qrs.get(f"reloadtask/{QUICK}/scriptlogfile", executionResultId=result["id"])["value"]
    for value in (old, new):
        log = qrs.call("GET", f"download/reloadtask/{value}/Script.LOG")
        assert log.content.count(b"\r\n") == 2
        assert len(log.content) == result["scriptLogSize"]


def test_a_script_log_that_does_not_exist_is_404(qrs: Client) -> None:
    other = str(uuid.uuid4())
    assert qrs.call("GET", f"reloadtask/{QUICK}/scriptlog", fileReferenceId=other).status_code == 404
    assert qrs.call("GET", f"reloadtask/{QUICK}/scriptlogfile", executionResultId=other).status_code == 404
    assert qrs.call("GET", f"download/reloadtask/{other}/x").status_code == 404
    assert qrs.call("GET", f"reloadtask/{QUICK}/scriptlog").status_code == 400

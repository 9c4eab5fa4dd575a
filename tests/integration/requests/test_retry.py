"""`requests retry`, as far as it needs no broker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.audit import requests_again
from butler_mqtt.audit.requests_choice import Declined
from butler_mqtt.cli.start_request import on_topic_of
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.journal import tables
from butler_mqtt.settings import MqttSettings, Sender, Settings
from tests.integration.requests.conftest import call, lines, several
from tests.pipeline.harness import Harness


def config(harness: Harness, tmp_path: Path, **mqtt: object) -> Path:
    file = tmp_path / "config.yaml"
    needed = {
        "configQRS": {"host": "sense"},
        "cert": {"clientCert": "client.pem", "clientCertKey": "key.pem"},
        "journal": {"url": f"sqlite:///{harness.path}"},
        "mqttConfig": mqtt,
    }
    file.write_text(json.dumps({"Butler": needed}))
    return file


def test_only_what_failed_is_retried(harness: Harness, tmp_path: Path) -> None:
    harness.ask({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    harness.ask({"taskId": "abc", "requestId": "erp-2"})
    file = config(harness, tmp_path)
    for request_id, complaint in (
        ("erp-1", "nothing of request erp-1 has failed"),
        ("erp-2", "request erp-2 was never understood"),
        ("erp-9", "no request erp-9 is in"),
    ):
        done = call("retry", request_id, "-c", file)
        assert done.exit_code == 1
        assert complaint in done.stderr


def test_an_open_request_is_not_retried(harness: Harness, tmp_path: Path) -> None:
    harness.site.down = True
    harness.send({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    harness.until(harness.open_rows)
    done = call("retry", "erp-1", "-c", config(harness, tmp_path))
    assert done.exit_code == 1
    assert "request erp-1 is still open" in done.stderr


def test_what_is_unknown_is_retried_only_on_demand(harness: Harness, tmp_path: Path) -> None:
    harness.ask({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    with harness.journal.transaction() as connection:
        connection.execute(tables.starts.update().values(state="unknown"))
    done = call("retry", "erp-1", "-c", config(harness, tmp_path))
    assert done.exit_code == 1
    assert "it is not known whether these began: Sales" in done.stderr
    done = call("retry", "erp-1", "--unknown", "-c", config(harness, tmp_path, enable=False))
    assert "mqttConfig.enable is false" in done.stderr


def test_one_task_of_those_that_failed_can_be_asked_for_alone(harness: Harness) -> None:
    both = [harness.site.add("Sales"), harness.site.add("Stock")]
    harness.ask({"taskId": both, "requestId": "erp-1", "ifRunning": "skip"})
    with harness.journal.transaction() as connection:
        connection.execute(tables.starts.update().values(state="failed"))
    assert requests_again.retried(harness.path, "erp-1")["taskId"] == both
    again = requests_again.retried(harness.path, "erp-1", task_id=both[1])
    assert (again["taskId"], again["ifRunning"]) == ([both[1]], "skip")


# ---- an id that several requests had


def retried(harness: Harness, number: int | None = None) -> Any:
    """Return the request that `retry erp-1` would send."""
    return requests_again.retried(harness.path, "erp-1", number)


def test_after_a_conflict_a_retry_asks_which_request_is_meant(harness: Harness, tmp_path: Path) -> None:
    """The newest is the one refused: its tasks are another request's."""
    several(harness)
    done = call("retry", "erp-1", "-c", config(harness, tmp_path))
    assert done.exit_code == 1
    assert "several requests had the id erp-1; name one with --number" in done.stderr
    assert re.search(r"--number 1 +arrived \S+ \S+ +closed", done.stderr)
    assert re.search(r"--number 2 +arrived \S+ \S+ +refused, request_id_conflict", done.stderr)


def test_a_retry_asks_for_the_tasks_of_the_one_named(harness: Harness) -> None:
    failing, other = several(harness)
    assert retried(harness, 1)["taskId"] == [failing]
    assert retried(harness, 2)["taskId"] == [other]
    first, second = (row["received_at"] for row in harness.rows(tables.requests))
    assert retried(harness, 1)["sender"] == f"retry of erp-1 arrived {stamp_ms(first)}"
    assert retried(harness, 2)["sender"] == f"retry of erp-1 arrived {stamp_ms(second)}"


@pytest.mark.parametrize(
    ("number", "complaint"), [(3, "there is no number 3"), (0, "0 is not in the range x>=1")]
)
def test_a_number_that_does_not_exist_is_refused(
    harness: Harness, tmp_path: Path, number: int, complaint: str
) -> None:
    several(harness)
    done = call("retry", "erp-1", "--number", str(number), "-c", config(harness, tmp_path))
    assert done.exit_code in {1, 2}
    assert complaint in done.stderr


def test_the_same_request_sent_again_after_a_refusal_needs_no_number(harness: Harness) -> None:
    """Its id was freed by the refusal: of two that ask for the same the newest is meant."""
    task = harness.site.add("Sales")
    harness.site.change(task, enabled=False)
    harness.send({"taskId": task, "requestId": "erp-1"})
    harness.replied()
    with harness.journal.transaction() as connection:
        connection.execute(tables.requests.update().values(holds_id=False))
    harness.ask({"taskId": task, "requestId": "erp-1"})
    assert retried(harness)["sender"] == "retry of erp-1"


def test_a_refused_dry_run_is_retried_as_a_dry_run(harness: Harness) -> None:
    """Without that word it would start what it was only asked about."""
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "requestId": "erp-1", "dryRun": True, "expiresAt": "2020-01-01T00:00:00Z"})
    assert retried(harness) | {"requestId": "x"} == {
        "taskId": [task],
        "dryRun": True,
        "requestId": "x",
        "sender": "retry of erp-1",
    }


def test_the_timeline_says_who_holds_the_id_and_which_was_retried(harness: Harness) -> None:
    several(harness)
    again = retried(harness, 2)
    harness.ask(again)
    printed = call("erp-1", "--journal", harness.path).stdout
    assert "request erp-1 (1 of 2 with this id): failed: 1 notStarted (task_disabled: Failing)" in printed
    assert "request erp-1 (2 of 2 with this id; the id belongs to number 1): refused: " in printed
    assert f"retried by request {again['requestId']}, {again['sender']}" in printed
    holds = [one["holdsId"] for one in lines(call("export", "--journal", harness.path))]
    assert holds == [True, False, True]


def test_what_failed_in_stages_is_retried_in_stages(harness: Harness) -> None:
    tasks = [harness.site.add(name) for name in ("Extract", "Load", "Publish")]
    stages = [{"taskId": tasks[0]}, {"taskId": tasks[1]}, {"taskId": tasks[2], "name": "publish"}]
    harness.ask({"requestId": "night", "stages": stages})
    for task, status in zip(tasks, (7, 8), strict=False):
        harness.until(lambda task=task: harness.site.running(task))  # type: ignore[misc] # of now
        harness.site.end(task, status)
    harness.until(lambda: harness.rows(tables.starts)[2]["state"] == "notStarted")
    again = requests_again.retried(harness.path, "night")
    assert again["stages"] == [{"taskId": [tasks[1]]}, {"taskId": [tasks[2]], "name": "publish"}]


def test_a_cancel_is_not_retried(harness: Harness) -> None:
    harness.ask({"requestId": "erp-1", "cancel": "nobody"})
    with pytest.raises(Declined, match="request erp-1 is a cancel"):
        retried(harness)


def test_a_retry_goes_to_the_topic_of_the_sender_whose_request_it_repeats() -> None:
    mqtt = MqttSettings()
    settings = Settings(mqtt=mqtt, senders=(Sender("erp", "start/erp"), Sender("crm")))
    assert on_topic_of(settings, None) == mqtt
    assert on_topic_of(settings, "erp").task_start_topic == "start/erp"
    with pytest.raises(ValueError, match="the sender crm has no topic"):
        on_topic_of(settings, "crm")
    with pytest.raises(ValueError, match="no sender former; it has: erp, crm"):
        on_topic_of(settings, "former")


def test_the_owner_of_a_request_is_the_one_of_the_request_that_is_meant(harness: Harness) -> None:
    harness.ask({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    assert requests_again.owner(harness.path, "erp-1") is None
    with harness.journal.transaction() as connection:
        connection.execute(tables.requests.update().values(identity="erp"))
    assert requests_again.owner(harness.path, "erp-1") == "erp"

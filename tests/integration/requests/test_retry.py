"""What the broker did not take: sent again or discarded, by the daemon or without it."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.cli import requests_retry
from butler_mqtt.cli.requests_timeline import moment
from butler_mqtt.journal import tables
from butler_mqtt.outbox import dead_letters
from butler_mqtt.outbox.dead_letters import Action, Command, parse, place
from butler_mqtt.settings import Mqtt
from tests.integration.requests.conftest import call, delivered, lines
from tests.pipeline.harness import House


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(requests_retry, "HANDOVER_SECONDS", 1.0)


def set_aside(house: House, *request_ids: str) -> None:
    """Have the replies to these requests set aside."""
    for request_id in request_ids:
        house.ask({"taskId": "abc", "requestId": request_id})
        house.broker.refuse(house.broker.published[-1].id, "not authorized", final=True)
    house.until(lambda: len(aside(house)) == len(request_ids))


def aside(house: House) -> list[str]:
    return [row["request_id"] for row in house.rows(tables.outbox) if row["quarantined_at"] is not None]


def beside(house: House, *arguments: str) -> Any:
    """Run the command while the house turns."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(call(*arguments, "--journal", house.path)))
    thread.start()
    house.until(lambda: not thread.is_alive(), 20)
    thread.join()
    return done[0]


def test_a_running_daemon_sends_a_reply_again_when_told(house: House) -> None:
    set_aside(house, "erp-1", "erp-2")
    published = len(house.replies())
    done = beside(house, "resend", "erp-1")
    assert (done.exit_code, done.stdout) == (0, "1 of 1 messages: to be published again now\n")
    assert [reply["requestId"] for reply in house.replies()[published:]] == ["erp-1"]
    assert aside(house) == ["erp-2"]
    house.broker.confirm()
    house.until(lambda: len(house.rows(tables.outbox)) == 1)
    assert [bool(row["confirmed_at"]) for row in house.rows(tables.deliveries)] == [True, False]
    assert list(house.folder.glob("*.command*")) == []


def test_a_reply_sent_again_goes_where_it_belongs(house: House) -> None:
    body = json.dumps({"taskId": "abc", "requestId": "erp-1"}).encode()
    house.send(body, response_topic="qliksense/mine", correlation=b"\x01")
    house.replied()
    first = house.broker.published[-1]
    house.broker.refuse(first.id, "not authorized", final=True)
    house.until(lambda: aside(house))
    assert beside(house, "resend", "--all").exit_code == 0
    again = house.broker.published[-1]
    assert (again.topic, again.correlation, again.payload, again.delivery) == (
        "qliksense/mine",
        b"\x01",
        first.payload,
        first.delivery,
    )


def test_a_reply_that_is_refused_once_more_is_set_aside_again(house: House) -> None:
    set_aside(house, "erp-1")
    assert beside(house, "resend", "erp-1").exit_code == 0
    house.broker.refuse(house.broker.published[-1].id, "not authorized", final=True)
    house.until(lambda: aside(house) == ["erp-1"])
    assert beside(house, "resend", "erp-1").exit_code == 0


def test_a_running_daemon_discards_when_told_and_the_story_says_so(house: House) -> None:
    set_aside(house, "erp-1", "erp-2")
    done = beside(house, "discard", "erp-2")
    assert (done.exit_code, done.stdout) == (0, "1 of 1 messages: discarded\n")
    assert aside(house) == ["erp-1"]
    assert "the reply was discarded by an operator" in call("erp-2", "--journal", house.path).stdout


def test_all_messages_go_in_commands_of_bounded_size(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_retry, "MAX_MESSAGES", 2)
    set_aside(house, *(f"erp-{number}" for number in range(5)))
    done = beside(house, "resend", "--all")
    assert (done.exit_code, done.stdout) == (0, "5 of 5 messages: to be published again now\n")
    house.until(lambda: delivered(house))


def test_without_a_daemon_it_is_done_at_once_and_holds_after_the_next_start(house: House) -> None:
    set_aside(house, "erp-1", "erp-2")
    house.crash()
    assert call("discard", "erp-1", "--journal", house.path).exit_code == 0
    done = call("resend", "erp-2", "--journal", house.path)
    assert (done.exit_code, done.stdout) == (
        0,
        "1 of 1 messages: to be published again when the daemon runs\n",
    )
    published = len(house.replies())
    house.start()
    house.until(lambda: len(house.replies()) > published)
    assert [reply["requestId"] for reply in house.replies()[published:]] == ["erp-2"]
    house.until(lambda: delivered(house))


def test_a_daemon_that_does_not_take_the_command_is_told_of_and_it_is_withdrawn(house: House) -> None:
    set_aside(house, "erp-1")
    done = call("resend", "erp-1", "--journal", house.path)
    assert done.exit_code == 1
    assert "did not take the command in 1 s; it was withdrawn" in done.stderr
    assert not place(house.path).exists()
    assert list(house.folder.glob("*.command*")) == []


def test_a_command_of_another_operator_is_not_overwritten(house: House) -> None:
    set_aside(house, "erp-1")
    first = Command(Action.DISCARD, (12345,)).encode()
    place(house.path).write_text(first)
    assert call("resend", "erp-1", "--journal", house.path).exit_code == 1
    assert place(house.path).read_text() == first


def test_nothing_set_aside_ends_with_1_and_a_sentence(house: House) -> None:
    done = call("resend", "erp-1", "--journal", house.path)
    assert done.exit_code == 1
    assert "no message of request erp-1 is set aside in" in done.stderr


def test_a_command_found_again_after_a_crash_changes_nothing(house: House) -> None:
    set_aside(house, "erp-1")
    (row,) = house.rows(tables.outbox)
    place(house.path).write_text(Command(Action.RESEND, (row["id"],)).encode())
    house.until(lambda: not place(house.path).exists())
    (again,) = house.rows(tables.outbox)
    place(house.path).write_text(Command(Action.RESEND, (row["id"],)).encode())
    house.until(lambda: not place(house.path).exists())
    assert house.rows(tables.outbox) == [again]


def test_a_command_touches_nothing_that_is_on_its_way(house: House) -> None:
    house.ask({"taskId": "abc", "requestId": "erp-1"})
    (row,) = house.rows(tables.outbox)
    place(house.path).write_text(Command(Action.DISCARD, (row["id"],)).encode())
    house.until(lambda: not place(house.path).exists())
    assert house.rows(tables.outbox) == [row]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"action": "start"}', b'{"action": "resend"}', b"[" * 9999]
)
def test_what_is_no_command_is_refused_and_removed(
    house: House, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse(content)
    place(house.path).write_bytes(content)
    house.until(lambda: not place(house.path).exists())
    assert "cannot be carried out" in caplog.text
    house.ask({"taskId": "abc"})


def test_a_command_is_kept_when_its_turn_fails(house: House) -> None:
    set_aside(house, "erp-1")
    (row,) = house.rows(tables.outbox)
    place(house.path).write_text(Command(Action.DISCARD, (row["id"],)).encode())
    house.journal.fail("before")
    house.until(lambda: not place(house.path).exists())
    house.until(lambda: not house.rows(tables.outbox))


# ---- retry, as far as it needs no broker


def config(house: House, tmp_path: Path, **mqtt: object) -> Path:
    file = tmp_path / "config.yaml"
    needed = {
        "configQRS": {"host": "sense"},
        "cert": {"clientCert": "client.pem", "clientCertKey": "key.pem"},
        "journal": {"url": f"sqlite:///{house.path}"},
        "mqttConfig": mqtt,
    }
    file.write_text(json.dumps({"Butler": needed}))
    return file


def test_only_what_failed_is_retried(house: House, tmp_path: Path) -> None:
    house.ask({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    house.ask({"taskId": "abc", "requestId": "erp-2"})
    file = config(house, tmp_path)
    for request_id, complaint in (
        ("erp-1", "nothing of request erp-1 has failed"),
        ("erp-2", "request erp-2 was never understood"),
        ("erp-9", "no request erp-9 is in"),
    ):
        done = call("retry", request_id, "-c", file)
        assert done.exit_code == 1
        assert complaint in done.stderr


def test_an_open_request_is_not_retried(house: House, tmp_path: Path) -> None:
    house.site.down = True
    house.send({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    house.until(house.open_rows)
    done = call("retry", "erp-1", "-c", config(house, tmp_path))
    assert done.exit_code == 1
    assert "request erp-1 is still open" in done.stderr


def test_what_nobody_can_tell_about_is_retried_only_on_demand(house: House, tmp_path: Path) -> None:
    house.ask({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    with house.journal.transaction() as connection:
        connection.execute(tables.starts.update().values(state="unknown"))
    done = call("retry", "erp-1", "-c", config(house, tmp_path))
    assert done.exit_code == 1
    assert "nobody can tell whether these began: Sales" in done.stderr
    done = call("retry", "erp-1", "--unknown", "-c", config(house, tmp_path, enable=False))
    assert "mqttConfig.enable is false" in done.stderr


# ---- an id that several requests had


def several(house: House) -> tuple[str, str]:
    """Have a request of which a task failed, then one refused because the first holds its id."""
    house.site.lasting = False
    failing, other = house.site.add("Failing"), house.site.add("Other")
    house.site.change(failing, enabled=False)
    house.ask({"taskId": failing, "requestId": "erp-1"})
    assert house.ask({"taskId": other, "requestId": "erp-1"})["code"] == "request_id_conflict"
    return failing, other


def retried(house: House, number: int | None = None) -> Any:
    """Give the request that `retry erp-1` would send."""
    return requests_retry.retried(Mqtt(), house.path, "erp-1", number, requests_retry.FAILED)


def test_after_a_conflict_a_retry_asks_which_request_is_meant(house: House, tmp_path: Path) -> None:
    """The newest is the one refused: its tasks are another request's."""
    several(house)
    done = call("retry", "erp-1", "-c", config(house, tmp_path))
    assert done.exit_code == 1
    assert "several requests had the id erp-1; say with --number which is meant" in done.stderr
    assert re.search(r"--number 1 +arrived \S+ \S+ +closed", done.stderr)
    assert re.search(r"--number 2 +arrived \S+ \S+ +refused, request_id_conflict", done.stderr)


def test_a_retry_asks_for_the_tasks_of_the_one_named(house: House) -> None:
    failing, other = several(house)
    assert retried(house, 1)["taskId"] == [failing]
    assert retried(house, 2)["taskId"] == [other]
    first, second = (row["received_at"] for row in house.rows(tables.requests))
    assert retried(house, 1)["sender"] == f"retry of erp-1 arrived {moment(first)}"
    assert retried(house, 2)["sender"] == f"retry of erp-1 arrived {moment(second)}"


@pytest.mark.parametrize(
    ("number", "complaint"), [(3, "there is no number 3"), (0, "greater than or equal to 1")]
)
def test_a_number_that_is_not_there_is_said(
    house: House, tmp_path: Path, number: int, complaint: str
) -> None:
    several(house)
    done = call("retry", "erp-1", "--number", str(number), "-c", config(house, tmp_path))
    assert done.exit_code in {1, 2}
    assert complaint in done.stderr


def test_the_same_request_sent_again_after_a_refusal_needs_no_number(house: House) -> None:
    """Its id was freed by the refusal: of two that ask for the same the newest is meant."""
    task = house.site.add("Sales")
    house.site.change(task, enabled=False)
    house.send({"taskId": task, "requestId": "erp-1"})
    house.replied()
    with house.journal.transaction() as connection:
        connection.execute(tables.requests.update().values(holds_id=False))
    house.ask({"taskId": task, "requestId": "erp-1"})
    assert retried(house)["sender"] == "retry of erp-1"


def test_a_refused_dry_run_is_retried_as_a_dry_run(house: House) -> None:
    """Without that word it would start what it was only asked about."""
    task = house.site.add("Sales")
    house.ask({"taskId": task, "requestId": "erp-1", "dryRun": True, "expiresAt": "2020-01-01T00:00:00Z"})
    assert retried(house) | {"requestId": "x"} == {
        "taskId": [task],
        "dryRun": True,
        "requestId": "x",
        "sender": "retry of erp-1",
    }


def test_the_story_says_who_holds_the_id_and_which_was_asked_for_again(house: House) -> None:
    several(house)
    again = retried(house, 2)
    house.ask(again)
    told = call("erp-1", "--journal", house.path).stdout
    assert "request erp-1 (1 of 2 with this id): closed" in told
    assert "request erp-1 (2 of 2 with this id; the id belongs to number 1): refused" in told
    assert f"asked for again by request {again['requestId']}, {again['sender']}" in told
    holds = [one["holdsId"] for one in lines(call("export", "--journal", house.path))]
    assert holds == [True, False, True]


@pytest.mark.parametrize("action", ["resend", "discard"])
def test_messages_of_different_requests_with_one_id_are_settled_by_number(house: House, action: str) -> None:
    several(house)
    for publication in list(house.broker.published):
        house.broker.refuse(publication.id, "not authorized", final=True)
    house.until(lambda: len(aside(house)) == 2)
    done = call(action, "erp-1", "--journal", house.path)
    assert done.exit_code == 1
    assert "say with --number which is meant" in done.stderr
    published = len(house.broker.published)
    assert beside(house, action, "erp-1", "--number", "2").exit_code == 0
    (row,) = (row for row in house.rows(tables.outbox) if row["quarantined_at"] is not None)
    assert row["request"] == 1
    house.turn()
    sent = house.broker.published[published:]
    assert ["request_id_conflict" in one.payload.decode() for one in sent] == [True] * (action == "resend")


def test_a_number_is_for_one_request(house: House) -> None:
    assert call("resend", "--all", "--number", "1", "--journal", house.path).exit_code == 2

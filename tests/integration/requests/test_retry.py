"""What the broker did not take: sent again or discarded, by the daemon or without it."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.cli import requests_retry
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.journal import tables
from butler_mqtt.pipeline.operator_commands import Action, Command, parse, place
from butler_mqtt.settings import MqttSettings
from tests.integration.requests.conftest import call, delivered, lines
from tests.pipeline.harness import Harness


@pytest.fixture(autouse=True)
def short_handover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_retry, "HANDOVER_SECONDS", 1.0)


def make_dead_letters(harness: Harness, *request_ids: str) -> None:
    """Make the replies to these requests dead letters."""
    for request_id in request_ids:
        harness.ask({"taskId": "abc", "requestId": request_id})
        harness.broker.refuse(harness.broker.published[-1].id, "not authorized", final=True)
    harness.until(lambda: len(aside(harness)) == len(request_ids))


def aside(harness: Harness) -> list[str]:
    return [row["request_id"] for row in harness.rows(tables.outbox) if row["quarantined_at"] is not None]


def beside(harness: Harness, *arguments: str) -> Any:
    """Run the command while the harness turns."""
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(call(*arguments, "--journal", harness.path)))
    thread.start()
    harness.until(lambda: not thread.is_alive(), 20)
    thread.join()
    return done[0]


def test_a_running_daemon_sends_a_reply_again_on_command(harness: Harness) -> None:
    make_dead_letters(harness, "erp-1", "erp-2")
    published = len(harness.replies())
    done = beside(harness, "resend", "erp-1")
    assert (done.exit_code, done.stdout) == (0, "1 of 1 messages: to be published again now\n")
    assert [reply["requestId"] for reply in harness.replies()[published:]] == ["erp-1"]
    assert aside(harness) == ["erp-2"]
    harness.broker.confirm()
    harness.until(lambda: len(harness.rows(tables.outbox)) == 1)
    assert [bool(row["confirmed_at"]) for row in harness.rows(tables.deliveries)] == [True, False]
    assert list(harness.folder.glob("*.command*")) == []


def test_a_reply_sent_again_goes_where_it_belongs(harness: Harness) -> None:
    body = json.dumps({"taskId": "abc", "requestId": "erp-1"}).encode()
    harness.send(body, response_topic="qliksense/mine", correlation=b"\x01")
    harness.replied()
    first = harness.broker.published[-1]
    harness.broker.refuse(first.id, "not authorized", final=True)
    harness.until(lambda: aside(harness))
    assert beside(harness, "resend", "--all").exit_code == 0
    again = harness.broker.published[-1]
    assert (again.topic, again.correlation, again.payload, again.delivery) == (
        "qliksense/mine",
        b"\x01",
        first.payload,
        first.delivery,
    )


def test_a_reply_that_is_refused_once_more_is_a_dead_letter_again(harness: Harness) -> None:
    make_dead_letters(harness, "erp-1")
    assert beside(harness, "resend", "erp-1").exit_code == 0
    harness.broker.refuse(harness.broker.published[-1].id, "not authorized", final=True)
    harness.until(lambda: aside(harness) == ["erp-1"])
    assert beside(harness, "resend", "erp-1").exit_code == 0


def test_a_running_daemon_discards_on_command_and_the_timeline_shows_it(harness: Harness) -> None:
    make_dead_letters(harness, "erp-1", "erp-2")
    done = beside(harness, "discard", "erp-2")
    assert (done.exit_code, done.stdout) == (0, "1 of 1 messages: discarded\n")
    assert aside(harness) == ["erp-1"]
    assert "the reply was discarded by an operator" in call("erp-2", "--journal", harness.path).stdout


def test_all_messages_go_in_commands_of_bounded_size(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_retry, "MAX_MESSAGES", 2)
    make_dead_letters(harness, *(f"erp-{number}" for number in range(5)))
    done = beside(harness, "resend", "--all")
    assert (done.exit_code, done.stdout) == (0, "5 of 5 messages: to be published again now\n")
    harness.until(lambda: delivered(harness))


def test_without_a_daemon_it_is_done_at_once_and_holds_after_the_next_start(harness: Harness) -> None:
    make_dead_letters(harness, "erp-1", "erp-2")
    harness.crash()
    assert call("discard", "erp-1", "--journal", harness.path).exit_code == 0
    done = call("resend", "erp-2", "--journal", harness.path)
    assert (done.exit_code, done.stdout) == (
        0,
        "1 of 1 messages: to be published again when the daemon runs\n",
    )
    published = len(harness.replies())
    harness.start()
    harness.until(lambda: len(harness.replies()) > published)
    assert [reply["requestId"] for reply in harness.replies()[published:]] == ["erp-2"]
    harness.until(lambda: delivered(harness))


def test_a_command_that_the_daemon_does_not_take_is_withdrawn_with_an_error(harness: Harness) -> None:
    make_dead_letters(harness, "erp-1")
    done = call("resend", "erp-1", "--journal", harness.path)
    assert done.exit_code == 1
    assert "did not take the command in 1 s; it was withdrawn" in done.stderr
    assert not place(harness.path).exists()
    assert list(harness.folder.glob("*.command*")) == []


def test_a_command_of_another_operator_is_not_overwritten(harness: Harness) -> None:
    make_dead_letters(harness, "erp-1")
    first = Command(Action.DISCARD, (12345,)).encode()
    place(harness.path).write_text(first)
    assert call("resend", "erp-1", "--journal", harness.path).exit_code == 1
    assert place(harness.path).read_text() == first


def test_no_dead_letter_ends_with_1_and_a_sentence(harness: Harness) -> None:
    done = call("resend", "erp-1", "--journal", harness.path)
    assert done.exit_code == 1
    assert "no message of request erp-1 is set aside in" in done.stderr


def test_a_command_found_again_after_a_crash_changes_nothing(harness: Harness) -> None:
    make_dead_letters(harness, "erp-1")
    (row,) = harness.rows(tables.outbox)
    place(harness.path).write_text(Command(Action.RESEND, (row["id"],)).encode())
    harness.until(lambda: not place(harness.path).exists())
    (again,) = harness.rows(tables.outbox)
    place(harness.path).write_text(Command(Action.RESEND, (row["id"],)).encode())
    harness.until(lambda: not place(harness.path).exists())
    assert harness.rows(tables.outbox) == [again]


def test_a_command_touches_nothing_that_is_on_its_way(harness: Harness) -> None:
    harness.ask({"taskId": "abc", "requestId": "erp-1"})
    (row,) = harness.rows(tables.outbox)
    place(harness.path).write_text(Command(Action.DISCARD, (row["id"],)).encode())
    harness.until(lambda: not place(harness.path).exists())
    assert harness.rows(tables.outbox) == [row]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"action": "start"}', b'{"action": "resend"}', b"[" * 9999]
)
def test_what_is_no_command_is_refused_and_removed(
    harness: Harness, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse(content)
    place(harness.path).write_bytes(content)
    harness.until(lambda: not place(harness.path).exists())
    assert "cannot be applied" in caplog.text
    harness.ask({"taskId": "abc"})


def test_a_command_is_kept_when_its_turn_fails(harness: Harness) -> None:
    make_dead_letters(harness, "erp-1")
    (row,) = harness.rows(tables.outbox)
    place(harness.path).write_text(Command(Action.DISCARD, (row["id"],)).encode())
    harness.journal.fail("before")
    harness.until(lambda: not place(harness.path).exists())
    harness.until(lambda: not harness.rows(tables.outbox))


# ---- retry, as far as it needs no broker


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
    assert "nobody can tell whether these began: Sales" in done.stderr
    done = call("retry", "erp-1", "--unknown", "-c", config(harness, tmp_path, enable=False))
    assert "mqttConfig.enable is false" in done.stderr


# ---- an id that several requests had


def several(harness: Harness) -> tuple[str, str]:
    """Have a request of which a task failed, then one refused because the first holds its id."""
    harness.site.lasting = False
    failing, other = harness.site.add("Failing"), harness.site.add("Other")
    harness.site.change(failing, enabled=False)
    harness.ask({"taskId": failing, "requestId": "erp-1"})
    assert harness.ask({"taskId": other, "requestId": "erp-1"})["code"] == "request_id_conflict"
    return failing, other


def retried(harness: Harness, number: int | None = None) -> Any:
    """Return the request that `retry erp-1` would send."""
    return requests_retry.retried(MqttSettings(), harness.path, "erp-1", number, requests_retry.FAILED)


def test_after_a_conflict_a_retry_asks_which_request_is_meant(harness: Harness, tmp_path: Path) -> None:
    """The newest is the one refused: its tasks are another request's."""
    several(harness)
    done = call("retry", "erp-1", "-c", config(harness, tmp_path))
    assert done.exit_code == 1
    assert "several requests had the id erp-1; say with --number which is meant" in done.stderr
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
    ("number", "complaint"), [(3, "there is no number 3"), (0, "greater than or equal to 1")]
)
def test_a_number_that_is_not_there_is_said(
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


def test_the_story_says_who_holds_the_id_and_which_was_asked_for_again(harness: Harness) -> None:
    several(harness)
    again = retried(harness, 2)
    harness.ask(again)
    shown = call("erp-1", "--journal", harness.path).stdout
    assert "request erp-1 (1 of 2 with this id): closed" in shown
    assert "request erp-1 (2 of 2 with this id; the id belongs to number 1): refused" in shown
    assert f"asked for again by request {again['requestId']}, {again['sender']}" in shown
    holds = [one["holdsId"] for one in lines(call("export", "--journal", harness.path))]
    assert holds == [True, False, True]


@pytest.mark.parametrize("action", ["resend", "discard"])
def test_messages_of_different_requests_with_one_id_are_chosen_by_number(
    harness: Harness, action: str
) -> None:
    several(harness)
    for publication in list(harness.broker.published):
        harness.broker.refuse(publication.id, "not authorized", final=True)
    harness.until(lambda: len(aside(harness)) == 2)
    done = call(action, "erp-1", "--journal", harness.path)
    assert done.exit_code == 1
    assert "say with --number which is meant" in done.stderr
    published = len(harness.broker.published)
    assert beside(harness, action, "erp-1", "--number", "2").exit_code == 0
    (row,) = (row for row in harness.rows(tables.outbox) if row["quarantined_at"] is not None)
    assert row["request"] == 1
    harness.turn()
    sent = harness.broker.published[published:]
    assert ["request_id_conflict" in one.payload.decode() for one in sent] == [True] * (action == "resend")


def test_a_number_is_for_one_request(harness: Harness) -> None:
    assert call("resend", "--all", "--number", "1", "--journal", harness.path).exit_code == 2

"""`requests resend` and `discard`: dead letters, by the daemon or without it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.journal import tables
from butler_mqtt.pipeline.operator_commands import Action, Command, parse, place
from butler_mqtt.settings import AlertSettings, AlertTarget, Settings
from tests.integration.alerting.targets import webhook
from tests.integration.requests.conftest import (
    IMPATIENT,
    SHORT,
    MakeHarness,
    beside,
    call,
    delivered,
    several,
)
from tests.pipeline.harness import SHORT_LOOP, Harness


def refuse_replies(harness: Harness, *request_ids: str) -> None:
    """Have the broker refuse the replies to these requests for good."""
    for request_id in request_ids:
        harness.ask({"taskId": "abc", "requestId": request_id})
        harness.broker.refuse(harness.broker.published[-1].id, "not authorized", final=True)
    harness.until(lambda: len(dead_letters_of(harness)) == len(request_ids))


def dead_letters_of(harness: Harness) -> list[str]:
    return [row["request_id"] for row in harness.rows(tables.outbox) if row["quarantined_at"] is not None]


def test_a_running_daemon_sends_a_reply_again(harness: Harness) -> None:
    refuse_replies(harness, "erp-1", "erp-2")
    published = len(harness.replies())
    done = beside(harness, "resend", "erp-1")
    assert (done.exit_code, done.stdout) == (0, "1 of 1 message: to be published again now\n")
    assert [reply["requestId"] for reply in harness.replies()[published:]] == ["erp-1"]
    assert dead_letters_of(harness) == ["erp-2"]
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
    harness.until(lambda: dead_letters_of(harness))
    assert beside(harness, "resend", "--all").exit_code == 0
    again = harness.broker.published[-1]
    assert (again.topic, again.correlation, again.payload, again.delivery) == (
        "qliksense/mine",
        b"\x01",
        first.payload,
        first.delivery,
    )


def test_a_reply_that_is_refused_once_more_is_a_dead_letter_again(harness: Harness) -> None:
    refuse_replies(harness, "erp-1")
    assert beside(harness, "resend", "erp-1").exit_code == 0
    harness.broker.refuse(harness.broker.published[-1].id, "not authorized", final=True)
    harness.until(lambda: dead_letters_of(harness) == ["erp-1"])
    assert beside(harness, "resend", "erp-1").exit_code == 0


def test_a_running_daemon_discards_and_the_timeline_says_so(harness: Harness) -> None:
    refuse_replies(harness, "erp-1", "erp-2")
    done = beside(harness, "discard", "erp-2")
    assert (done.exit_code, done.stdout) == (0, "1 of 1 message: discarded\n")
    assert dead_letters_of(harness) == ["erp-1"]
    assert "the reply was discarded by an operator" in call("erp-2", "--journal", harness.path).stdout


def test_all_messages_go_in_commands_of_bounded_size(harness: Harness) -> None:
    refuse_replies(harness, *(f"erp-{number}" for number in range(5)))
    done = beside(harness, "resend", "--all", limits=replace(SHORT, messages=2))
    assert (done.exit_code, done.stdout) == (0, "5 of 5 messages: to be published again now\n")
    harness.until(lambda: delivered(harness))


def test_without_a_daemon_it_is_done_at_once_and_holds_after_the_next_start(harness: Harness) -> None:
    refuse_replies(harness, "erp-1", "erp-2")
    harness.crash()
    assert call("discard", "erp-1", "--journal", harness.path).exit_code == 0
    done = call("resend", "erp-2", "--journal", harness.path)
    assert (done.exit_code, done.stdout) == (
        0,
        "1 of 1 message: to be published again when the daemon runs\n",
    )
    published = len(harness.replies())
    harness.start()
    harness.until(lambda: len(harness.replies()) > published)
    assert [reply["requestId"] for reply in harness.replies()[published:]] == ["erp-2"]
    harness.until(lambda: delivered(harness))


def test_a_command_that_the_daemon_does_not_accept_is_withdrawn(harness: Harness) -> None:
    refuse_replies(harness, "erp-1")
    done = call("resend", "erp-1", "--journal", harness.path, limits=IMPATIENT)
    assert done.exit_code == 1
    assert "did not accept the command within 1 s; it was withdrawn" in done.stderr
    assert not place(harness.path).exists()
    assert list(harness.folder.glob("*.command*")) == []


def test_a_command_of_another_operator_is_not_overwritten(harness: Harness) -> None:
    refuse_replies(harness, "erp-1")
    first = Command(Action.DISCARD, (12345,)).encode()
    place(harness.path).write_text(first)
    assert call("resend", "erp-1", "--journal", harness.path, limits=IMPATIENT).exit_code == 1
    assert place(harness.path).read_text() == first


def test_no_dead_letter_ends_with_1_and_a_sentence(harness: Harness) -> None:
    done = call("resend", "erp-1", "--journal", harness.path)
    assert done.exit_code == 1
    assert "no message of request erp-1 is a dead letter in" in done.stderr


def test_a_command_found_again_after_a_crash_changes_nothing(harness: Harness) -> None:
    refuse_replies(harness, "erp-1")
    (row,) = harness.rows(tables.outbox)
    place(harness.path).write_text(Command(Action.RESEND, (row["id"],)).encode())
    harness.until(lambda: not place(harness.path).exists())
    (again,) = harness.rows(tables.outbox)
    place(harness.path).write_text(Command(Action.RESEND, (row["id"],)).encode())
    harness.until(lambda: not place(harness.path).exists())
    assert harness.rows(tables.outbox) == [again]


def test_a_command_touches_nothing_that_is_in_flight(harness: Harness) -> None:
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
    refuse_replies(harness, "erp-1")
    (row,) = harness.rows(tables.outbox)
    place(harness.path).write_text(Command(Action.DISCARD, (row["id"],)).encode())
    harness.journal.fail("before")
    harness.until(lambda: not place(harness.path).exists())
    harness.until(lambda: not harness.rows(tables.outbox))


# ---- an id that several requests had


@pytest.mark.parametrize("action", ["resend", "discard"])
def test_messages_of_different_requests_with_one_id_are_named_by_number(
    harness: Harness, action: str
) -> None:
    several(harness)
    for publication in list(harness.broker.published):
        harness.broker.refuse(publication.id, "not authorized", final=True)
    harness.until(lambda: len(dead_letters_of(harness)) == 2)
    done = call(action, "erp-1", "--journal", harness.path)
    assert done.exit_code == 1
    assert "name one with --number" in done.stderr
    published = len(harness.broker.published)
    assert beside(harness, action, "erp-1", "--number", "2").exit_code == 0
    (row,) = (row for row in harness.rows(tables.outbox) if row["quarantined_at"] is not None)
    assert row["request"] == 1
    harness.turn()
    sent = harness.broker.published[published:]
    assert ["request_id_conflict" in one.payload.decode() for one in sent] == [True] * (action == "resend")


def test_a_number_is_for_one_request(harness: Harness) -> None:
    assert call("resend", "--all", "--number", "1", "--journal", harness.path).exit_code == 2


@pytest.mark.parametrize(("action", "left"), [("resend", 1), ("discard", 0)])
def test_alerts_that_were_set_aside_go_with_all(make_harness: MakeHarness, action: str, left: int) -> None:
    with webhook(404) as hook:
        target = AlertTarget("bi", hook.url, min_interval_seconds=0.0)
        timings = replace(SHORT_LOOP, alerts=AlertTimings(first_pause=0.01, most_pause=0.01))
        harness = make_harness(Settings(alerts=AlertSettings(True, (target,))), timings=timings)
        harness.ask({"taskId": harness.site.add("Sales", enabled=False)})
        harness.until(lambda: [one for one in harness.rows(tables.alerts) if one["quarantined_at"]])
        hook.status = 200
        done = beside(harness, action, "--all")
        assert done.exit_code == 0
        assert done.stdout.startswith("1 alert: ")
        harness.until(lambda: not harness.rows(tables.alerts))
        assert len(hook.came) == left

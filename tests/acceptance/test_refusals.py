"""What is refused: each malformed request gets its code and the exact place, and the next one works."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.acceptance.conftest import Place
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import REPLY, Sender
from tests.brokers import Mosquitto

TASK = "a8b4c123-def4-5678-9abc-def012345678"
MALFORMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "invalid_json"),
    "blanks": (b"  \n", "invalid_json"),
    "half an object": (b'{"tag": ["x"]', "invalid_json"),
    "trailing data": (b'{"tag": "x"} {}', "invalid_json"),
    "single quotes": (b"{'tag': 'x'}", "invalid_json"),
    "a comment": (b'{"tag": "x" /* y */}', "invalid_json"),
    "NaN": (b'{"tag": NaN}', "invalid_json"),
    "Infinity": (b'{"tag": "x", "sender": -Infinity}', "invalid_json"),
    "duplicate keys": (b'{"tag": "x", "tag": "y"}', "invalid_json"),
    "UTF-16": ('{"tag": "x"}'.encode("utf-16"), "invalid_json"),
    "Latin-1": ('{"tag": "Söhne"}'.encode("latin-1"), "invalid_json"),
    "binary": (bytes(range(256)), "invalid_json"),
    "nested too deeply": (b"[" * 40 + b"]" * 40, "invalid_json"),
    "half a GUID": (b"a8b4c123-def4-5678", "invalid_json"),
    "an array": (b'["x"]', "invalid_request"),
    "a number": (b"42", "invalid_request"),
    "null": (b"null", "invalid_request"),
    "a string": (b'"x"', "invalid_request"),
    "no selector": (b"{}", "invalid_request"),
    "an empty list": (b'{"tag": []}', "invalid_request"),
    "an empty tag": (b'{"tag": [""]}', "invalid_request"),
    "an unknown key": (b'{"tag": "x", "tags": "y"}', "invalid_request"),
    "a number as tag": (b'{"tag": [5]}', "invalid_request"),
    "a property without value": (b'{"customProperty": {"name": "x"}}', "invalid_request"),
    "a bad requestId": (b'{"tag": "x", "requestId": "a b"}', "invalid_request"),
    "a time without offset": (b'{"tag": "x", "expiresAt": "2031-01-31T08:00:00"}', "invalid_request"),
    "a bad wait": (b'{"tag": "x", "wait": "maybe"}', "invalid_request"),
    "a text as boolean": (b'{"tag": "x", "dryRun": "yes"}', "invalid_request"),
    "a bad id": (b'{"taskId": "abc"}', "invalid_task_id"),
    "an id in braces": (f'{{"taskId": "{{{TASK}}}"}}'.encode(), "invalid_task_id"),
    "an id without dashes": (f'{{"taskId": "{TASK.replace("-", "")}"}}'.encode(), "invalid_task_id"),
    "a lone surrogate": (b'{"tag": "\\ud800"}', "invalid_json"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_is_answered_with_its_code(what: str, sender: Sender) -> None:
    payload, code = MALFORMED[what]
    answer = sender.ask(payload)
    assert answer["code"] == code, answer


def test_the_exact_place_of_each_fault_is_named(sender: Sender) -> None:
    answer = sender.ask({"tag": ["x", 5], "customProperty": [{"name": "a", "value": "b"}, {"name": "c"}]})
    assert "tag[1]" in answer["details"]
    assert "customProperty[1]" in answer["details"]


def test_a_request_id_is_answered_even_when_the_rest_is_wrong(sender: Sender) -> None:
    assert sender.ask({"requestId": "still-known", "tag": 5})["requestId"] == "still-known"


def test_a_refused_request_does_not_use_its_id_up(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task()
    assert sender.ask({"requestId": "again", "taskId": task, "oops": 1})["code"] == "invalid_request"
    answer = sender.ask({"requestId": "again", "taskId": task})
    assert [entry["taskId"] for entry in answer["tasksStarted"]] == [task]


def test_a_request_larger_than_allowed_is_refused_and_one_that_fits_is_taken(
    sender: Sender, qlik: Qlik
) -> None:
    task = qlik.task()
    body = json.dumps({"taskId": task})
    assert sender.ask(body.ljust(262144))["status"] == "ok"
    answer = sender.ask(body.ljust(262145))
    assert answer["code"] == "too_large"
    assert "262144" in answer["details"]


def test_parameters_are_refused_while_the_store_is_off_and_never_ignored(sender: Sender, qlik: Qlik) -> None:
    task = qlik.task()
    for key, value in (("parameters", {"finance": {"company": "ACME"}}), ("parametersTtlSeconds", 60)):
        assert sender.ask({"taskId": task, key: value})["code"] == "not_supported"
    assert qlik.posts(task) == 0


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def test_a_request_whose_time_is_over_is_refused_and_starts_nothing(each: Place, qlik: Qlik) -> None:
    task = qlik.task()
    answer = each.sender.ask({"taskId": task, "expiresAt": ago(1), "requestId": task})
    assert answer["code"] == "expired"
    assert each.sender.ask({"taskId": task, "expiresAt": ago(-60)})["status"] == "ok"
    assert qlik.executions(task) == 1


def test_without_a_limit_of_age_an_old_request_is_taken(sender: Sender, qlik: Qlik) -> None:
    assert sender.ask({"taskId": qlik.task(), "issuedAt": ago(86400)})["status"] == "ok"


def test_max_age_seconds_refuses_what_was_issued_too_long_ago(
    make_daemon: Callable[..., Daemon], broker: Mosquitto, qlik: Qlik
) -> None:
    make_daemon(broker, startTask={"maxAgeSeconds": 30}).start()
    task = qlik.task()
    with Sender(broker.port) as sender:
        assert sender.ask({"taskId": task, "issuedAt": ago(31)})["code"] == "expired"
        assert qlik.posts(task) == 0
        assert sender.ask({"taskId": task, "issuedAt": ago(5)})["status"] == "ok"
        qlik.until_idle(task)
        assert sender.ask({"taskId": task})["status"] == "ok"


def test_message_expiry_counts_as_expires_at_while_the_server_is_away(
    make_daemon: Callable[..., Daemon], broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    qlik.switch(listener="refuse")
    make_daemon(broker).start()
    with Sender(broker.port) as sender:
        topic = sender.send({"taskId": task}, MessageExpiryInterval=1)
        other = sender.send({"taskId": task, "expiresAt": ago(-1)})
        assert sender.answer(topic)["code"] == "expired"
        assert sender.answer(other)["code"] == "expired"
    qlik.switch(listener="up")
    assert qlik.posts(task) == 0


@pytest.mark.long
def test_ten_thousand_malformed_messages_are_each_answered_and_then_a_good_one_is(
    place: Place, qlik: Qlik
) -> None:
    """Senders that go mad must cost the others nothing but time."""
    task = qlik.task()
    sender = place.sender
    before = len(sender.heard(REPLY))
    payloads = [payload for payload, _ in MALFORMED.values()]
    for number in range(9_999):
        sender.publish(payloads[number % len(payloads)], wait=False)
    sender.publish(b"the last one")
    answer = sender.ask({"taskId": task}, seconds=90)
    assert [entry["taskId"] for entry in answer["tasksStarted"]] == [task]
    answers = sender.wait_for(before + 10_000, lambda got: got.topic == REPLY, seconds=60)[before:]
    assert all("code" in got.json for got in answers)
    sender.drain()
    assert len(sender.heard(REPLY)) == before + 10_000

"""Requests on their way through the core: arrival, duplicates, decisions, replies."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from butler_mqtt.errors import QlikRefused
from butler_mqtt.journal import tables
from butler_mqtt.settings import MqttSettings, Settings, StartTask, StartTaskFilter
from tests.brokers import until
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_LOOP, SHORT_QLIK, Harness
from tests.pipeline.site_double import Crash, guid

SKIP = {"ifRunning": "skip"}


# ---- the reply


def test_a_started_task_is_told_with_its_execution(harness: Harness) -> None:
    task = harness.site.add("Sales")
    reply = harness.ask({"taskId": task, "requestId": "erp-1"}, correlation=b"c1")
    assert reply == {
        "requestId": "erp-1",
        "status": "ok",
        "tasksStarted": [
            {
                "taskId": task,
                "taskName": "Sales",
                "status": "started",
                "executionId": harness.site.history[task][0].id,
            }
        ],
        "tasksNotFound": [],
        "totalTasksStarted": 1,
    }
    published = next(one for one in harness.broker.published if one.delivery is not None)
    assert published.topic == harness.settings.mqtt.task_start_reply_topic
    assert (published.request_id, published.correlation) == ("erp-1", b"c1")


def test_a_task_matched_by_several_selectors_is_started_once(harness: Harness) -> None:
    task = harness.site.add("Sales", tags=("daily",), custom_properties=(("Region", "APAC"),))
    reply = harness.ask(
        {
            "taskId": [task, task.upper()],
            "taskName": "sales",
            "tag": ["daily", "DAILY"],
            "customProperty": {"name": "region", "value": "apac"},
        }
    )
    assert reply["totalTasksStarted"] == 1
    assert harness.site.posts == [task]


def test_a_partial_failure_is_told_task_by_task(harness: Harness) -> None:
    good = harness.site.add("Good", tags=("t",))
    harness.site.add("Off", tags=("t",), enabled=False)
    harness.site.add("Lost", tags=("t",), app_available=False)
    reply = harness.ask({"tag": ["t", "none"]})
    assert reply["status"] == "partial"
    assert [one["taskId"] for one in reply["tasksStarted"]] == [good]
    assert {one["taskName"]: (one["status"], one["code"]) for one in reply["tasksFailed"]} == {
        "Off": ("notStarted", "task_disabled"),
        "Lost": ("notStarted", "app_missing"),
    }
    assert reply["tasksNotFound"] == [{"tag": "none"}]


def test_a_request_that_finds_nothing_fails_and_says_what_was_not_found(harness: Harness) -> None:
    reply = harness.ask({"taskId": guid(9), "tag": "none"})
    assert (reply["status"], reply["tasksStarted"]) == ("failed", [])
    assert reply["tasksNotFound"] == [{"taskId": guid(9)}, {"tag": "none"}]


def test_a_dry_run_tells_what_would_start_and_starts_nothing(harness: Harness) -> None:
    harness.site.add("Sales", tags=("t",))
    reply = harness.ask({"tag": "t", "dryRun": True})
    assert reply["status"] == "ok"
    assert [one["status"] for one in reply["tasksWouldStart"]] == ["wouldStart"]
    assert reply["totalTasksStarted"] == 0
    harness.step()
    assert harness.site.posts == []
    assert harness.rows(tables.runs) == []


def test_a_dry_run_meets_the_allow_list_too(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task_filter=StartTaskFilter(enable=True)))
    harness.site.add("Sales", tags=("t",))
    reply = harness.ask({"tag": "t", "dryRun": True})
    assert reply["code"] == "all_denied"
    assert [one["taskName"] for one in reply["tasksDenied"]] == ["Sales"]
    assert reply["tasksNotFound"] == []


def test_the_allow_list_is_the_same_for_every_selector_and_door(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task_filter=StartTaskFilter(enable=True, tags=("free",))))
    free = harness.site.add("Free", tags=("free", "t"))
    harness.site.lasting = False
    other = harness.site.add("Other", tags=("t",))
    for body in ({"taskId": [free, other]}, {"tag": "t"}, {"taskName": ["Free", "Other"]}):
        reply = harness.ask(body)
        assert [one["taskId"] for one in reply["tasksStarted"]] == [free]
        assert [one["taskId"] for one in reply["tasksDenied"]] == [other]
    answers = harness.call({"taskId": [free, other]})
    harness.until(lambda: answers)
    assert json.loads(answers[0])["tasksDenied"][0]["taskId"] == other
    assert set(harness.site.posts) == {free}


def test_a_bare_task_id_is_a_request(harness: Harness) -> None:
    task = harness.site.add("Sales")
    assert harness.ask(f"  {task.upper()}\n".encode())["totalTasksStarted"] == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b"{}", "invalid_request"),
        (b'{"taskId": "abc"}', "invalid_task_id"),
        (b'{"tag": "t", "tag": "u"}', "invalid_json"),
        (b"x" * 300, "too_large"),
    ],
)
def test_what_cannot_be_read_is_answered_and_may_be_sent_again(
    make_harness: MakeHarness, body: bytes, code: str
) -> None:
    harness = make_harness(Settings(mqtt=MqttSettings(max_payload_bytes=200)))
    for _ in range(2):
        assert harness.ask(body)["code"] == code
    assert len(harness.rows(tables.deliveries)) == 2
    assert not any(row["holds_id"] for row in harness.rows(tables.requests))
    assert len(harness.broker.acknowledged) == 2
    assert all(len(row["payload"]) <= 200 for row in harness.rows(tables.deliveries))


def test_thousands_of_malformed_messages_hold_up_nothing(harness: Harness) -> None:
    task = harness.site.add("Sales")
    for number in range(2000):
        harness.send(f"nonsense {number}".encode())
    harness.send({"taskId": task})
    harness.until(lambda: harness.site.posts)
    replies = harness.replied(2001)
    assert sum(reply.get("code") == "invalid_json" for reply in replies) == 2000
    assert harness.site.posts == [task]


@pytest.mark.parametrize(
    ("status", "code"), [(401, "qrs_forbidden"), (403, "qrs_forbidden"), (400, "qrs_rejected")]
)
def test_a_refusal_of_the_server_is_named(harness: Harness, status: int, code: str) -> None:
    harness.site.resolve_errors.append(QlikRefused(f"{status} with Forbidden", status))
    reply = harness.ask({"tag": "t"})
    assert reply["code"] == code
    assert f"{status} with Forbidden" in reply["details"]


# ---- duplicates


def test_a_repetition_is_answered_with_the_stored_reply_and_starts_nothing(harness: Harness) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales")
    body = {"requestId": "a", "taskId": task}
    first = harness.ask(body, correlation=b"1")
    again = harness.ask(
        {"taskId": [task.upper()], "requestId": "a"}, correlation=b"2", response_topic="qliksense/me"
    )
    assert again == first
    assert harness.site.posts == [task]
    assert [(one.topic, one.correlation) for one in harness.broker.published if one.delivery is not None] == [
        ("qliksense/task/start/reply", b"1"),
        ("qliksense/me", b"2"),
    ]


def test_a_repetition_in_the_same_turn_shares_the_reply(harness: Harness) -> None:
    task = harness.site.add("Sales")
    for _ in range(3):
        harness.send({"requestId": "a", "taskId": task})
    replies = harness.replied(3)
    assert replies[0] == replies[1] == replies[2]
    assert harness.site.posts == [task]


def test_a_repetition_while_the_first_is_open_shares_the_reply(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.send({"requestId": "a", "taskId": task})
    harness.turn()
    harness.send({"requestId": "a", "taskId": task})
    harness.turn()
    harness.find()
    harness.turn()
    harness.send({"requestId": "a", "taskId": task})
    harness.turn()
    assert harness.replies() == []
    harness.replied(3)
    assert harness.site.posts == [task]


def test_a_repetition_in_the_turn_that_closes_the_first_gets_the_reply(harness: Harness) -> None:
    task = harness.site.add("Sales")
    body = {"requestId": "a", "taskId": task}
    harness.send(body)
    harness.turn()
    harness.find()
    harness.turn()
    harness.post()
    # The outcome of the POST stands before it in the queue.
    harness.send(body)
    harness.turn()
    replies = harness.replies()
    assert len(replies) == 2
    assert replies[0] == replies[1]


def test_the_other_door_knows_the_request_too(harness: Harness) -> None:
    task = harness.site.add("Sales")
    reply = harness.ask({"requestId": "a", "taskId": task})
    answers = harness.call(b"", path_task_id=task, request_id="a")
    harness.until(lambda: answers)
    assert json.loads(answers[0]) == reply
    assert harness.site.posts == [task]


def test_another_request_under_a_used_id_is_a_conflict_and_leaves_the_first_alone(harness: Harness) -> None:
    task, other = harness.site.add("Sales"), harness.site.add("Stock")
    first = harness.ask({"requestId": "a", "taskId": task})
    conflict = harness.ask({"requestId": "a", "taskId": other})
    assert conflict["code"] == "request_id_conflict"
    assert harness.ask({"requestId": "a", "taskId": task}) == first
    assert harness.site.posts == [task]


def test_two_requests_without_an_id_and_with_equal_content_are_two(harness: Harness) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    harness.ask({"taskId": task})
    assert harness.site.posts == [task, task]


def test_equal_bodies_under_the_ids_of_different_tasks_are_different_requests(harness: Harness) -> None:
    tasks = [harness.site.add("Sales"), harness.site.add("Stock")]
    answers = [harness.call(b"{}", path_task_id=task) for task in tasks]
    harness.until(lambda: all(answers))
    assert harness.site.posts == tasks


def test_a_request_refused_for_an_outage_can_be_sent_again(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.5)))
    task = harness.site.add("Sales")
    harness.site.down = True
    body = {"requestId": "a", "taskId": task}
    harness.send(body)
    harness.send(body)
    refused = harness.replied(2)
    assert [reply["code"] for reply in refused] == ["qrs_unavailable"] * 2
    harness.site.down = False
    assert harness.ask(body)["totalTasksStarted"] == 1
    assert harness.ask(body)["totalTasksStarted"] == 1
    assert harness.site.posts == [task]


def test_one_that_is_sent_again_in_the_turn_of_that_refusal_is_carried_out(make_harness: MakeHarness) -> None:
    # That looks for what is too late although requests arrive.
    timings = replace(SHORT_LOOP, latest_tidy_seconds=SHORT_LOOP.tidy_seconds)
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.5)), timings=timings)
    body = {"requestId": "a", "taskId": harness.site.add("Sales")}
    harness.send(body)
    harness.turn()
    over = time.monotonic() + 0.5
    until(lambda: time.monotonic() > over)
    harness.send(body)
    first, second = harness.replied(2)
    assert (first["code"], second["totalTasksStarted"]) == ("qrs_unavailable", 1)


def test_an_expired_request_uses_its_id_up(harness: Harness) -> None:
    harness.site.add("Sales")
    body = {"requestId": "a", "taskName": "Sales", "expiresAt": "2020-01-01T00:00:00Z"}
    assert harness.ask(body)["code"] == "expired"
    assert harness.ask({**body, "expiresAt": "2999-01-01T00:00:00Z"})["code"] == "expired"
    assert harness.site.posts == []


# ---- redeliveries


def test_a_redelivery_is_recognised_acknowledged_and_not_recorded(harness: Harness) -> None:
    task = harness.site.add("Sales")
    message = harness.send({"taskId": task})
    harness.turn()
    harness.connect(present=True)
    harness.deliver(message._replace(dup=True))
    harness.replied(1)
    harness.turn()
    assert len(harness.rows(tables.deliveries)) == 1
    assert harness.broker.acknowledged == [(1, 1), (1, 2)]


@pytest.mark.parametrize(
    "changed",
    [
        {"dup": False},
        {"packet_id": 77},
        {"payload": b'{"taskName": "Sales" }'},
        {"properties": "other"},
        {"topic": "qliksense/other"},
    ],
    ids=["no DUP", "packet id", "payload", "properties", "topic"],
)
def test_in_doubt_a_message_is_a_request_of_its_own(harness: Harness, changed: dict[str, Any]) -> None:
    harness.site.lasting = False
    harness.site.add("Sales")
    message = harness.send(b'{"taskName": "Sales"}')
    harness.replied(1)
    harness.connect(present=True)
    harness.deliver(message._replace(**{"dup": True, **changed}))
    harness.replied(2)
    assert len(harness.site.posts) == 2


def test_in_a_new_session_nothing_is_a_redelivery(harness: Harness) -> None:
    harness.site.lasting = False
    harness.site.add("Sales")
    message = harness.send({"taskName": "Sales"})
    harness.replied(1)
    harness.connect(present=False)
    harness.deliver(message._replace(dup=True))
    harness.replied(2)
    assert len(harness.site.posts) == 2


def test_a_redelivery_is_recognised_after_a_restart(harness: Harness) -> None:
    harness.site.add("Sales")
    message = harness.send({"taskName": "Sales"})
    harness.turn()
    harness.restart()
    harness.deliver(message._replace(dup=True))
    harness.replied(1)
    harness.turn()
    assert len(harness.rows(tables.deliveries)) == 1


def test_redeliveries_are_looked_for_among_as_many_as_the_broker_may_have_under_way(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(mqtt=MqttSettings(receive_maximum=3)))
    messages = [harness.send({"tag": f"t{number}"}) for number in range(4)]
    harness.replied(4)
    harness.connect(present=True)
    harness.deliver(messages[1]._replace(dup=True))
    harness.deliver(messages[0]._replace(dup=True))
    harness.replied(5)
    harness.turn()
    counted = Counter(row["packet_id"] for row in harness.rows(tables.deliveries))
    assert counted == {1: 2, 2: 1, 3: 1, 4: 1}


def test_a_stored_retained_message_is_acknowledged_and_not_acted_upon(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.site.add("Sales")
    harness.send({"taskName": "Sales"}, retain=True)
    harness.turn()
    assert harness.broker.acknowledged == [(1, 1)]
    assert harness.rows(tables.deliveries) == []
    assert "retained" in caplog.text


def test_a_message_from_before_a_new_session_belongs_to_the_old_one(harness: Harness) -> None:
    harness.turn()
    message = harness.send({"tag": "t"})
    harness.connect(present=False)
    harness.turn()
    sessions = harness.rows(tables.sessions)
    assert [row["session"] for row in harness.rows(tables.deliveries)] == [sessions[0]["id"]]
    # The broker's new session may use the packet id again.
    harness.deliver(message._replace(dup=True))
    harness.turn()
    assert [row["session"] for row in harness.rows(tables.deliveries)] == [row["id"] for row in sessions]


# ---- limits


def test_at_the_limit_of_open_requests_messages_are_not_acknowledged_and_later_are(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_open_requests=2)))
    harness.site.down = True
    for number in range(5):
        harness.send({"tag": f"t{number}"})
    for _ in range(3):
        harness.turn()
    assert [packet_id for packet_id, _ in harness.broker.acknowledged] == [1, 2]
    assert len(harness.rows(tables.requests)) == 2
    harness.site.down = False
    harness.replied(5)
    assert [packet_id for packet_id, _ in harness.broker.acknowledged] == [1, 2, 3, 4, 5]


def test_held_messages_of_an_ended_connection_are_left_to_the_broker(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_open_requests=1)))
    harness.site.down = True
    harness.send({"tag": "t"})
    held = harness.send({"tag": "u"})
    harness.turn()
    harness.connect(present=True)
    harness.deliver(held._replace(dup=True))
    harness.site.down = False
    harness.replied(2)
    harness.turn()
    assert len(harness.rows(tables.deliveries)) == 2
    assert harness.broker.acknowledged[-1] == (2, 2)


def test_a_held_message_survives_a_broker_that_has_lost_its_session(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_open_requests=1)))
    harness.site.down = True
    harness.send({"tag": "t"})
    harness.send({"tag": "u"})
    harness.turn()
    harness.connect(present=False)
    harness.site.down = False
    harness.replied(2)
    assert len(harness.rows(tables.deliveries)) == 2


def test_a_held_call_survives_a_change_of_the_brokers_session(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_open_requests=1)))
    harness.site.down = True
    harness.send({"tag": "t"})
    answers = harness.call({"tag": "u"})
    harness.turn()
    harness.connect(present=False)
    harness.turn()
    harness.site.down = False
    harness.until(lambda: answers)
    assert json.loads(answers[0])["tasksNotFound"] == [{"tag": "u"}]


def test_a_reply_the_broker_refuses_is_told_at_once_and_offered_again(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.ask({"tag": "t", "requestId": "r"})
    reply = harness.broker.published[-1]
    for _ in range(2):
        harness.broker.refuse(reply.id, "0x87 Not authorized")
        harness.until(lambda: harness.broker.published.count(reply) > 1)
        harness.broker.published.pop()
    (line,) = [one.getMessage() for one in caplog.records if getattr(one, "action", "") == "message_refused"]
    assert line.startswith(f"request r: the broker refuses a message for {reply.topic}: 0x87 Not authorized")


def test_while_the_disk_is_nearly_full_nothing_is_acknowledged_and_the_reason_is_told(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.journal.room = False
    harness.until(lambda: harness.pipeline.obstacle)
    assert "nearly full" in str(harness.pipeline.obstacle)
    assert [one for one in caplog.records if "free some space" in one.getMessage()]
    harness.send({"tag": "t"})
    harness.step()
    assert harness.broker.acknowledged == []
    harness.journal.room = True
    harness.replied()
    assert harness.pipeline.obstacle is None
    assert len(harness.broker.acknowledged) == 1


def test_a_backlog_longer_than_memory_is_decided_in_order_of_arrival(make_harness: MakeHarness) -> None:
    harness = make_harness(in_memory=200)
    harness.site.down = True
    size = 300
    for number in range(size):
        harness.send({"requestId": f"r{number}", "tag": f"t{number % 7}"})
    harness.until(lambda: len(harness.broker.acknowledged) == size)
    assert len(harness.pipeline.resolver) <= 200
    harness.site.down = False
    replies = harness.replied(size)
    assert [reply["requestId"] for reply in replies] == [f"r{number}" for number in range(size)]


def test_a_backlog_survives_a_restart_in_order(make_harness: MakeHarness) -> None:
    harness = make_harness(in_memory=200)
    harness.site.down = True
    for number in range(300):
        harness.send({"requestId": f"r{number}", "tag": "t"})
    harness.until(lambda: len(harness.broker.acknowledged) == 300)
    harness.restart()
    harness.site.down = False
    replies = harness.replied(300)
    assert [reply["requestId"] for reply in replies] == [f"r{number}" for number in range(300)]


# ---- finding


def test_requests_that_wait_share_one_query(harness: Harness) -> None:
    harness.site.add("Sales", tags=("t",))
    for number in range(20):
        harness.send({"tag": ["t", f"u{number % 3}"]})
    harness.replied(20)
    assert len(harness.site.asked) == 1
    assert len(harness.site.asked[0]) == 4


def test_within_the_cache_age_nothing_is_asked_but_a_miss_always_is(harness: Harness) -> None:
    harness.site.lasting = False
    harness.site.add("Sales", tags=("t",))
    harness.ask({"tag": "t"})
    harness.ask({"tag": "T"})
    harness.ask({"tag": "t"})
    assert len(harness.site.asked) <= 2
    harness.ask({"tag": "none"})
    harness.ask({"tag": "none"})
    assert [selector.value for one in harness.site.asked for selector in one].count("none") == 2


def test_what_is_asked_for_again_and_again_is_read_anew_while_nobody_waits(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, renewal_age=0.0))
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    harness.site.change(task, name="Sales 2")
    harness.send({"taskId": task})
    harness.turn()
    harness.post()
    assert harness.site.posts == [task, task]
    assert len(harness.site.asked) == 1
    assert harness.replied(2)[1]["tasksStarted"][0]["taskName"] == "Sales"
    harness.step()
    assert harness.ask({"taskId": task})["tasksStarted"][0]["taskName"] == "Sales 2"


def test_what_grows_old_is_read_anew_after_the_commit_which_that_would_slow_down(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, renewal_age=0.0))
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    harness.send({"taskId": task})
    harness.journal.fail("before", Crash())
    with pytest.raises(Crash):
        harness.turn()
    harness.find()
    assert len(harness.site.asked) == 1
    harness.turn()
    harness.find()
    assert len(harness.site.asked) == 2


def test_what_grows_too_old_while_the_disk_is_slow_is_read_anew_all_the_same(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, renewal_age=0.0, cache_age=1.0))
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    too_old = time.monotonic() + 1.0
    harness.call(
        {"taskId": task},
        on_stored=lambda _: until(lambda: time.monotonic() > too_old, what="the answer is too old"),
    )
    harness.turn()
    harness.find()
    assert [selector.value for one in harness.site.asked for selector in one] == [task, task]


def test_an_execution_is_polled_after_the_commit_which_that_would_slow_down(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, least_poll=1e-9))
    _post_one(harness)
    harness.journal.fail("before", Crash())
    with pytest.raises(Crash):
        harness.turn()
    harness.follow()
    assert not harness.site.polled
    harness.restart()
    harness.until(lambda: harness.site.polled)


def test_no_execution_is_polled_any_more_while_the_daemon_ends(make_harness: MakeHarness) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, least_poll=1e-9))
    _post_one(harness)
    harness.pipeline.drain(0.0)
    harness.turn()
    harness.follow()
    assert not harness.site.polled
    harness.restart()
    harness.until(lambda: harness.site.polled)


def _post_one(harness: Harness) -> None:
    """Begin an execution that the next turn takes in."""
    harness.send({"taskId": harness.site.add("Sales")})
    harness.turn()
    harness.find()
    harness.turn()
    harness.post()


def test_what_is_asked_for_while_it_is_read_anew_is_not_read_once_more(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, renewal_age=0.0))
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    for _ in range(3):
        harness.send({"taskId": task})
        harness.turn()
    harness.replied(4)
    assert len(harness.site.asked) == 2


def test_a_task_that_is_gone_is_not_known_any_longer_once_it_was_read_anew(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, renewal_age=0.0))
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    harness.send({"taskId": task})
    harness.turn()
    harness.post()
    del harness.site.tasks[task]
    harness.replied(2)
    harness.step()
    harness.send({"taskId": task})
    harness.turn()
    assert harness.pipeline.dispatcher.in_hand == 0
    assert harness.replied(3)[2]["tasksNotFound"] == [{"taskId": task}]


def test_what_is_not_asked_for_any_more_is_not_read_anew(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, renewal_age=0.0))
    harness.site.lasting = False
    task = harness.site.add("Sales")
    for _ in range(2):
        harness.ask({"taskId": task})
    for _ in range(5):
        harness.step()
    assert len(harness.site.asked) == 2


def test_an_outage_is_not_not_found(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.down = True
    harness.send({"taskId": task})
    for _ in range(20):
        harness.step()
    assert harness.replies() == []
    harness.site.down = False
    assert harness.replied(1)[0]["totalTasksStarted"] == 1


# ---- time


def test_a_request_waiting_for_the_server_expires(harness: Harness) -> None:
    harness.site.down = True
    harness.site.add("Sales")
    reply = harness.ask({"taskName": "Sales"}, expiry_seconds=1)
    assert reply["code"] == "expired"
    harness.site.down = False
    harness.step()
    assert harness.site.posts == []


def test_a_request_too_old_by_its_own_word_is_refused(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_age_seconds=60)))
    harness.site.add("Sales")
    assert harness.ask({"taskName": "Sales", "issuedAt": "2020-01-01T00:00:00Z"})["code"] == "expired"
    assert harness.ask({"taskName": "Sales"})["totalTasksStarted"] == 1


def test_the_deadline_counts_only_while_the_server_cannot_be_reached(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.05)))
    task = harness.site.add("Sales")
    harness.site.down = True
    reply = harness.ask({"taskId": task})
    assert (reply["code"], reply["error"]) == ("qrs_unavailable", "Qlik Sense cannot be reached")
    assert harness.site.posts == []


def test_what_is_too_late_is_answered_although_requests_keep_arriving(make_harness: MakeHarness) -> None:
    """Arrivals go before the check of deadlines, but not for ever."""
    harness = make_harness(timings=replace(SHORT_LOOP, latest_tidy_seconds=0.05))
    harness.site.add("Sales")
    harness.site.down = True
    harness.send({"taskName": "Sales", "requestId": "late"}, expiry_seconds=1)
    number = 0

    def refused() -> bool:
        nonlocal number
        number += 1
        harness.send({"taskName": "Sales", "requestId": f"other-{number}"})
        return any(reply["requestId"] == "late" for reply in harness.replies())

    harness.until(refused)
    assert harness.replies()[0]["code"] == "expired"

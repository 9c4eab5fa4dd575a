"""Requests on their way through the core: arrival, duplicates, decisions, replies."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from butler_mqtt.domain.model import Execution
from butler_mqtt.errors import QlikRefused
from butler_mqtt.journal import tables
from butler_mqtt.pipeline import pipeline
from butler_mqtt.pipeline.pipeline import MAX_WAITING
from butler_mqtt.resolving import resolver
from butler_mqtt.settings import Mqtt, Settings, StartTask, StartTaskFilter
from butler_mqtt.starting import execution_tracker
from tests.pipeline.conftest import MakeHouse
from tests.pipeline.harness import Crash, House, guid

SKIP = {"ifRunning": "skip"}


# ---- the reply


def test_a_started_task_is_told_with_its_execution(house: House) -> None:
    task = house.site.add("Sales")
    reply = house.ask({"taskId": task, "requestId": "erp-1"}, correlation=b"c1")
    assert reply == {
        "requestId": "erp-1",
        "status": "ok",
        "tasksStarted": [
            {
                "taskId": task,
                "taskName": "Sales",
                "status": "started",
                "executionId": house.site.history[task][0].id,
            }
        ],
        "tasksNotFound": [],
        "totalTasksStarted": 1,
    }
    published = next(one for one in house.broker.published if one.delivery is not None)
    assert published.topic == house.settings.mqtt.task_start_reply_topic
    assert (published.request_id, published.correlation) == ("erp-1", b"c1")


def test_a_task_matched_by_several_selectors_is_started_once(house: House) -> None:
    task = house.site.add("Sales", tags=("daily",), custom_properties=(("Region", "APAC"),))
    reply = house.ask(
        {
            "taskId": [task, task.upper()],
            "taskName": "sales",
            "tag": ["daily", "DAILY"],
            "customProperty": {"name": "region", "value": "apac"},
        }
    )
    assert reply["totalTasksStarted"] == 1
    assert house.site.posts == [task]


def test_a_partial_failure_is_told_task_by_task(house: House) -> None:
    good = house.site.add("Good", tags=("t",))
    house.site.add("Off", tags=("t",), enabled=False)
    house.site.add("Lost", tags=("t",), app_available=False)
    reply = house.ask({"tag": ["t", "none"]})
    assert reply["status"] == "partial"
    assert [one["taskId"] for one in reply["tasksStarted"]] == [good]
    assert {one["taskName"]: (one["status"], one["code"]) for one in reply["tasksFailed"]} == {
        "Off": ("notStarted", "task_disabled"),
        "Lost": ("notStarted", "app_missing"),
    }
    assert reply["tasksNotFound"] == [{"tag": "none"}]


def test_a_request_that_finds_nothing_fails_and_says_what_was_not_found(house: House) -> None:
    reply = house.ask({"taskId": guid(9), "tag": "none"})
    assert (reply["status"], reply["tasksStarted"]) == ("failed", [])
    assert reply["tasksNotFound"] == [{"taskId": guid(9)}, {"tag": "none"}]


def test_a_dry_run_tells_what_would_start_and_starts_nothing(house: House) -> None:
    house.site.add("Sales", tags=("t",))
    reply = house.ask({"tag": "t", "dryRun": True})
    assert reply["status"] == "ok"
    assert [one["status"] for one in reply["tasksWouldStart"]] == ["wouldStart"]
    assert reply["totalTasksStarted"] == 0
    house.step()
    assert house.site.posts == []
    assert house.rows(tables.runs) == []


def test_a_dry_run_meets_the_allow_list_too(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task_filter=StartTaskFilter(enable=True)))
    house.site.add("Sales", tags=("t",))
    reply = house.ask({"tag": "t", "dryRun": True})
    assert reply["code"] == "all_denied"
    assert [one["taskName"] for one in reply["tasksDenied"]] == ["Sales"]
    assert reply["tasksNotFound"] == []


def test_the_allow_list_is_the_same_for_every_selector_and_door(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task_filter=StartTaskFilter(enable=True, tags=("free",))))
    free = house.site.add("Free", tags=("free", "t"))
    house.site.lasting = False
    other = house.site.add("Other", tags=("t",))
    for body in ({"taskId": [free, other]}, {"tag": "t"}, {"taskName": ["Free", "Other"]}):
        reply = house.ask(body)
        assert [one["taskId"] for one in reply["tasksStarted"]] == [free]
        assert [one["taskId"] for one in reply["tasksDenied"]] == [other]
    answers = house.call({"taskId": [free, other]})
    house.until(lambda: answers)
    assert json.loads(answers[0])["tasksDenied"][0]["taskId"] == other
    assert set(house.site.posts) == {free}


def test_a_bare_task_id_is_a_request(house: House) -> None:
    task = house.site.add("Sales")
    assert house.ask(f"  {task.upper()}\n".encode())["totalTasksStarted"] == 1


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
    make_house: MakeHouse, body: bytes, code: str
) -> None:
    house = make_house(Settings(mqtt=Mqtt(max_payload_bytes=200)))
    for _ in range(2):
        assert house.ask(body)["code"] == code
    assert len(house.rows(tables.deliveries)) == 2
    assert not any(row["holds_id"] for row in house.rows(tables.requests))
    assert len(house.broker.acknowledged) == 2
    assert all(len(row["payload"]) <= 200 for row in house.rows(tables.deliveries))


def test_thousands_of_malformed_messages_hold_up_nothing(house: House) -> None:
    task = house.site.add("Sales")
    for number in range(2000):
        house.send(f"nonsense {number}".encode())
    house.send({"taskId": task})
    house.until(lambda: house.site.posts)
    replies = house.replied(2001)
    assert sum(reply.get("code") == "invalid_json" for reply in replies) == 2000
    assert house.site.posts == [task]


@pytest.mark.parametrize(
    ("status", "code"), [(401, "qrs_forbidden"), (403, "qrs_forbidden"), (400, "qrs_rejected")]
)
def test_a_refusal_of_the_server_is_named(house: House, status: int, code: str) -> None:
    house.site.finding.append(QlikRefused(f"{status} with Forbidden", status))
    reply = house.ask({"tag": "t"})
    assert reply["code"] == code
    assert f"{status} with Forbidden" in reply["details"]


# ---- duplicates


def test_a_repetition_is_answered_with_the_stored_reply_and_starts_nothing(house: House) -> None:
    house.site.lasting = False
    task = house.site.add("Sales")
    body = {"requestId": "a", "taskId": task}
    first = house.ask(body, correlation=b"1")
    again = house.ask(
        {"taskId": [task.upper()], "requestId": "a"}, correlation=b"2", response_topic="qliksense/me"
    )
    assert again == first
    assert house.site.posts == [task]
    assert [(one.topic, one.correlation) for one in house.broker.published if one.delivery is not None] == [
        ("qliksense/task/start/reply", b"1"),
        ("qliksense/me", b"2"),
    ]


def test_a_repetition_in_the_same_turn_shares_the_reply(house: House) -> None:
    task = house.site.add("Sales")
    for _ in range(3):
        house.send({"requestId": "a", "taskId": task})
    replies = house.replied(3)
    assert replies[0] == replies[1] == replies[2]
    assert house.site.posts == [task]


def test_a_repetition_while_the_first_is_open_shares_the_reply(house: House) -> None:
    task = house.site.add("Sales")
    house.send({"requestId": "a", "taskId": task})
    house.turn()
    house.send({"requestId": "a", "taskId": task})
    house.turn()
    house.find()
    house.turn()
    house.send({"requestId": "a", "taskId": task})
    house.turn()
    assert house.replies() == []
    house.replied(3)
    assert house.site.posts == [task]


def test_a_repetition_in_the_turn_that_closes_the_first_gets_the_reply(house: House) -> None:
    task = house.site.add("Sales")
    body = {"requestId": "a", "taskId": task}
    house.send(body)
    house.turn()
    house.find()
    house.turn()
    house.post()
    # The outcome of the POST stands before it in the queue.
    house.send(body)
    house.turn()
    replies = house.replies()
    assert len(replies) == 2
    assert replies[0] == replies[1]


def test_the_other_door_knows_the_request_too(house: House) -> None:
    task = house.site.add("Sales")
    reply = house.ask({"requestId": "a", "taskId": task})
    answers = house.call(b"", path_task_id=task, request_id="a")
    house.until(lambda: answers)
    assert json.loads(answers[0]) == reply
    assert house.site.posts == [task]


def test_another_request_under_a_used_id_is_a_conflict_and_leaves_the_first_alone(house: House) -> None:
    task, other = house.site.add("Sales"), house.site.add("Stock")
    first = house.ask({"requestId": "a", "taskId": task})
    conflict = house.ask({"requestId": "a", "taskId": other})
    assert conflict["code"] == "request_id_conflict"
    assert house.ask({"requestId": "a", "taskId": task}) == first
    assert house.site.posts == [task]


def test_two_requests_without_an_id_and_with_equal_content_are_two(house: House) -> None:
    house.site.lasting = False
    task = house.site.add("Sales")
    house.ask({"taskId": task})
    house.ask({"taskId": task})
    assert house.site.posts == [task, task]


def test_equal_bodies_under_the_ids_of_different_tasks_are_different_requests(house: House) -> None:
    tasks = [house.site.add("Sales"), house.site.add("Stock")]
    answers = [house.call(b"{}", path_task_id=task) for task in tasks]
    house.until(lambda: all(answers))
    assert house.site.posts == tasks


def test_a_request_refused_for_an_outage_can_be_sent_again(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(request_deadline_seconds=0.05)))
    task = house.site.add("Sales")
    house.site.down = True
    body = {"requestId": "a", "taskId": task}
    house.send(body)
    house.send(body)
    refused = house.replied(2)
    assert [reply["code"] for reply in refused] == ["qrs_unavailable"] * 2
    house.site.down = False
    assert house.ask(body)["totalTasksStarted"] == 1
    assert house.ask(body)["totalTasksStarted"] == 1
    assert house.site.posts == [task]


def test_an_expired_request_uses_its_id_up(house: House) -> None:
    house.site.add("Sales")
    body = {"requestId": "a", "taskName": "Sales", "expiresAt": "2020-01-01T00:00:00Z"}
    assert house.ask(body)["code"] == "expired"
    assert house.ask({**body, "expiresAt": "2999-01-01T00:00:00Z"})["code"] == "expired"
    assert house.site.posts == []


# ---- redeliveries


def test_a_redelivery_is_recognised_acknowledged_and_not_recorded(house: House) -> None:
    task = house.site.add("Sales")
    message = house.send({"taskId": task})
    house.turn()
    house.connect(present=True)
    house.deliver(message._replace(dup=True))
    house.replied(1)
    house.turn()
    assert len(house.rows(tables.deliveries)) == 1
    assert house.broker.acknowledged == [(1, 1), (1, 2)]


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
def test_in_doubt_a_message_is_a_request_of_its_own(house: House, changed: dict[str, Any]) -> None:
    house.site.lasting = False
    house.site.add("Sales")
    message = house.send(b'{"taskName": "Sales"}')
    house.replied(1)
    house.connect(present=True)
    house.deliver(message._replace(**{"dup": True, **changed}))
    house.replied(2)
    assert len(house.site.posts) == 2


def test_in_a_new_session_nothing_is_a_redelivery(house: House) -> None:
    house.site.lasting = False
    house.site.add("Sales")
    message = house.send({"taskName": "Sales"})
    house.replied(1)
    house.connect(present=False)
    house.deliver(message._replace(dup=True))
    house.replied(2)
    assert len(house.site.posts) == 2


def test_a_redelivery_is_recognised_after_a_restart(house: House) -> None:
    house.site.add("Sales")
    message = house.send({"taskName": "Sales"})
    house.turn()
    house.restart()
    house.deliver(message._replace(dup=True))
    house.replied(1)
    house.turn()
    assert len(house.rows(tables.deliveries)) == 1


def test_redeliveries_are_looked_for_among_as_many_as_the_broker_may_have_under_way(
    make_house: MakeHouse,
) -> None:
    house = make_house(Settings(mqtt=Mqtt(receive_maximum=3)))
    messages = [house.send({"tag": f"t{number}"}) for number in range(4)]
    house.replied(4)
    house.connect(present=True)
    house.deliver(messages[1]._replace(dup=True))
    house.deliver(messages[0]._replace(dup=True))
    house.replied(5)
    house.turn()
    counted = Counter(row["packet_id"] for row in house.rows(tables.deliveries))
    assert counted == {1: 2, 2: 1, 3: 1, 4: 1}


def test_a_stored_retained_message_is_acknowledged_and_not_acted_upon(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.site.add("Sales")
    house.send({"taskName": "Sales"}, retain=True)
    house.turn()
    assert house.broker.acknowledged == [(1, 1)]
    assert house.rows(tables.deliveries) == []
    assert "retained" in caplog.text


def test_a_message_from_before_a_new_session_belongs_to_the_old_one(house: House) -> None:
    house.turn()
    message = house.send({"tag": "t"})
    house.connect(present=False)
    house.turn()
    sessions = house.rows(tables.sessions)
    assert [row["session"] for row in house.rows(tables.deliveries)] == [sessions[0]["id"]]
    # The broker's new session may use the packet id again.
    house.deliver(message._replace(dup=True))
    house.turn()
    assert [row["session"] for row in house.rows(tables.deliveries)] == [row["id"] for row in sessions]


# ---- limits


def test_at_the_limit_of_open_requests_messages_are_not_acknowledged_and_later_are(
    make_house: MakeHouse,
) -> None:
    house = make_house(Settings(start_task=StartTask(max_open_requests=2)))
    house.site.down = True
    for number in range(5):
        house.send({"tag": f"t{number}"})
    for _ in range(3):
        house.turn()
    assert [packet_id for packet_id, _ in house.broker.acknowledged] == [1, 2]
    assert len(house.rows(tables.requests)) == 2
    house.site.down = False
    house.replied(5)
    assert [packet_id for packet_id, _ in house.broker.acknowledged] == [1, 2, 3, 4, 5]


def test_held_messages_of_an_ended_connection_are_left_to_the_broker(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(max_open_requests=1)))
    house.site.down = True
    house.send({"tag": "t"})
    held = house.send({"tag": "u"})
    house.turn()
    house.connect(present=True)
    house.deliver(held._replace(dup=True))
    house.site.down = False
    house.replied(2)
    house.turn()
    assert len(house.rows(tables.deliveries)) == 2
    assert house.broker.acknowledged[-1] == (2, 2)


def test_a_held_call_survives_a_change_of_the_brokers_session(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(max_open_requests=1)))
    house.site.down = True
    house.send({"tag": "t"})
    answers = house.call({"tag": "u"})
    house.turn()
    house.connect(present=False)
    house.turn()
    house.site.down = False
    house.until(lambda: answers)
    assert json.loads(answers[0])["tasksNotFound"] == [{"tag": "u"}]


def test_a_reply_the_broker_refuses_is_told_at_once_and_offered_again(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.ask({"tag": "t", "requestId": "r"})
    reply = house.broker.published[-1]
    for _ in range(2):
        house.broker.refuse(reply.id, "0x87 Not authorized")
        house.until(lambda: house.broker.published.count(reply) > 1)
        house.broker.published.pop()
    (line,) = [one.getMessage() for one in caplog.records if getattr(one, "action", "") == "message_refused"]
    assert line.startswith(f"request r: the broker refuses a message for {reply.topic}: 0x87 Not authorized")


def test_while_the_disk_is_nearly_full_nothing_is_acknowledged_and_the_reason_is_told(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.journal.room = False
    house.until(lambda: house.pipeline.obstacle)
    assert "nearly full" in str(house.pipeline.obstacle)
    assert [one for one in caplog.records if "free some space" in one.getMessage()]
    house.send({"tag": "t"})
    house.step()
    assert house.broker.acknowledged == []
    house.journal.room = True
    house.replied()
    assert house.pipeline.obstacle is None
    assert len(house.broker.acknowledged) == 1


def test_a_backlog_longer_than_memory_is_decided_in_order_of_arrival(house: House) -> None:
    house.site.down = True
    size = MAX_WAITING * 3 // 2
    for number in range(size):
        house.send({"requestId": f"r{number}", "tag": f"t{number % 7}"})
    house.until(lambda: len(house.broker.acknowledged) == size)
    assert len(house.pipeline.finder) <= MAX_WAITING
    house.site.down = False
    replies = house.replied(size)
    assert [reply["requestId"] for reply in replies] == [f"r{number}" for number in range(size)]


def test_a_backlog_survives_a_restart_in_order(house: House) -> None:
    house.site.down = True
    for number in range(1200):
        house.send({"requestId": f"r{number}", "tag": "t"})
    house.until(lambda: len(house.broker.acknowledged) == 1200)
    house.restart()
    house.site.down = False
    replies = house.replied(1200)
    assert [reply["requestId"] for reply in replies] == [f"r{number}" for number in range(1200)]


# ---- finding


def test_requests_that_wait_share_one_query(house: House) -> None:
    house.site.add("Sales", tags=("t",))
    for number in range(20):
        house.send({"tag": ["t", f"u{number % 3}"]})
    house.replied(20)
    assert len(house.site.asked) == 1
    assert len(house.site.asked[0]) == 4


def test_within_the_cache_age_nothing_is_asked_but_a_miss_always_is(house: House) -> None:
    house.site.lasting = False
    house.site.add("Sales", tags=("t",))
    house.ask({"tag": "t"})
    house.ask({"tag": "T"})
    house.ask({"tag": "t"})
    assert len(house.site.asked) <= 2
    house.ask({"tag": "none"})
    house.ask({"tag": "none"})
    assert [selector.value for one in house.site.asked for selector in one].count("none") == 2


def test_what_is_asked_for_again_and_again_is_read_anew_while_nobody_waits(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "RENEWED_SECONDS", 0.0)
    house.site.lasting = False
    task = house.site.add("Sales")
    house.ask({"taskId": task})
    house.site.change(task, name="Sales 2")
    house.send({"taskId": task})
    house.turn()
    house.post()
    assert house.site.posts == [task, task]
    assert len(house.site.asked) == 1
    assert house.replied(2)[1]["tasksStarted"][0]["taskName"] == "Sales"
    house.step()
    assert house.ask({"taskId": task})["tasksStarted"][0]["taskName"] == "Sales 2"


def test_what_grows_old_is_read_anew_after_the_commit_which_that_would_slow_down(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "RENEWED_SECONDS", 0.0)
    task = house.site.add("Sales")
    house.ask({"taskId": task})
    house.send({"taskId": task})
    house.journal.fail("before", Crash())
    with pytest.raises(Crash):
        house.turn()
    house.find()
    assert len(house.site.asked) == 1
    house.turn()
    house.find()
    assert len(house.site.asked) == 2


def test_what_grows_too_old_while_the_disk_is_slow_is_read_anew_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "RENEWED_SECONDS", 0.0)
    task = house.site.add("Sales")
    house.ask({"taskId": task})
    house.call({"taskId": task}, on_stored=lambda _: monkeypatch.setattr(resolver, "CACHE_SECONDS", 0.0))
    house.turn()
    house.find()
    assert [selector.value for one in house.site.asked for selector in one] == [task, task]


def test_an_execution_is_looked_at_after_the_commit_which_that_would_slow_down(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = _looks_at_what_has_begun(house, monkeypatch)
    house.journal.fail("before", Crash())
    with pytest.raises(Crash):
        house.turn()
    house.follow()
    assert not looks
    house.restart()
    house.until(lambda: looks)


def test_no_execution_is_looked_at_any_more_while_the_daemon_ends(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = _looks_at_what_has_begun(house, monkeypatch)
    house.pipeline.drain(0.0)
    house.turn()
    house.follow()
    assert not looks
    house.restart()
    house.until(lambda: looks)


def _looks_at_what_has_begun(house: House, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Give the looks at executions, of which one has begun that the next turn takes in."""
    monkeypatch.setattr(execution_tracker, "LEAST_SECONDS", 1e-9)
    looks: list[Sequence[str]] = []

    def executions(ids: Sequence[str]) -> dict[str, Execution | None]:
        looks.append(ids)
        return {}

    monkeypatch.setattr(house.site, "executions", executions)
    house.send({"taskId": house.site.add("Sales")})
    house.turn()
    house.find()
    house.turn()
    house.post()
    return looks


def test_what_is_asked_for_while_it_is_read_anew_is_not_read_once_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "RENEWED_SECONDS", 0.0)
    house.site.lasting = False
    task = house.site.add("Sales")
    house.ask({"taskId": task})
    for _ in range(3):
        house.send({"taskId": task})
        house.turn()
    house.replied(4)
    assert len(house.site.asked) == 2


def test_a_task_that_is_gone_is_not_known_any_longer_once_it_was_read_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "RENEWED_SECONDS", 0.0)
    house.site.lasting = False
    task = house.site.add("Sales")
    house.ask({"taskId": task})
    house.send({"taskId": task})
    house.turn()
    house.post()
    del house.site.tasks[task]
    house.replied(2)
    house.step()
    house.send({"taskId": task})
    house.turn()
    assert house.pipeline.starter.in_hand == 0
    assert house.replied(3)[2]["tasksNotFound"] == [{"taskId": task}]


def test_what_is_not_asked_for_any_more_is_not_read_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "RENEWED_SECONDS", 0.0)
    house.site.lasting = False
    task = house.site.add("Sales")
    for _ in range(2):
        house.ask({"taskId": task})
    for _ in range(5):
        house.step()
    assert len(house.site.asked) == 2


def test_an_outage_is_not_not_found(house: House) -> None:
    task = house.site.add("Sales")
    house.site.down = True
    house.send({"taskId": task})
    for _ in range(20):
        house.step()
    assert house.replies() == []
    house.site.down = False
    assert house.replied(1)[0]["totalTasksStarted"] == 1


# ---- time


def test_a_request_waiting_for_the_server_expires(house: House) -> None:
    house.site.down = True
    house.site.add("Sales")
    reply = house.ask({"taskName": "Sales"}, expiry_seconds=1)
    assert reply["code"] == "expired"
    house.site.down = False
    house.step()
    assert house.site.posts == []


def test_a_request_too_old_by_its_own_word_is_refused(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(max_age_seconds=60)))
    house.site.add("Sales")
    assert house.ask({"taskName": "Sales", "issuedAt": "2020-01-01T00:00:00Z"})["code"] == "expired"
    assert house.ask({"taskName": "Sales"})["totalTasksStarted"] == 1


def test_the_deadline_counts_only_while_the_server_cannot_be_reached(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(request_deadline_seconds=0.05)))
    task = house.site.add("Sales")
    house.site.down = True
    reply = house.ask({"taskId": task})
    assert (reply["code"], reply["error"]) == ("qrs_unavailable", "Qlik Sense cannot be reached")
    assert house.site.posts == []


def test_what_is_too_late_is_told_although_requests_keep_arriving(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrivals go before tidying, but not for ever."""
    monkeypatch.setattr(pipeline, "LATEST_TIDY_SECONDS", 0.05)
    house.site.add("Sales")
    house.site.down = True
    house.send({"taskName": "Sales", "requestId": "late"}, expiry_seconds=1)
    number = 0

    def refused() -> bool:
        nonlocal number
        number += 1
        house.send({"taskName": "Sales", "requestId": f"other-{number}"})
        return any(reply["requestId"] == "late" for reply in house.replies())

    house.until(refused)
    assert house.replies()[0]["code"] == "expired"

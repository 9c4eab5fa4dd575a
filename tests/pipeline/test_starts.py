"""Starting tasks: what the answer to a POST means, and what is done when it tells nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import EMPTY_GUID, Task, TaskType
from butler_mqtt.errors import OutcomeUnknown, QlikRefused, QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from butler_mqtt.starting import dispatcher
from butler_mqtt.starting.reconciler import BETWEEN_LOOKS_SECONDS, MAX_AGE_MS
from tests.brokers import until
from tests.pipeline.conftest import MakeHouse
from tests.pipeline.harness import OUR_USER, House, Site, cut_after_effect, cut_before_effect

Script = Callable[[Site, Task], str | None]

SKIP = {"ifRunning": "skip"}


def ask(house: House, **fields: Any) -> dict[str, Any]:
    return house.ask({"taskName": "Sales", **fields})


def only(reply: dict[str, Any], name: str) -> dict[str, Any]:
    """Give the one entry of a list of the reply, the only list with entries."""
    filled = [key for key, value in reply.items() if key.startswith("tasks") and value]
    assert filled == [name]
    entry: dict[str, Any] = reply[name][0]
    return entry


# ---- an answer that tells


def test_a_kind_without_executions_is_started_with_the_servers_yes(house: House) -> None:
    house.site.add("Sales", task_type=int(TaskType.DISTRIBUTE))
    assert "executionId" not in only(ask(house), "tasksStarted")


def test_a_disabled_task_of_a_kind_without_executions_is_not_posted(house: House) -> None:
    house.site.add("Sales", task_type=int(TaskType.PRELOAD), enabled=False)
    assert only(ask(house), "tasksFailed")["code"] == "task_disabled"
    assert house.site.posts == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"enabled": False}, "task_disabled"), ({"app_available": False}, "app_missing")],
)
def test_the_empty_execution_id_is_explained_from_what_the_server_shows(
    house: House, fields: dict[str, Any], code: str
) -> None:
    house.site.add("Sales", **fields)
    entry = only(ask(house), "tasksFailed")
    assert (entry["status"], entry["code"]) == ("notStarted", code)


def test_without_a_shown_reason_none_is_guessed(house: House) -> None:
    house.site.add("Sales")
    house.site.script.extend([lambda _site, _task: EMPTY_GUID] * 5)
    entry = only(ask(house), "tasksFailed")
    assert (entry["status"], entry["code"]) == ("notStarted", "not_started")


def test_an_empty_execution_id_is_explained_later_when_the_look_fails_at_first(house: House) -> None:
    house.site.add("Sales", enabled=False)
    house.site.looking.extend([QlikUnavailable("connection refused")] * 3)
    assert only(ask(house), "tasksFailed")["code"] == "task_disabled"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "qrs_forbidden"), (403, "qrs_forbidden"), (409, "qrs_rejected")]
)
def test_a_refused_start_is_named(house: House, status: int, code: str) -> None:
    house.site.add("Sales")
    house.site.script.append(QlikRefused(f"{status} with Forbidden", status))
    assert only(ask(house), "tasksFailed")["code"] == code


@pytest.mark.parametrize("status", [400, 404])
def test_a_task_that_is_gone_by_its_start_is_not_found(house: House, status: int) -> None:
    task_id = house.site.add("Sales")

    def gone(site: Site, task: Task) -> str | None:
        del site.tasks[task.id]
        raise QlikRefused("no such task", status)

    house.site.script.append(gone)
    reply = ask(house)
    assert (reply["status"], reply["tasksNotFound"]) == ("failed", [{"taskId": task_id}])


def test_a_start_refused_with_404_of_a_task_that_is_there_is_rejected(house: House) -> None:
    house.site.add("Sales")
    house.site.script.append(QlikRefused("404 with a page of something in front", 404))
    assert only(ask(house), "tasksFailed")["code"] == "qrs_rejected"


def test_an_id_the_journal_knows_already_is_not_told_as_a_new_execution(house: House) -> None:
    task_id = house.site.add("Sales")
    first = only(ask(house), "tasksStarted")["executionId"]
    house.site.script.append(lambda _site, _task: first)
    reply = ask(house, **SKIP)
    assert only(reply, "tasksSkipped")["executionId"] == first
    assert house.site.posts == [task_id]


# ---- it runs already


def test_a_task_that_runs_already_is_skipped_when_asked_so(house: House) -> None:
    task_id = house.site.add("Sales")
    running = house.site.begin(task_id)
    house.site.pass_time(60)
    reply = ask(house, **SKIP)
    entry = only(reply, "tasksSkipped")
    assert (entry["status"], entry["executionId"], reply["status"]) == ("alreadyRunning", running, "ok")


def test_by_default_a_request_for_a_running_task_leads_to_an_execution_after_it(house: House) -> None:
    task_id = house.site.add("Sales")
    running = house.site.begin(task_id)
    house.site.pass_time(60)
    entry = only(ask(house), "tasksQueued")
    assert (entry["status"], entry["reason"], entry["behind"]) == ("queued", "running", running)
    assert only(ask(house), "tasksQueued")["behind"] == running
    assert house.site.posts == []
    house.site.end(task_id)
    house.until(lambda: house.site.posts)
    for _ in range(10):
        house.step()
    # Both share the one execution.
    assert house.site.posts == [task_id]
    assert {row["state"] for row in house.rows(tables.starts)} == {"running"}


# ---- no usable answer: (a) to (d)


def test_a_start_whose_answer_was_lost_is_adopted_and_not_repeated(house: House) -> None:
    task_id = house.site.add("Sales")
    house.site.script.append(cut_after_effect)
    entry = only(ask(house), "tasksStarted")
    assert (entry["adopted"], entry["executionId"]) == (True, house.site.history[task_id][0].id)
    assert house.site.posts == [task_id]


def test_an_execution_that_somebody_began_after_the_request_is_adopted(house: House) -> None:
    task_id = house.site.add("Sales")

    def overtaken(site: Site, task: Task) -> str | None:
        site.begin(task.id)
        raise OutcomeUnknown("cut")

    house.site.script.append(overtaken)
    assert only(ask(house), "tasksStarted")["adopted"] is True
    assert house.site.posts == []
    assert len(house.site.history[task_id]) == 1


def test_a_start_that_never_arrived_is_posted_again_after_two_looks(house: House) -> None:
    task_id = house.site.add("Sales")
    house.site.begin(task_id)
    house.site.end(task_id)
    house.site.pass_time(60)
    house.site.script.append(cut_before_effect)
    looks = house.site.looks
    entry = only(ask(house), "tasksStarted")
    assert "adopted" not in entry
    assert house.site.posts == [task_id]
    assert house.site.looks - looks >= 2
    assert house.rows(tables.runs)[0]["attempts"] == 2


def test_the_two_looks_are_five_seconds_apart_and_an_intent_older_than_ten_minutes_is_not_repeated() -> None:
    assert BETWEEN_LOOKS_SECONDS == 5.0
    assert MAX_AGE_MS == 600_000


def test_a_start_that_takes_effect_between_the_looks_is_adopted(house: House) -> None:
    task_id = house.site.add("Sales")
    house.site.script.append(cut_before_effect)
    house.send({"taskName": "Sales"})
    house.until(lambda: house.site.looks == 1)
    house.site.start_now(house.site.tasks[task_id])
    assert only(house.replied(1)[0], "tasksStarted")["adopted"] is True
    assert house.site.posts == [task_id]


def test_a_start_that_takes_effect_when_it_is_repeated_is_adopted_before_it_is_called_running(
    house: House,
) -> None:
    task_id = house.site.add("Sales")

    def late(site: Site, task: Task) -> str | None:
        site.start_now(task)
        return EMPTY_GUID

    house.site.script.extend([cut_before_effect, late])
    assert only(ask(house), "tasksStarted")["adopted"] is True
    assert house.site.posts == [task_id]


def test_a_start_in_doubt_of_a_task_that_ran_before_is_not_adopted_from_before(house: House) -> None:
    task_id = house.site.add("Sales")
    running = house.site.begin(task_id)
    house.site.pass_time(60)
    house.site.script.append(cut_before_effect)
    assert only(ask(house, **SKIP), "tasksSkipped")["executionId"] == running


def test_an_outcome_nobody_can_tell_is_reported_and_not_repeated(house: House) -> None:
    house.site.add("Sales", task_type=int(TaskType.DISTRIBUTE))
    house.site.script.append(cut_before_effect)
    entry = only(ask(house), "tasksFailed")
    assert (entry["status"], entry["code"]) == ("unknown", "outcome_unknown")
    for _ in range(5):
        house.step()
    assert house.site.posts == []


def test_an_outcome_the_server_will_not_show_is_unknown(house: House) -> None:
    house.site.add("Sales")
    house.site.script.append(cut_after_effect)
    house.site.looking.append(QlikRefused("403 with Forbidden", 403))
    assert only(ask(house), "tasksFailed")["code"] == "outcome_unknown"


def test_a_run_that_is_posted_again_at_once_is_in_hand_until_its_outcome_is_on_disk(house: House) -> None:
    """Else a repair takes it for one in doubt while it is on its way, and a stop does not wait for it."""
    task_id = house.site.add("Sales")

    def ended_just_now(site: Site, task: Task) -> str | None:
        site.begin(task.id)
        site.end(task.id)
        return EMPTY_GUID

    house.site.script.append(ended_just_now)
    house.send({"taskId": task_id})
    house.turn()
    house.find()
    house.turn()
    house.post()
    house.turn()
    assert house.site.posts == []
    assert house.pipeline.starter.in_hand == 1
    assert house.replied(1)[0]["totalTasksStarted"] == 1
    assert house.pipeline.starter.in_hand == 0
    assert house.site.posts == [task_id]


def test_a_task_that_cannot_be_read_does_not_keep_the_others_in_doubt(house: House) -> None:
    ids = [house.site.add(f"Sales {number}") for number in range(12)]
    house.site.unreadable = ids[5]
    house.send({"taskId": ids})
    house.until(lambda: house.site.asked)
    house.turn()
    house.restart()
    house.until(lambda: len(house.site.posts) == 11)
    assert house.replies() == []
    house.site.unreadable = ""
    assert house.replied(1)[0]["totalTasksStarted"] == 12


def test_many_starts_in_doubt_are_looked_at_together(house: House) -> None:
    """A daemon that is killed every second must get through all that the lives before it have left."""
    ids = [house.site.add(f"Sales {number}") for number in range(20)]
    house.send({"taskId": ids})
    house.until(lambda: house.site.asked)
    house.turn()
    house.restart()
    assert house.replied(1)[0]["totalTasksStarted"] == 20
    assert max(house.site.together) >= 16
    assert sorted(house.site.posts) == ids


def test_looks_go_on_while_the_server_cannot_be_reached(house: House) -> None:
    house.site.add("Sales")
    house.site.script.append(cut_after_effect)
    house.site.looking.extend([QlikUnavailable("connection refused")] * 3)
    assert only(ask(house), "tasksStarted")["adopted"] is True


# ---- nothing was sent


def test_a_start_is_repeated_by_itself_when_nothing_was_sent(house: House) -> None:
    task_id = house.site.add("Sales")
    house.site.script.extend(
        [QlikUnavailable("connection refused"), QlikUnavailable("429", retry_after=0.001)]
    )
    assert only(ask(house), "tasksStarted")["taskId"] == task_id
    assert house.site.posts == [task_id]


def test_few_starts_are_in_hand_until_the_daemon_has_proved_to_live(make_house: MakeHouse) -> None:
    """Each of them has to be looked at on the server after a kill."""
    house = make_house(Settings(start_task=StartTask(max_concurrent_starts=1, max_tasks_per_request=1000)))
    house.site.lasting = False
    for number in range(500):
        house.site.add(f"Sales {number}", tags=("sales",))
    house.send({"tag": "sales"})
    in_hand = house.pipeline.starter.poster.in_hand
    house.until(lambda: in_hand)
    assert len(in_hand) == dispatcher.FIRST_IN_HAND
    most = 0

    def all_started() -> bool:
        nonlocal most
        house.turn()
        most = max(most, len(in_hand))
        return len(house.site.posts) == 500

    house.until(all_started)
    assert most == dispatcher.IN_HAND


def test_more_starts_are_in_hand_at_once_where_a_thread_had_nothing_to_post(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(max_concurrent_starts=1, max_tasks_per_request=1000)))
    house.site.lasting = False
    for number in range(200):
        house.site.add(f"Sales {number}", tags=("sales",))
    poster = house.pipeline.starter.poster
    thread = threading.Thread(target=poster.work, args=(house.site,))
    thread.start()
    house.send({"tag": "sales"})
    posted = []
    while len(house.site.posts) < 44:
        before = len(house.site.posts)
        house.turn()
        until(lambda: poster.idle == 1, what="the thread has nothing left to post")
        posted.append(len(house.site.posts) - before)
        house.find()
    poster.stop()
    thread.join(10)
    assert [count for count in posted if count][:4] == [4, 8, 16, dispatcher.IN_HAND]


def test_starts_that_fail_together_lengthen_the_pause_once(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One moment without the server must not look like many in a row."""
    monkeypatch.setattr(dispatcher, "MAX_PAUSE_SECONDS", 60.0)
    caplog.set_level("INFO", "butler_mqtt")
    for number in range(6):
        house.site.add(f"Sales {number}", tags=("sales",))
    house.site.script.extend([QlikUnavailable("connection refused")] * 6)
    house.send({"tag": "sales"})
    house.until(lambda: len(pauses(caplog)) == 6)
    assert max(pauses(caplog)) <= 0.5


def pauses(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Give the seconds to the next try from the lines about starts that wait."""
    lines = [one.getMessage() for one in caplog.records if getattr(one, "action", "") == "qrs_waiting"]
    return [float(line.rpartition("next try in ")[2].removesuffix(" s")) for line in lines]


def test_a_start_the_server_does_not_take_is_given_up_at_its_deadline(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(request_deadline_seconds=0.1)))
    house.site.add("Sales")
    house.site.script.extend([QlikUnavailable("connection refused")] * 1000)
    assert ask(house, requestId="a")["code"] == "qrs_unavailable"
    house.site.script.clear()
    assert ask(house, requestId="a")["totalTasksStarted"] == 1


def test_a_start_that_is_repeated_expires(house: House) -> None:
    house.site.add("Sales")
    house.site.script.extend([QlikUnavailable("connection refused")] * 1000)
    reply = house.ask({"taskName": "Sales"}, expiry_seconds=1)
    assert reply["code"] == "expired"
    house.site.script.clear()
    for _ in range(5):
        house.step()
    assert house.site.posts == []
    assert house.rows(tables.runs)[-1]["state"] == "none"


def test_a_start_expires_while_a_slow_server_keeps_those_before_it(house: House) -> None:
    house.site.add("Slow")
    house.site.add("Sales")
    over = now_ms() + 2000

    def answer_late(site: Site, task: Task) -> str:
        until(lambda: now_ms() > over, what="over")
        return site.begin(task.id)

    house.site.script.append(answer_late)
    house.send({"taskName": "Slow", "requestId": "slow"})
    house.send({"taskName": "Sales", "requestId": "late"}, expiry_seconds=1)
    codes = {reply["requestId"]: reply.get("code") for reply in house.replied(2)}
    assert (codes["late"], house.site.posts) == ("expired", [])
    assert [row["state"] for row in house.rows(tables.runs)] == ["executing", "none"]


def test_a_start_behind_a_run_in_doubt_expires(house: House) -> None:
    house.site.add("Sales")
    house.site.script.append(cut_after_effect)
    house.site.looking.extend([QlikUnavailable("connection refused")] * 10_000)
    house.send({"taskName": "Sales", "requestId": "first"})
    house.until(lambda: house.site.looks)
    reply = house.ask({"taskName": "Sales", "requestId": "second"}, expiry_seconds=1)
    assert (reply["requestId"], reply["code"]) == ("second", "expired")


# ---- order and fairness


def test_requests_for_one_task_are_served_in_order_of_arrival(house: House) -> None:
    house.site.lasting = False
    house.site.add("Sales")
    for number in range(6):
        house.send({"requestId": f"r{number}", "taskName": "Sales", **SKIP})
    replies = house.replied(6)
    assert [reply["requestId"] for reply in replies] == [f"r{number}" for number in range(6)]
    assert len({reply["tasksStarted"][0]["executionId"] for reply in replies}) == 6


def test_a_task_in_doubt_does_not_hold_up_the_others(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task=StartTask(max_concurrent_starts=1)))
    doubtful = house.site.add("Doubtful")
    for number in range(10):
        house.site.add(f"t{number}", tags=("others",))
    house.site.script.append(cut_after_effect)
    house.site.looking.extend([QlikUnavailable("connection refused")] * 10_000)
    house.send({"taskId": doubtful, "requestId": "doubtful"})
    house.until(lambda: house.site.looks)
    reply = house.ask({"tag": "others", "requestId": "others"})
    assert (reply["requestId"], reply["totalTasksStarted"]) == ("others", 10)
    house.site.looking.clear()
    assert house.replied(2)[1]["requestId"] == "doubtful"


def test_at_most_one_run_of_a_task_is_between_intent_and_outcome(house: House) -> None:
    house.site.lasting = False
    house.site.add("Sales")

    def one_open(_task: Task) -> None:
        open_runs = [row for row in house.rows(tables.runs) if row["state"] in {"intended", "posted"}]
        assert len(open_runs) == 1

    house.site.on_start = one_open
    for _ in range(5):
        house.send({"taskName": "Sales", **SKIP})
    house.replied(5)


def test_the_intent_is_on_disk_with_what_the_server_showed_before_the_post(house: House) -> None:
    task_id = house.site.add("Sales")
    house.site.begin(task_id)
    house.site.end(task_id)
    before = house.site.history[task_id][0]
    house.site.pass_time(60)
    seen: list[Any] = []
    house.site.on_start = lambda _task: seen.extend(house.rows(tables.runs))
    ask(house)
    assert house.site.clock is not None
    assert before.began is not None
    assert [(row["state"], row["baseline_result"]) for row in seen] == [("intended", before.result_id)]
    assert seen[0]["baseline_began"] == before.began.timestamp() * 1000
    assert seen[0]["server_date"] == house.site.clock.timestamp() * 1000


def test_the_servers_time_is_asked_for_before_the_first_start(house: House) -> None:
    # After a restart starts can stand ready before anything was asked of the server.
    house.site.add("Sales")
    house.send({"taskName": "Sales"})
    house.turn()
    house.find()
    house.turn()
    house.crash()
    clock, house.site.clock = house.site.clock, None
    house.start()
    house.turn()
    house.turn()
    house.post()
    assert house.site.posts == []
    house.site.clock = clock
    house.replied(1)
    assert len(house.site.posts) == 1


def test_a_server_that_never_tells_its_time_is_not_asked_for_ever(house: House) -> None:
    house.site.clock = None
    house.site.add("Sales")
    house.send({"taskName": "Sales"})
    house.replied(1)
    assert len(house.site.posts) == 1


def test_our_own_user_is_preferred_when_an_execution_is_adopted(house: House) -> None:
    task_id = house.site.add("Sales")

    def both(site: Site, task: Task) -> str | None:
        site.begin(task.id)
        site.begin(task.id, OUR_USER)
        raise OutcomeUnknown("cut")

    house.site.script.append(both)
    entry = only(ask(house), "tasksStarted")
    ours = [one.id for one in house.site.history[task_id] if one.user == OUR_USER]
    assert [entry["executionId"]] == ours

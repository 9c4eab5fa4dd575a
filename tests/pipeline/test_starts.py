"""Starting tasks: what the answer to a POST means, and what is done when it shows nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.model import EMPTY_GUID, Task, TaskType
from butler_mqtt.errors import OutcomeUnknown, QlikRefused, QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.settings import Settings, StartTask
from butler_mqtt.starting.posts_in_flight import FIRST_WINDOW, LARGEST_WINDOW
from tests.brokers import until
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import SHORT_LOOP, SHORT_QLIK, Harness
from tests.pipeline.site_double import OUR_USER, Site, cut_after_effect, cut_before_effect

Script = Callable[[Site, Task], str | None]

SKIP = {"ifRunning": "skip"}


def ask(harness: Harness, **fields: Any) -> dict[str, Any]:
    return harness.ask({"taskName": "Sales", **fields})


def only(reply: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the one entry of a list of the reply, the only list with entries."""
    filled = [key for key, value in reply.items() if key.startswith("tasks") and value]
    assert filled == [name]
    entry: dict[str, Any] = reply[name][0]
    return entry


# ---- an answer that decides


def test_a_kind_without_executions_is_started_with_the_servers_yes(harness: Harness) -> None:
    harness.site.add("Sales", task_type=int(TaskType.DISTRIBUTE))
    assert "executionId" not in only(ask(harness), "tasksStarted")


def test_a_disabled_task_of_a_kind_without_executions_is_not_posted(harness: Harness) -> None:
    harness.site.add("Sales", task_type=int(TaskType.PRELOAD), enabled=False)
    assert only(ask(harness), "tasksFailed")["code"] == "task_disabled"
    assert harness.site.posts == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"enabled": False}, "task_disabled"), ({"app_available": False}, "app_missing")],
)
def test_the_empty_execution_id_is_explained_from_what_the_server_shows(
    harness: Harness, fields: dict[str, Any], code: str
) -> None:
    harness.site.add("Sales", **fields)
    entry = only(ask(harness), "tasksFailed")
    assert (entry["status"], entry["code"]) == ("notStarted", code)


def test_without_a_shown_reason_none_is_guessed(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.site.script.extend([lambda _site, _task: EMPTY_GUID] * 5)
    entry = only(ask(harness), "tasksFailed")
    assert (entry["status"], entry["code"]) == ("notStarted", "not_started")


def test_an_empty_execution_id_is_explained_later_when_the_first_snapshot_fails(harness: Harness) -> None:
    harness.site.add("Sales", enabled=False)
    harness.site.snapshot_errors.extend([QlikUnavailable("connection refused")] * 3)
    assert only(ask(harness), "tasksFailed")["code"] == "task_disabled"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "qrs_forbidden"), (403, "qrs_forbidden"), (409, "qrs_rejected")]
)
def test_a_refused_start_is_named(harness: Harness, status: int, code: str) -> None:
    harness.site.add("Sales")
    harness.site.script.append(QlikRefused(f"{status} with Forbidden", status))
    assert only(ask(harness), "tasksFailed")["code"] == code


@pytest.mark.parametrize("status", [400, 404])
def test_a_task_that_is_gone_by_its_start_is_not_found(harness: Harness, status: int) -> None:
    task_id = harness.site.add("Sales")

    def gone(site: Site, task: Task) -> str | None:
        del site.tasks[task.id]
        raise QlikRefused("no such task", status)

    harness.site.script.append(gone)
    reply = ask(harness)
    assert (reply["status"], reply["tasksNotFound"]) == ("failed", [{"taskId": task_id}])


def test_a_start_refused_with_404_of_a_task_that_is_there_is_rejected(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.site.script.append(QlikRefused("404 with a page of something in front", 404))
    assert only(ask(harness), "tasksFailed")["code"] == "qrs_rejected"


def test_an_id_the_journal_knows_already_is_not_reported_as_a_new_execution(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    first = only(ask(harness), "tasksStarted")["executionId"]
    harness.site.script.append(lambda _site, _task: first)
    reply = ask(harness, **SKIP)
    assert only(reply, "tasksSkipped")["executionId"] == first
    assert harness.site.posts == [task_id]


# ---- it runs already


def test_a_task_that_runs_already_is_skipped_when_asked_so(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    running = harness.site.begin(task_id)
    harness.site.pass_time(60)
    reply = ask(harness, **SKIP)
    entry = only(reply, "tasksSkipped")
    assert (entry["status"], entry["executionId"], reply["status"]) == ("alreadyRunning", running, "ok")


def test_by_default_a_request_for_a_running_task_leads_to_an_execution_after_it(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    running = harness.site.begin(task_id)
    harness.site.pass_time(60)
    entry = only(ask(harness), "tasksQueued")
    assert (entry["status"], entry["reason"], entry["behind"]) == ("queued", "running", running)
    assert only(ask(harness), "tasksQueued")["behind"] == running
    assert harness.site.posts == []
    harness.site.end(task_id)
    harness.until(lambda: harness.site.posts)
    for _ in range(10):
        harness.step()
    # Both share the one execution.
    assert harness.site.posts == [task_id]
    assert {row["state"] for row in harness.rows(tables.starts)} == {"running"}


# ---- no usable answer: (a) to (d)


def test_a_start_whose_answer_was_lost_is_adopted_and_not_repeated(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.site.script.append(cut_after_effect)
    entry = only(ask(harness), "tasksStarted")
    assert (entry["adopted"], entry["executionId"]) == (True, harness.site.history[task_id][0].id)
    assert harness.site.posts == [task_id]


def test_an_execution_that_somebody_began_after_the_request_is_adopted(harness: Harness) -> None:
    task_id = harness.site.add("Sales")

    def overtaken(site: Site, task: Task) -> str | None:
        site.begin(task.id)
        raise OutcomeUnknown("cut")

    harness.site.script.append(overtaken)
    assert only(ask(harness), "tasksStarted")["adopted"] is True
    assert harness.site.posts == []
    assert len(harness.site.history[task_id]) == 1


def test_a_start_that_never_arrived_is_posted_again_after_two_looks(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.site.begin(task_id)
    harness.site.end(task_id)
    harness.site.pass_time(60)
    harness.site.script.append(cut_before_effect)
    snapshots = harness.site.snapshots
    entry = only(ask(harness), "tasksStarted")
    assert "adopted" not in entry
    assert harness.site.posts == [task_id]
    assert harness.site.snapshots - snapshots >= 2
    assert harness.rows(tables.runs)[0]["attempts"] == 2


def test_the_two_polls_are_five_seconds_apart_and_an_intent_older_than_ten_minutes_is_not_repeated() -> None:
    assert QlikTimings().between_polls == 5.0
    assert QlikTimings().longest_intent == 600.0


def test_a_start_that_takes_effect_between_the_polls_is_adopted(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.site.script.append(cut_before_effect)
    harness.send({"taskName": "Sales"})
    harness.until(lambda: harness.site.snapshots == 1)
    harness.site.start_now(harness.site.tasks[task_id])
    assert only(harness.replied(1)[0], "tasksStarted")["adopted"] is True
    assert harness.site.posts == [task_id]


def test_a_start_that_takes_effect_when_it_is_repeated_is_adopted_before_it_is_called_running(
    harness: Harness,
) -> None:
    task_id = harness.site.add("Sales")

    def late(site: Site, task: Task) -> str | None:
        site.start_now(task)
        return EMPTY_GUID

    harness.site.script.extend([cut_before_effect, late])
    assert only(ask(harness), "tasksStarted")["adopted"] is True
    assert harness.site.posts == [task_id]


def test_a_start_in_doubt_of_a_task_that_ran_before_is_not_adopted_from_before(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    running = harness.site.begin(task_id)
    harness.site.pass_time(60)
    harness.site.script.append(cut_before_effect)
    assert only(ask(harness, **SKIP), "tasksSkipped")["executionId"] == running


def test_an_outcome_nobody_can_tell_is_reported_and_not_repeated(harness: Harness) -> None:
    harness.site.add("Sales", task_type=int(TaskType.DISTRIBUTE))
    harness.site.script.append(cut_before_effect)
    entry = only(ask(harness), "tasksFailed")
    assert (entry["status"], entry["code"]) == ("unknown", "outcome_unknown")
    for _ in range(5):
        harness.step()
    assert harness.site.posts == []


def test_an_outcome_the_server_will_not_show_is_unknown(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.site.script.append(cut_after_effect)
    harness.site.snapshot_errors.append(QlikRefused("403 with Forbidden", 403))
    assert only(ask(harness), "tasksFailed")["code"] == "outcome_unknown"


def test_a_run_that_is_posted_again_at_once_is_in_hand_until_its_outcome_is_on_disk(harness: Harness) -> None:
    """Else a repair takes it for one in doubt while it is on its way, and a stop does not wait for it."""
    task_id = harness.site.add("Sales")

    def ended_just_now(site: Site, task: Task) -> str | None:
        site.begin(task.id)
        site.end(task.id)
        return EMPTY_GUID

    harness.site.script.append(ended_just_now)
    harness.send({"taskId": task_id})
    harness.turn()
    harness.find()
    harness.turn()
    harness.post()
    harness.turn()
    assert harness.site.posts == []
    assert harness.pipeline.dispatcher.in_hand == 1
    assert harness.replied(1)[0]["totalTasksStarted"] == 1
    assert harness.pipeline.dispatcher.in_hand == 0
    assert harness.site.posts == [task_id]


def test_a_task_that_cannot_be_read_does_not_keep_the_others_in_doubt(harness: Harness) -> None:
    ids = [harness.site.add(f"Sales {number}") for number in range(12)]
    harness.site.unreadable = ids[5]
    harness.send({"taskId": ids})
    harness.until(lambda: harness.site.asked)
    harness.turn()
    harness.restart()
    harness.until(lambda: len(harness.site.posts) == 11)
    assert harness.replies() == []
    harness.site.unreadable = ""
    assert harness.replied(1)[0]["totalTasksStarted"] == 12


def test_many_starts_in_doubt_are_polled_together(harness: Harness) -> None:
    """A daemon that is killed every second must reconcile all that was left before each restart."""
    ids = [harness.site.add(f"Sales {number}") for number in range(20)]
    harness.send({"taskId": ids})
    harness.until(lambda: harness.site.asked)
    harness.turn()
    harness.restart()
    assert harness.replied(1)[0]["totalTasksStarted"] == 20
    assert max(harness.site.snapshot_sizes) >= 16
    assert sorted(harness.site.posts) == ids


def test_polls_go_on_while_the_server_is_unreachable(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.site.script.append(cut_after_effect)
    harness.site.snapshot_errors.extend([QlikUnavailable("connection refused")] * 3)
    assert only(ask(harness), "tasksStarted")["adopted"] is True


# ---- nothing was sent


def test_a_start_is_repeated_by_itself_when_nothing_was_sent(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.site.script.extend(
        [QlikUnavailable("connection refused"), QlikUnavailable("429", retry_after=0.001)]
    )
    assert only(ask(harness), "tasksStarted")["taskId"] == task_id
    assert harness.site.posts == [task_id]


def test_few_starts_are_in_hand_until_the_daemon_has_run_for_a_while(make_harness: MakeHarness) -> None:
    """Each of them has to be reconciled after a kill."""
    harness = make_harness(
        Settings(start_task=StartTask(max_concurrent_starts=1, max_tasks_per_request=1000))
    )
    harness.site.lasting = False
    for number in range(500):
        harness.site.add(f"Sales {number}", tags=("sales",))
    harness.send({"tag": "sales"})
    in_hand = harness.pipeline.dispatcher.post_workers.in_hand
    harness.until(lambda: in_hand)
    assert len(in_hand) == FIRST_WINDOW
    most = 0

    def all_started() -> bool:
        nonlocal most
        harness.turn()
        most = max(most, len(in_hand))
        return len(harness.site.posts) == 500

    harness.until(all_started)
    assert most == LARGEST_WINDOW


def test_a_start_whose_time_is_over_when_its_turn_comes_is_not_written_as_an_intent(
    make_harness: MakeHarness,
) -> None:
    # No check for what is too late comes between.
    rarely = replace(SHORT_LOOP, tidy_seconds=3600.0, latest_tidy_seconds=3600.0)
    settings = Settings(start_task=StartTask(max_concurrent_starts=1, max_tasks_per_request=1000))
    harness = make_harness(settings, timings=rarely)
    for number in range(FIRST_WINDOW):
        harness.site.add(f"First {number}", tags=("first",))
    last = harness.site.add("Last")
    harness.send({"tag": "first"})
    in_hand = harness.pipeline.dispatcher.post_workers.in_hand
    while len(in_hand) < FIRST_WINDOW:
        harness.turn()
        harness.find()
    over_at = now_ms() + 400
    harness.send({"requestId": "late", "taskId": last, "expiresAt": stamp_ms(over_at)})
    while len(harness.rows(tables.starts)) == FIRST_WINDOW:
        harness.turn()
        harness.find()
    until(lambda: now_ms() > over_at, what="its time is over")
    replies = {reply["requestId"]: reply for reply in harness.replied(2)}
    assert replies["late"]["code"] == "expired"
    assert len(harness.rows(tables.runs)) == FIRST_WINDOW


def test_more_starts_are_in_hand_at_once_where_a_thread_had_nothing_to_post(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(
        Settings(start_task=StartTask(max_concurrent_starts=1, max_tasks_per_request=1000))
    )
    harness.site.lasting = False
    for number in range(200):
        harness.site.add(f"Sales {number}", tags=("sales",))
    post_workers = harness.pipeline.dispatcher.post_workers
    thread = threading.Thread(target=post_workers.work, args=(harness.site,))
    thread.start()
    harness.send({"tag": "sales"})
    posted = []
    while len(harness.site.posts) < 44:
        before = len(harness.site.posts)
        harness.turn()
        until(lambda: post_workers.idle == 1, what="the thread has nothing left to post")
        posted.append(len(harness.site.posts) - before)
        harness.find()
    post_workers.stop()
    thread.join(10)
    assert [count for count in posted if count][:4] == [4, 8, 16, LARGEST_WINDOW]


def test_starts_that_fail_together_lengthen_the_pause_once(
    make_harness: MakeHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """One moment without the server must not count as many in a row."""
    harness = make_harness(qlik_timings=replace(SHORT_QLIK, longest_pause=60.0))
    # Only the first of lines alike is at info.
    caplog.set_level("DEBUG", "butler_mqtt")
    for number in range(6):
        harness.site.add(f"Sales {number}", tags=("sales",))
    harness.site.script.extend([QlikUnavailable("connection refused")] * 6)
    harness.send({"tag": "sales"})
    harness.until(lambda: len(pauses(caplog)) == 6)
    assert max(pauses(caplog)) <= 0.5


def pauses(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Return the seconds to the next try from the lines about starts that wait."""
    lines = [one.getMessage() for one in caplog.records if getattr(one, "action", "") == "qrs_waiting"]
    return [float(line.rpartition("next try in ")[2].removesuffix(" s")) for line in lines]


def test_a_start_the_server_does_not_accept_is_dropped_at_its_deadline(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(request_deadline_seconds=0.5)))
    harness.site.add("Sales")
    harness.site.script.extend([QlikUnavailable("connection refused")] * 1000)
    assert ask(harness, requestId="a")["code"] == "qrs_unavailable"
    harness.site.script.clear()
    assert ask(harness, requestId="a")["totalTasksStarted"] == 1


def test_a_start_that_is_repeated_expires(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.site.script.extend([QlikUnavailable("connection refused")] * 1000)
    reply = harness.ask({"taskName": "Sales"}, expiry_seconds=1)
    assert reply["code"] == "expired"
    harness.site.script.clear()
    for _ in range(5):
        harness.step()
    assert harness.site.posts == []
    assert harness.rows(tables.runs)[-1]["state"] == "none"


def test_a_start_expires_while_a_slow_server_keeps_those_before_it(harness: Harness) -> None:
    harness.site.add("Slow")
    harness.site.add("Sales")
    over = now_ms() + 2000

    def answer_late(site: Site, task: Task) -> str:
        until(lambda: now_ms() > over, what="over")
        return site.begin(task.id)

    harness.site.script.append(answer_late)
    harness.send({"taskName": "Slow", "requestId": "slow"})
    harness.send({"taskName": "Sales", "requestId": "late"}, expiry_seconds=1)
    codes = {reply["requestId"]: reply.get("code") for reply in harness.replied(2)}
    assert (codes["late"], harness.site.posts) == ("expired", [])
    assert [row["state"] for row in harness.rows(tables.runs)] == ["executing", "none"]


def test_a_start_behind_a_run_in_doubt_expires(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.site.script.append(cut_after_effect)
    harness.site.snapshot_errors.extend([QlikUnavailable("connection refused")] * 10_000)
    harness.send({"taskName": "Sales", "requestId": "first"})
    harness.until(lambda: harness.site.snapshots)
    reply = harness.ask({"taskName": "Sales", "requestId": "second"}, expiry_seconds=1)
    assert (reply["requestId"], reply["code"]) == ("second", "expired")


# ---- order and fairness


def test_requests_for_one_task_are_served_in_order_of_arrival(harness: Harness) -> None:
    harness.site.lasting = False
    harness.site.add("Sales")
    for number in range(6):
        harness.send({"requestId": f"r{number}", "taskName": "Sales", **SKIP})
    replies = harness.replied(6)
    assert [reply["requestId"] for reply in replies] == [f"r{number}" for number in range(6)]
    assert len({reply["tasksStarted"][0]["executionId"] for reply in replies}) == 6


def test_a_task_in_doubt_does_not_hold_up_the_others(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_starts=1)))
    doubtful = harness.site.add("Doubtful")
    for number in range(10):
        harness.site.add(f"t{number}", tags=("others",))
    harness.site.script.append(cut_after_effect)
    harness.site.snapshot_errors.extend([QlikUnavailable("connection refused")] * 10_000)
    harness.send({"taskId": doubtful, "requestId": "doubtful"})
    harness.until(lambda: harness.site.snapshots)
    reply = harness.ask({"tag": "others", "requestId": "others"})
    assert (reply["requestId"], reply["totalTasksStarted"]) == ("others", 10)
    harness.site.snapshot_errors.clear()
    assert harness.replied(2)[1]["requestId"] == "doubtful"


def test_at_most_one_run_of_a_task_is_between_intent_and_outcome(harness: Harness) -> None:
    harness.site.lasting = False
    harness.site.add("Sales")

    def one_open(_task: Task) -> None:
        open_runs = [row for row in harness.rows(tables.runs) if row["state"] in {"intended", "posted"}]
        assert len(open_runs) == 1

    harness.site.on_start = one_open
    for _ in range(5):
        harness.send({"taskName": "Sales", **SKIP})
    harness.replied(5)


def test_the_intent_is_on_disk_with_what_the_server_showed_before_the_post(harness: Harness) -> None:
    task_id = harness.site.add("Sales")
    harness.site.begin(task_id)
    harness.site.end(task_id)
    before = harness.site.history[task_id][0]
    harness.site.pass_time(60)
    seen: list[Any] = []
    harness.site.on_start = lambda _task: seen.extend(harness.rows(tables.runs))
    ask(harness)
    assert harness.site.clock is not None
    assert before.began is not None
    assert [(row["state"], row["baseline_result"]) for row in seen] == [("intended", before.result_id)]
    assert seen[0]["baseline_began"] == before.began.timestamp() * 1000
    assert seen[0]["server_date"] == harness.site.clock.timestamp() * 1000


def test_the_servers_time_is_asked_for_before_the_first_start(harness: Harness) -> None:
    # After a restart starts can stand ready before anything was asked of the server.
    harness.site.add("Sales")
    harness.send({"taskName": "Sales"})
    harness.turn()
    harness.find()
    harness.turn()
    harness.crash()
    clock, harness.site.clock = harness.site.clock, None
    harness.start()
    harness.turn()
    harness.turn()
    harness.post()
    assert harness.site.posts == []
    harness.site.clock = clock
    harness.replied(1)
    assert len(harness.site.posts) == 1


def test_a_server_that_never_tells_its_time_is_not_asked_for_ever(harness: Harness) -> None:
    harness.site.clock = None
    harness.site.add("Sales")
    harness.send({"taskName": "Sales"})
    harness.replied(1)
    assert len(harness.site.posts) == 1


def test_our_own_user_is_preferred_when_an_execution_is_adopted(harness: Harness) -> None:
    task_id = harness.site.add("Sales")

    def both(site: Site, task: Task) -> str | None:
        site.begin(task.id)
        site.begin(task.id, OUR_USER)
        raise OutcomeUnknown("cut")

    harness.site.script.append(both)
    entry = only(ask(harness), "tasksStarted")
    ours = [one.id for one in harness.site.history[task_id] if one.user == OUR_USER]
    assert [entry["executionId"]] == ours


def test_while_the_server_takes_no_start_one_at_a_time_tries(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_concurrent_starts=4)))
    tried: list[Task] = []
    harness.site.on_start = tried.append
    for number in range(9):
        harness.send({"taskId": harness.site.add(f"Task {number}")})
    harness.turn()
    harness.find()
    harness.site.down = True
    harness.turn()
    harness.post()
    assert len(tried) > 1
    tried.clear()
    while not tried:
        harness.turn()
        harness.post()
    assert len(tried) == 1
    harness.site.down = False
    assert len(harness.replied(9)) == 9

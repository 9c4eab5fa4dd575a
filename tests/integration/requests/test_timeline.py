"""The timeline of one request: every step, after crashes too."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from butler_mqtt.audit.requests_timeline import Step, steps
from butler_mqtt.clock import now_ms
from butler_mqtt.journal import tables
from butler_mqtt.journal.request_rows import MAX_DELIVERIES, RequestRows
from butler_mqtt.journal.search import Search
from butler_mqtt.settings import Settings, StartTaskFilter
from tests.integration.requests.conftest import MakeHarness, call, delivered, lines
from tests.pipeline.harness import Harness
from tests.pipeline.site_double import Crash, cut_after_effect, cut_before_effect, killed_after_effect


def requests_rows(harness: Harness, request_id: str) -> list[RequestRows]:
    with Search(harness.path) as search:
        return search.requests_rows(search.named(request_id))


def steps_of(harness: Harness, request_id: str) -> list[Step]:
    (request_rows,) = requests_rows(harness, request_id)
    return steps(request_rows)


def words(steps_told: Sequence[Step]) -> list[str]:
    return [step.step for step in steps_told]


def text(steps_told: Sequence[Step], word: str) -> str:
    (found,) = [step.text for step in steps_told if step.step == word]
    return found


def finished(harness: Harness) -> None:
    """Step until all is answered, published and over."""
    harness.until(
        lambda: (
            delivered(harness)
            and not harness.open_rows()
            and all(row["state"] in {"ended", "none", "unknown"} for row in harness.rows(tables.runs))
        )
    )


def test_a_story_has_every_step_in_order_of_time(harness: Harness) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales", tags=("daily",))
    harness.ask({"tag": "daily", "requestId": "erp-1"})
    finished(harness)
    timeline = steps_of(harness, "erp-1")
    in_order = ["arrived", "decided", "intended", "began", "closed", "replied", "delivered", "ended"]
    assert sorted(words(timeline)) == sorted(in_order)
    assert words(timeline)[:3] == ["arrived", "decided", "intended"]
    assert [step.time for step in timeline] == sorted(step.time for step in timeline)
    assert "through mqtt, on qliksense/task/start" in text(timeline, "arrived")
    assert "reply to qliksense/task/start/reply" in text(timeline, "arrived")
    assert text(timeline, "decided") == "decided: tasks selected: Sales (tag daily)"
    (run,) = harness.rows(tables.runs)
    assert run["execution_id"] in text(timeline, "began")
    assert "execution ended: succeeded" in text(timeline, "ended")
    assert {step.task_id for step in timeline if step.step in {"intended", "began", "ended"}} == {task}


def test_a_timeline_shows_what_was_denied_and_not_found(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task_filter=StartTaskFilter(enable=True, tags=("open",))))
    harness.site.lasting = False
    harness.site.add("Open", tags=("open", "x"))
    harness.site.add("Closed", tags=("x",))
    harness.ask({"tag": ["x", "nothing"], "requestId": "erp-1"})
    finished(harness)
    timeline = steps_of(harness, "erp-1")
    assert "Closed (tag x): the allow-list does not let it start" in text(timeline, "denied")
    assert text(timeline, "notFound") == 'not found: {"tag": "nothing"}'


def test_a_kill_after_the_start_had_effect_is_shown_with_how_it_was_reconciled(harness: Harness) -> None:
    harness.site.script.append(killed_after_effect)
    harness.send({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    try:
        harness.until(lambda: False)
    except Crash:
        harness.restart()
    harness.replied()
    timeline = steps_of(harness, "erp-1")
    assert "the daemon ended before the outcome was recorded" in text(timeline, "inDoubt")
    (run,) = harness.rows(tables.runs)
    assert text(timeline, "began") == (
        f"Sales: reconciled: execution {run['execution_id']}, which began after the request, is adopted"
    )


def test_a_restart_is_shown_at_its_time_before_what_was_polled(harness: Harness) -> None:
    harness.site.script.append(killed_after_effect)
    harness.send({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    try:
        harness.until(lambda: False)
    except Crash:
        harness.restart()
    harness.replied()
    timeline = steps_of(harness, "erp-1")
    in_order = ["restarted", "inDoubt", "looked", "began"]
    assert sorted(word for word in words(timeline) if word in in_order) == sorted(in_order)
    times = {step.step: step.time for step in timeline}
    assert times["intended"] <= times["restarted"] <= times["looked"] <= times["began"]
    assert times["intended"] <= times["inDoubt"] <= times["looked"]
    (run,) = harness.rows(tables.runs)
    assert text(timeline, "looked") == (
        f"Sales: the Qlik server showed that execution {run['execution_id']} began after the request"
    )


def test_a_start_that_began_nothing_shows_both_polls_and_that_it_was_asked_again(harness: Harness) -> None:
    harness.site.script.append(cut_before_effect)
    harness.ask({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    timeline = steps_of(harness, "erp-1")
    words_told = [word for word in words(timeline) if word in {"inDoubt", "looked", "postedAgain", "began"}]
    assert words_told == ["inDoubt", "looked", "looked", "postedAgain", "began"]


def test_a_restart_after_the_end_is_no_part_of_the_story(harness: Harness) -> None:
    harness.site.lasting = False
    harness.ask({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    finished(harness)
    last = max(step.time for step in steps_of(harness, "erp-1"))
    harness.until(lambda: now_ms() > last)
    harness.restart()
    assert "restarted" not in words(steps_of(harness, "erp-1"))


def test_what_the_broker_delivered_again_is_shown(harness: Harness) -> None:
    message = harness.send({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    harness.replied()
    harness.restart()
    harness.deliver(message._replace(dup=True))
    harness.until(lambda: harness.rows(tables.notes))
    assert "it was recorded already" in text(steps_of(harness, "erp-1"), "redelivered")
    assert words(steps_of(harness, "erp-1")).count("arrived") == 1


def test_a_lost_answer_is_shown_with_how_it_was_reconciled(harness: Harness) -> None:
    harness.site.script.append(cut_after_effect)
    harness.ask({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    timeline = steps_of(harness, "erp-1")
    assert text(timeline, "inDoubt") == (
        "Sales: the outcome was in doubt: the connection ended before the answer"
    )
    assert "reconciled: " in text(timeline, "began")


def test_a_start_that_waits_and_one_that_waited_say_for_what(harness: Harness) -> None:
    task = harness.site.add("Sales")
    execution = harness.site.begin(task)
    harness.ask({"taskId": task, "requestId": "erp-1"})
    assert (
        text(steps_of(harness, "erp-1"), "waits")
        == f"Sales: waits behind execution {execution}, which ran already"
    )
    harness.site.end(task)
    harness.site.lasting = False
    harness.until(lambda: harness.site.posts)
    finished(harness)
    assert execution in text(steps_of(harness, "erp-1"), "waited")


def test_a_run_that_serves_several_requests_names_them(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.site.begin(task)
    harness.ask({"taskId": task, "requestId": "erp-1"})
    harness.ask({"taskId": task, "requestId": "erp-2"})
    harness.site.end(task)
    harness.until(lambda: harness.site.posts)
    harness.until(lambda: all(row["state"] == "running" for row in harness.rows(tables.starts)))
    assert "shared with erp-2" in text(steps_of(harness, "erp-1"), "intended")
    assert "shared with erp-1" in text(steps_of(harness, "erp-2"), "intended")


def test_a_task_that_was_not_started_says_why(harness: Harness) -> None:
    harness.ask({"taskId": harness.site.add("Sales", enabled=False), "requestId": "erp-1"})
    assert "Sales: notStarted: task_disabled" in text(steps_of(harness, "erp-1"), "notStarted")


def test_a_refused_request_says_why(harness: Harness) -> None:
    harness.ask({"taskId": "abc", "requestId": "erp-1"})
    timeline = steps_of(harness, "erp-1")
    assert "refused: Invalid task ID format (invalid_task_id)" in text(timeline, "refused")
    assert words(timeline)[0] == "arrived"


def test_every_delivery_is_shown_with_its_own_reply(harness: Harness) -> None:
    body = {"taskId": harness.site.add("Sales"), "requestId": "erp-1"}
    harness.ask(body)
    harness.send(body, response_topic="qliksense/mine")
    harness.replied(2)
    answers = harness.call(body, principal="erp")
    harness.until(lambda: answers)
    timeline = steps_of(harness, "erp-1")
    arrivals = [step.text for step in timeline if step.step == "arrived"]
    assert "reply to qliksense/mine" in arrivals[1]
    assert "arrived again (delivery 3): through rest, from erp" in arrivals[2]
    assert [step.text for step in timeline if step.step == "replied"] == [
        "reply to delivery 1 written for qliksense/task/start/reply",
        "reply to delivery 2 written for qliksense/mine",
        "reply to delivery 3 returned to the caller",
    ]


def test_of_very_many_deliveries_the_first_are_shown_and_the_others_counted(harness: Harness) -> None:
    body = {"taskId": harness.site.add("Sales"), "requestId": "erp-1"}
    for _ in range(MAX_DELIVERIES + 7):
        harness.send(body)
    harness.replied(MAX_DELIVERIES + 7)
    arrivals = [step.text for step in steps_of(harness, "erp-1") if step.step == "arrived"]
    assert arrivals[-1] == "arrived 7 times more, not shown here"
    assert len(arrivals) == MAX_DELIVERIES + 1


def test_a_reply_that_is_set_aside_or_waits_is_shown(harness: Harness) -> None:
    harness.ask({"taskId": "abc", "requestId": "erp-1"})
    assert "waits for the broker" in text(steps_of(harness, "erp-1"), "unpublished")
    harness.broker.refuse(harness.broker.published[-1].id, "not authorized", final=True)
    harness.until(lambda: harness.rows(tables.outbox)[0]["quarantined_at"])
    assert text(steps_of(harness, "erp-1"), "quarantined") == (
        "the reply for qliksense/task/start/reply is a dead letter, the broker refuses it: not authorized"
    )


def test_all_requests_with_the_id_are_shown(harness: Harness) -> None:
    harness.ask({"taskId": "abc", "requestId": "erp-1", "sender": "first"})
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "requestId": "erp-1", "sender": "second"})
    harness.ask({"taskId": harness.site.add("Finance"), "requestId": "erp-1"})
    done = call("erp-1", "--journal", harness.path)
    assert done.exit_code == 0, done.output
    assert (
        "request erp-1 (1 of 3 with this id; the id belongs to number 2): refused: invalid_task_id"
        in done.stdout
    )
    assert "request erp-1 (2 of 3 with this id): 1 running\n  from: mqtt, second\n" in done.stdout
    assert (
        "request erp-1 (3 of 3 with this id; the id belongs to number 2): refused: request_id_conflict"
        in done.stdout
    )


def test_the_end_of_the_script_log_of_a_failed_reload_is_kept_and_shown(harness: Harness) -> None:
    harness.site.log_lines = ["Connecting to DB", "Table 'ledger' not found", "Execution Failed"]
    harness.ask({"taskId": (task := harness.site.add("Sales")), "requestId": "erp-1"})
    harness.site.end(task, 8)
    finished(harness)
    shown = call("erp-1", "--journal", harness.path).stdout.splitlines()
    title = "Sales: last 3 lines of the script log:"
    (heading,) = (number for number, line in enumerate(shown) if title in line)
    assert [line.strip() for line in shown[heading + 1 : heading + 4]] == harness.site.log_lines
    (request,) = lines(call("--json", "--journal", harness.path))
    assert request["tasks"][0]["scriptLog"] == harness.site.log_lines


def test_the_log_of_a_reload_that_succeeded_is_not_kept(harness: Harness) -> None:
    harness.site.log_lines = ["all well"]
    harness.ask({"taskId": (task := harness.site.add("Sales")), "requestId": "erp-1"})
    harness.site.end(task)
    finished(harness)
    assert "scriptLog" not in words(steps_of(harness, "erp-1"))


def test_the_beginning_of_an_id_is_enough_where_it_is_the_only_one(harness: Harness) -> None:
    for name in ("orders-a1", "orders-b1"):
        harness.ask({"taskId": harness.site.add(name), "requestId": name})
    for begin in ("orders-a", "orders-a…"):
        assert call(begin, "--journal", harness.path).stdout.startswith("request orders-a1: ")
    done = call("orders-", "--journal", harness.path)
    assert (done.exit_code, done.stderr) == (1, "several requests begin with orders-: orders-a1, orders-b1\n")
    assert call("ord", "--journal", harness.path).exit_code == 1


def test_with_json_the_story_is_one_object(harness: Harness) -> None:
    harness.ask({"taskId": harness.site.add("Sales"), "requestId": "erp-1"})
    for arguments in (("erp-1", "--json"), ("--json", "erp-1"), ("show", "erp-1", "--json")):
        (timeline,) = lines(call("--journal", harness.path, *arguments))
        assert timeline["requestId"] == "erp-1"
        (request,) = timeline["requests"]
        assert request["steps"][0]["step"] == "arrived"
        assert request["steps"][0]["time"].endswith("Z")
        assert request["reply"]["totalTasksStarted"] == 1


def test_an_id_that_nobody_used_ends_with_1_and_a_sentence(harness: Harness) -> None:
    done = call("erp-9", "--journal", harness.path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no request erp-9 is in " in done.stderr
    assert "butler-mqtt requests lists the newest" in done.stderr


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b'{"taskId":\n  "abc"}', '{"taskId": "abc"}'),
        (b"start it \xff \x1b[2J", "start it \ufffd \\x1b[2J"),
        (b"x" * 500, "x" * 399 + "\u2026"),
        (b"", "nothing"),
        (b"\n \n", "3 blanks"),
    ],
    ids=["an id that is none", "no JSON", "long", "empty", "blanks"],
)
def test_what_was_not_understood_is_shown_as_it_came(harness: Harness, payload: bytes, shown: str) -> None:
    harness.send(payload)
    harness.replied()
    (row,) = harness.rows(tables.requests)
    done = call(row["request_id"], "--journal", harness.path)
    assert f"\n  received: {shown}\n" in done.stdout


def test_names_cannot_forge_a_step_or_move_the_cursor(harness: Harness) -> None:
    harness.ask({"taskId": harness.site.add("A\n  2020-01-01  closed\x1b[2J"), "requestId": "erp-1"})
    done = call("erp-1", "--journal", harness.path)
    assert "2020-01-01" in done.stdout
    assert "\x1b" not in done.stdout
    assert not any(line.startswith("  2020") for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [(), ("--json",), ("erp-1",), ("erp-1", "--json"), ("export",)],
    ids=" ".join,
)
def test_no_command_prints_what_a_terminal_obeys(harness: Harness, arguments: tuple[str, ...]) -> None:
    evil = "\x7f\x80\x9b2J\x9d0;x\x9c\u202e\u2066\u200b\x1b[2J\x07"
    task = harness.site.add(f"Sales{evil}")
    harness.ask({"taskId": task, "requestId": "erp-1", "sender": "erp\x9b\u202e"})
    done = call(*arguments, "--journal", harness.path)
    assert done.exit_code == 0, done.output
    assert done.stdout.replace("\n", "").isprintable()
    if done.stdout.startswith("{"):
        assert json.dumps(f"Sales{evil}") in json.dumps(json.loads(done.stdout))


def test_stages_stand_in_the_story_with_what_kept_one_from_succeeding(harness: Harness) -> None:
    first = harness.site.add("Extract", tags=("extract",))
    second = harness.site.add("Load")
    third = harness.site.add("Publish")
    stages = [{"name": "extract", "tag": "extract"}, {"taskId": second}, {"taskId": third}]
    harness.ask({"requestId": "night", "stages": stages})
    for task, status in ((first, 7), (second, 8)):
        harness.until(lambda task=task: harness.site.running(task))  # type: ignore[misc] # of now
        harness.site.end(task, status)
    finished(harness)
    timeline = steps_of(harness, "night")
    told = [step.text for step in timeline if step.step.startswith("stage")]
    assert told == [
        "stage 1 (extract) began: tasks: Extract",
        "stage 1 (extract) succeeded",
        "stage 2 began: tasks: Load",
        "stage 2 failed: Load failed",
        "stage 3 is not started",
    ]
    (entry,) = lines(call("export", "--journal", harness.path))
    assert [stage["status"] for stage in entry["stages"]] == ["succeeded", "failed", "notStarted"]
    assert [task["stage"] for task in entry["tasks"]] == [1, 2, 3]
    assert entry["outcome"] == "partial"


def test_a_cancelled_request_and_its_cancel_have_their_stories(harness: Harness) -> None:
    harness.ask(
        {"requestId": "erp-1", "taskId": harness.site.add("Sales"), "notBefore": "2099-01-01T00:00:00Z"}
    )
    harness.ask({"requestId": "erp-2", "cancel": "erp-1"})
    finished(harness)
    assert "taken back by request erp-2" in text(steps_of(harness, "erp-1"), "cancelled")
    assert words(steps_of(harness, "erp-2")) == ["arrived", "closed", "replied", "delivered"]


def test_a_cancel_that_had_to_wait_says_so(harness: Harness) -> None:
    harness.site.script.append(cut_before_effect)
    harness.send({"requestId": "erp-1", "taskId": harness.site.add("Sales")})
    harness.until(lambda: [row["state"] for row in harness.rows(tables.runs)] == ["posted"])
    harness.ask({"requestId": "erp-2", "cancel": "erp-1"})
    assert "of request erp-1 something is in doubt" in text(steps_of(harness, "erp-2"), "decided")


def test_a_task_skipped_for_another_of_its_app_names_that(harness: Harness) -> None:
    app = {"app_id": "c9f2a1c4-5c1e-4a0e-9d3b-6a1d1c2b3e4f"}
    harness.site.app_once = True
    other = harness.site.add("All years", **app)
    harness.site.begin(other)
    harness.ask({"requestId": "erp-1", "taskId": harness.site.add("Sales", **app), "ifRunning": "skip"})
    assert f"task {other}, of the same app, ran already" in text(steps_of(harness, "erp-1"), "skipped")

"""One request as a story: every step, after crashes too."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from butler_mqtt.cli.requests_timeline import Step, steps
from butler_mqtt.clock import now_ms
from butler_mqtt.journal import tables
from butler_mqtt.journal.request_rows import MAX_DELIVERIES, Chapter
from butler_mqtt.journal.search import Search
from butler_mqtt.settings import Settings, StartTaskFilter
from tests.integration.requests.conftest import MakeHouse, call, delivered, lines
from tests.pipeline.harness import Crash, House, cut_after_effect, cut_before_effect, killed_after_effect


def chapters(house: House, request_id: str) -> list[Chapter]:
    with Search(house.path) as search:
        return search.chapters(search.named(request_id))


def told(house: House, request_id: str) -> list[Step]:
    (chapter,) = chapters(house, request_id)
    return steps(chapter)


def words(steps_told: Sequence[Step]) -> list[str]:
    return [step.step for step in steps_told]


def text(steps_told: Sequence[Step], word: str) -> str:
    (found,) = [step.text for step in steps_told if step.step == word]
    return found


def finished(house: House) -> None:
    """Step until all is answered, published and over."""
    house.until(
        lambda: (
            delivered(house)
            and not house.open_rows()
            and all(row["state"] in {"ended", "none", "unknown"} for row in house.rows(tables.runs))
        )
    )


def test_a_story_has_every_step_in_order_of_time(house: House) -> None:
    house.site.lasting = False
    task = house.site.add("Sales", tags=("daily",))
    house.ask({"tag": "daily", "requestId": "erp-1"})
    finished(house)
    story = told(house, "erp-1")
    in_order = ["arrived", "decided", "intended", "began", "closed", "replied", "delivered", "ended"]
    assert sorted(words(story)) == sorted(in_order)
    assert words(story)[:3] == ["arrived", "decided", "intended"]
    assert [step.time for step in story] == sorted(step.time for step in story)
    assert "through mqtt, on qliksense/task/start" in text(story, "arrived")
    assert "reply to qliksense/task/start/reply" in text(story, "arrived")
    assert text(story, "decided") == "decided: tasks meant: Sales (tag:0)"
    (run,) = house.rows(tables.runs)
    assert run["execution_id"] in text(story, "began")
    assert "execution ended: succeeded" in text(story, "ended")
    assert {step.task_id for step in story if step.step in {"intended", "began", "ended"}} == {task}


def test_a_story_tells_what_was_denied_and_not_found(make_house: MakeHouse) -> None:
    house = make_house(Settings(start_task_filter=StartTaskFilter(enable=True, tags=("open",))))
    house.site.lasting = False
    house.site.add("Open", tags=("open", "x"))
    house.site.add("Closed", tags=("x",))
    house.ask({"tag": ["x", "nothing"], "requestId": "erp-1"})
    finished(house)
    story = told(house, "erp-1")
    assert "Closed (tag:0): the allow-list does not let it start" in text(story, "denied")
    assert text(story, "notFound") == 'not found: {"tag": "nothing"}'


def test_a_kill_after_the_start_had_effect_is_told_with_how_it_was_settled(house: House) -> None:
    house.site.script.append(killed_after_effect)
    house.send({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    try:
        house.until(lambda: False)
    except Crash:
        house.restart()
    house.replied()
    story = told(house, "erp-1")
    assert "the daemon ended before the outcome was recorded" in text(story, "inDoubt")
    (run,) = house.rows(tables.runs)
    assert text(story, "began") == (
        f"Sales: settled: execution {run['execution_id']}, which began after the request, is taken as its own"
    )


def test_a_restart_is_told_at_its_time_before_what_was_looked_at(house: House) -> None:
    house.site.script.append(killed_after_effect)
    house.send({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    try:
        house.until(lambda: False)
    except Crash:
        house.restart()
    house.replied()
    story = told(house, "erp-1")
    in_order = ["restarted", "inDoubt", "looked", "began"]
    assert sorted(word for word in words(story) if word in in_order) == sorted(in_order)
    times = {step.step: step.time for step in story}
    assert times["intended"] <= times["restarted"] <= times["looked"] <= times["began"]
    assert times["intended"] <= times["inDoubt"] <= times["looked"]
    (run,) = house.rows(tables.runs)
    assert text(story, "looked") == (
        f"Sales: the Qlik server showed that execution {run['execution_id']} began after the request"
    )


def test_a_start_that_began_nothing_tells_both_looks_and_that_it_was_asked_again(house: House) -> None:
    house.site.script.append(cut_before_effect)
    house.ask({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    story = told(house, "erp-1")
    words_told = [word for word in words(story) if word in {"inDoubt", "looked", "postedAgain", "began"}]
    assert words_told == ["inDoubt", "looked", "looked", "postedAgain", "began"]


def test_a_restart_after_the_end_is_no_part_of_the_story(house: House) -> None:
    house.site.lasting = False
    house.ask({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    finished(house)
    last = max(step.time for step in told(house, "erp-1"))
    house.until(lambda: now_ms() > last)
    house.restart()
    assert "restarted" not in words(told(house, "erp-1"))


def test_what_the_broker_delivered_again_is_told(house: House) -> None:
    message = house.send({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    house.replied()
    house.restart()
    house.deliver(message._replace(dup=True))
    house.until(lambda: house.rows(tables.notes))
    assert "it was recorded already" in text(told(house, "erp-1"), "redelivered")
    assert words(told(house, "erp-1")).count("arrived") == 1


def test_a_lost_answer_is_told_with_how_it_was_settled(house: House) -> None:
    house.site.script.append(cut_after_effect)
    house.ask({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    story = told(house, "erp-1")
    assert text(story, "inDoubt") == (
        "Sales: the outcome was in doubt: the connection ended before the answer"
    )
    assert "settled: " in text(story, "began")


def test_a_start_that_waits_and_one_that_waited_say_for_what(house: House) -> None:
    task = house.site.add("Sales")
    execution = house.site.begin(task)
    house.ask({"taskId": task, "requestId": "erp-1"})
    assert (
        text(told(house, "erp-1"), "waits") == f"Sales: waits behind execution {execution}, which ran already"
    )
    house.site.end(task)
    house.site.lasting = False
    house.until(lambda: house.site.posts)
    finished(house)
    assert execution in text(told(house, "erp-1"), "waited")


def test_a_run_that_serves_several_requests_names_them(house: House) -> None:
    task = house.site.add("Sales")
    house.site.begin(task)
    house.ask({"taskId": task, "requestId": "erp-1"})
    house.ask({"taskId": task, "requestId": "erp-2"})
    house.site.end(task)
    house.until(lambda: house.site.posts)
    house.until(lambda: all(row["state"] == "running" for row in house.rows(tables.starts)))
    assert "shared with erp-2" in text(told(house, "erp-1"), "intended")
    assert "shared with erp-1" in text(told(house, "erp-2"), "intended")


def test_a_task_that_was_not_started_says_why(house: House) -> None:
    house.ask({"taskId": house.site.add("Sales", enabled=False), "requestId": "erp-1"})
    assert "Sales: notStarted: task_disabled" in text(told(house, "erp-1"), "notStarted")


def test_a_refused_request_says_why(house: House) -> None:
    house.ask({"taskId": "abc", "requestId": "erp-1"})
    story = told(house, "erp-1")
    assert "refused: Invalid task ID format (invalid_task_id)" in text(story, "refused")
    assert words(story)[0] == "arrived"


def test_every_delivery_is_told_with_its_own_reply(house: House) -> None:
    body = {"taskId": house.site.add("Sales"), "requestId": "erp-1"}
    house.ask(body)
    house.send(body, response_topic="qliksense/mine")
    house.replied(2)
    answers = house.call(body, principal="erp")
    house.until(lambda: answers)
    story = told(house, "erp-1")
    arrivals = [step.text for step in story if step.step == "arrived"]
    assert "reply to qliksense/mine" in arrivals[1]
    assert "arrived again (delivery 3): through rest, from erp" in arrivals[2]
    assert [step.text for step in story if step.step == "replied"] == [
        "reply to delivery 1 written for qliksense/task/start/reply",
        "reply to delivery 2 written for qliksense/mine",
        "reply to delivery 3 given to the caller",
    ]


def test_of_very_many_deliveries_the_first_are_told_and_the_others_counted(house: House) -> None:
    body = {"taskId": house.site.add("Sales"), "requestId": "erp-1"}
    for _ in range(MAX_DELIVERIES + 7):
        house.send(body)
    house.replied(MAX_DELIVERIES + 7)
    arrivals = [step.text for step in told(house, "erp-1") if step.step == "arrived"]
    assert arrivals[-1] == "arrived 7 times more, not shown here"
    assert len(arrivals) == MAX_DELIVERIES + 1


def test_a_reply_that_is_set_aside_or_waits_is_told(house: House) -> None:
    house.ask({"taskId": "abc", "requestId": "erp-1"})
    assert "waits for the broker" in text(told(house, "erp-1"), "unpublished")
    house.broker.refuse(house.broker.published[-1].id, "not authorized", final=True)
    house.until(lambda: house.rows(tables.outbox)[0]["quarantined_at"])
    assert text(told(house, "erp-1"), "quarantined") == (
        "the reply for qliksense/task/start/reply was set aside, the broker does not take it: not authorized"
    )


def test_all_requests_with_the_id_are_told(house: House) -> None:
    house.ask({"taskId": "abc", "requestId": "erp-1", "sender": "first"})
    task = house.site.add("Sales")
    house.ask({"taskId": task, "requestId": "erp-1", "sender": "second"})
    house.ask({"taskId": house.site.add("Finance"), "requestId": "erp-1"})
    done = call("erp-1", "--journal", house.path)
    assert done.exit_code == 0, done.output
    assert (
        "request erp-1 (1 of 3 with this id; the id belongs to number 2): refused, invalid_task_id"
        in done.stdout
    )
    assert "request erp-1 (2 of 3 with this id): closed, sender second" in done.stdout
    assert (
        "request erp-1 (3 of 3 with this id; the id belongs to number 2): refused, request_id_conflict"
        in done.stdout
    )


def test_with_json_the_story_is_one_object(house: House) -> None:
    house.ask({"taskId": house.site.add("Sales"), "requestId": "erp-1"})
    for arguments in (("erp-1", "--json"), ("--json", "erp-1"), ("show", "erp-1", "--json")):
        (story,) = lines(call("--journal", house.path, *arguments))
        assert story["requestId"] == "erp-1"
        (request,) = story["requests"]
        assert request["steps"][0]["step"] == "arrived"
        assert request["steps"][0]["time"].endswith("Z")
        assert request["reply"]["totalTasksStarted"] == 1


def test_an_id_that_nobody_used_ends_with_1_and_a_sentence(house: House) -> None:
    done = call("erp-9", "--journal", house.path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no request erp-9 is in " in done.stderr


def test_names_cannot_forge_a_step_or_move_the_cursor(house: House) -> None:
    house.ask({"taskId": house.site.add("A\n  2020-01-01  closed\x1b[2J"), "requestId": "erp-1"})
    done = call("erp-1", "--journal", house.path)
    assert "\x1b" not in done.stdout
    assert not any(line.startswith("  2020") for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [(), ("--json",), ("erp-1",), ("erp-1", "--json"), ("export",)],
    ids=" ".join,
)
def test_no_command_prints_what_a_terminal_obeys(house: House, arguments: tuple[str, ...]) -> None:
    evil = "\x7f\x80\x9b2J\x9d0;x\x9c\u202e\u2066\u200b\x1b[2J\x07"
    task = house.site.add(f"Sales{evil}")
    house.ask({"taskId": task, "requestId": "erp-1", "sender": "erp\x9b\u202e"})
    done = call(*arguments, "--journal", house.path)
    assert done.exit_code == 0, done.output
    assert done.stdout.replace("\n", "").isprintable()
    if done.stdout.startswith("{"):
        assert json.dumps(f"Sales{evil}") in json.dumps(json.loads(done.stdout))

"""What requests used, summed up from journals as the daemon writes them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Selector, SelectorKind
from butler_mqtt.journal import tables
from butler_mqtt.journal.usage import MOST, SelectorUse, Usage, UsageReader
from butler_mqtt.settings import Sender, Settings, StartTaskFilter
from tests.pipeline.fixtures import MakeHarness
from tests.pipeline.harness import Harness

DAY = 86_400_000


def usage(harness: Harness, days: float = 1, most: int = MOST) -> Usage:
    with UsageReader(harness.path) as reader:
        return reader.usage(round(now_ms() - days * DAY), most)


def written(uses: list[SelectorUse]) -> dict[str, int]:
    return {f"{use.selector.kind} {use.selector.name} {use.selector.value}": use.requests for use in uses}


def test_tags_and_properties_are_counted_by_request_in_any_letter_case_and_in_stages_too(
    harness: Harness,
) -> None:
    harness.site.lasting = False
    harness.site.add("Sales", tags=("Daily",), custom_properties=(("Group", "nightly"),))
    group = {"name": "Group", "value": "nightly"}
    harness.ask({"tag": ["Daily", "daily"]})
    harness.ask({"tag": "DAILY", "customProperty": group})
    harness.ask({"stages": [{"tag": "daily"}, {"customProperty": [group, group]}, {"tag": "daily"}]})
    harness.ask({"taskName": "Sales", "parameters": {}, "sender": '"stages"'})
    assert written(usage(harness).asked) == {"tag  daily": 3, "customProperty Group nightly": 2}


def test_tags_that_the_server_may_tell_apart_are_counted_each_for_itself(harness: Harness) -> None:
    harness.ask({"tag": ["Straße", "STRASSE"]})
    harness.ask({"tag": "straße"})
    found = usage(harness)
    assert written(found.asked) == {"tag  straße": 2, "tag  STRASSE": 1}
    assert written(found.not_found) == {"tag  straße": 2, "tag  STRASSE": 1}


def test_what_was_not_found_is_counted_whether_the_request_was_carried_out_or_refused(
    harness: Harness,
) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "tag": "gone"})
    harness.ask({"requestId": "last", "tag": "gone", "taskName": ["Gone", "Sales"], "allMustExist": True})
    harness.ask({"stages": [{"taskId": task}, {"taskName": "Gone"}]})
    found = usage(harness)
    assert written(found.not_found) == {"tag  gone": 2, "taskName  Gone": 2}
    with UsageReader(harness.path) as reader:
        (last,) = reader.last_uses([found.not_found[0].last]).values()
    assert last.door == "mqtt"


def test_a_task_has_its_states_and_whether_it_was_named_by_its_id(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task_filter=StartTaskFilter(enable=True, tags=("a",))))
    harness.site.lasting = False
    first, second = harness.site.add("Sales", tags=("a",)), harness.site.add("Stock", tags=("b",))
    harness.ask({"taskId": first})
    harness.ask({"tag": ["a", "b"]})
    harness.until(lambda: all(row["state"] == "ended" for row in harness.rows(tables.runs)))
    found = usage(harness).tasks
    assert found[first].states == {"succeeded": 2}
    assert (found[first].name, found[first].starts, found[first].by_id > 0) == ("Sales", 2, True)
    assert found[second].states == {"denied": 1}
    assert found[second].by_id == 0


def test_what_arrived_before_the_period_does_not_count(harness: Harness) -> None:
    harness.site.lasting = False
    harness.site.add("Sales", tags=("daily",))
    harness.ask({"tag": ["daily", "gone"], "sender": "erp"})
    since = now_ms() + DAY
    with UsageReader(harness.path) as reader:
        assert reader.usage(since) == Usage(since)


def test_a_sender_is_counted_with_its_requests_that_are_open(harness: Harness) -> None:
    harness.site.add("Sales")
    harness.ask({"taskName": "Sales", "sender": "erp", "wait": "started"})
    harness.ask({"taskName": "gone", "sender": "erp"})
    found = usage(harness)
    assert (found.senders["erp"].requests, found.senders["erp"].days, found.requests) == (2, 1, 2)


def test_of_endless_different_selectors_those_used_last_are_kept(harness: Harness) -> None:
    for number in range(9):
        harness.ask({"taskName": f"gone {number}"})
    found = usage(harness, most=2)
    assert written(found.not_found) == {"taskName  gone 8": 1, "taskName  gone 7": 1}
    assert found.dropped == 7


def test_the_name_of_a_task_is_known_from_its_starts(harness: Harness) -> None:
    harness.site.lasting = False
    task = harness.site.add("Sales")
    harness.ask({"taskId": task})
    with UsageReader(harness.path) as reader:
        assert reader.last_names([task, "11111111-0000-4000-8000-000000000009"]) == {task: "Sales"}


def test_no_query_needs_an_index_that_is_not_there(large_journal: Path) -> None:
    """An index that is named and missing is an error of SQLite; the figures are in docs/operations.md."""
    with UsageReader(large_journal) as reader:
        found = reader.usage(now_ms() - 30 * DAY)
    assert found.requests == sum(use.requests for use in found.senders.values())
    assert len(found.senders) == 50
    assert Selector(SelectorKind.TAG, "tag 0") in {use.selector for use in found.asked}


def test_a_sender_is_known_by_where_its_requests_came_from(make_harness: MakeHarness) -> None:
    settings = Settings(senders=(Sender("erp", topic="start/erp"),))
    harness = make_harness(settings)
    harness.ask({"taskName": "gone", "sender": "says so"})
    assert set(usage(harness).senders) == {"says so"}
    with closing(sqlite3.connect(harness.path)) as connection:
        connection.execute("UPDATE requests SET identity = 'erp'")
        connection.commit()
    assert set(usage(harness).senders) == {"erp"}

"""Parameters of requests: stored with the decision, before anything starts, or not at all."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import ParameterChange, ParameterOutcome
from butler_mqtt.journal.parameter_rows import ParameterReader
from butler_mqtt.ledger.parameters import MAX_NAMESPACES
from butler_mqtt.settings import KeyValueStoreSettings, Settings, StartTaskFilter
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness

SALES = {"parameters": {"sales": {"a": "1"}}}
STORING = Settings(key_value_store=KeyValueStoreSettings(enable=True, max_keys_per_namespace=3))


@pytest.fixture
def harness(make_harness: MakeHarness) -> Harness:
    return make_harness(settings=STORING)


def stored(harness: Harness, namespace: str = "sales") -> dict[str, str]:
    """Read what a load script would find."""
    reader, now = ParameterReader(harness.path), now_ms()
    found = {key: reader.value(namespace, key, now)[1] for key in reader.keys(namespace, now) or ()}
    return {key: value for key, value in found.items() if value is not None}


def change(
    harness: Harness, namespace: str, key: str | None, value: str | None = None, ttl_ms: int = 0
) -> str:
    """Let a caller of the REST API change something, and step until it has its outcome."""
    outcomes: list[str] = []
    harness.pipeline.emit(
        ParameterChange(namespace, key, value, ttl_ms, outcomes.append, given_up=lambda: False)
    )
    harness.until(lambda: outcomes)
    return outcomes[0]


def test_parameters_are_on_disk_before_the_post_leaves(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.send({"taskId": task, "parameters": {"sales": {"company": "ACME"}}})
    harness.turn()
    harness.find()
    harness.turn()
    assert not harness.site.posts
    assert stored(harness) == {"company": "ACME"}


@pytest.mark.parametrize(
    ("value", "text"),
    [("é\n", "é\n"), (5, "5"), (5.0, "5"), (1e-7, "1e-7"), (0.5, "0.5"), (True, "true"), (None, "")],
)
def test_every_value_is_given_back_as_the_text_that_butler_keeps(
    harness: Harness, value: object, text: str
) -> None:
    harness.ask({"taskId": harness.site.add("Sales"), "parameters": {"sales": {"key": value}}})
    assert stored(harness) == {"key": text}


def test_the_latest_request_overwrites_a_value_and_leaves_the_others(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "parameters": {"sales": {"a": "1", "b": "1"}}})
    harness.ask({"taskId": task, "parameters": {"sales": {"a": "2"}, "hr": {"a": "3"}}})
    assert (stored(harness), stored(harness, "hr")) == ({"a": "2", "b": "1"}, {"a": "3"})


def test_a_dry_run_stores_nothing(harness: Harness) -> None:
    task = harness.site.add("Sales")
    reply = harness.ask({"taskId": task, "dryRun": True, "parameters": {"sales": {"a": "1"}}})
    assert reply["status"] == "ok"
    assert ParameterReader(harness.path).namespaces() == []


@pytest.mark.parametrize(
    "asked",
    [
        {"tag": "nobody-has-this"},
        {"stages": [{"tag": "nobody-has-this"}, {"taskName": "Sales"}]},
        {"stages": [{"tag": "nobody-has-this", "onFailure": "continue"}]},
    ],
    ids=["tag", "stage-that-stops", "last-stage"],
)
def test_a_request_that_starts_nothing_stores_nothing(harness: Harness, asked: dict[str, Any]) -> None:
    harness.site.add("Sales")
    reply = harness.ask(asked | SALES)
    assert (reply["status"], reply["totalTasksStarted"]) == ("failed", 0)
    assert ParameterReader(harness.path).namespaces() == []


@pytest.mark.parametrize("later", [{"tag": "nobody-has-this"}, {"taskName": "Sales"}], ids=["none", "task"])
def test_a_request_whose_later_stage_may_start_something_stores(
    harness: Harness, later: dict[str, str]
) -> None:
    harness.site.add("Sales")
    first = {"tag": "nobody-has-this", "onFailure": "continue"}
    harness.ask({"stages": [first, later], **SALES})
    assert stored(harness) == {"a": "1"}


def test_a_refused_request_stores_nothing(make_harness: MakeHarness) -> None:
    harness = make_harness(
        settings=Settings(
            key_value_store=KeyValueStoreSettings(enable=True), start_task_filter=StartTaskFilter(enable=True)
        )
    )
    reply = harness.ask({"taskId": harness.site.add("Sales"), "parameters": {"sales": {"a": "1"}}})
    assert reply["code"] == "all_denied"
    assert ParameterReader(harness.path).namespaces() == []


def test_a_repeated_request_stores_nothing_again(harness: Harness) -> None:
    body = {"requestId": "one", "taskId": harness.site.add("Sales"), "parameters": {"sales": {"a": "1"}}}
    harness.ask(body)
    change(harness, "sales", "a", "changed since")
    harness.ask(body)
    assert stored(harness) == {"a": "changed since"}


def test_without_the_store_parameters_are_refused_by_name(make_harness: MakeHarness) -> None:
    harness = make_harness()
    reply = harness.ask({"taskId": harness.site.add("Sales"), "parameters": {"sales": {"a": "1"}}})
    assert (reply["code"], "'parameters'" in reply["details"]) == ("not_supported", True)
    assert not harness.site.posts


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"sales": {"a": ["list"]}}, "parameters.sales.a"),
        ({"sales": "text"}, "parameters.sales"),
        ({"": {"a": "1"}}, "parameters..a"),
        ({"sales": {"k" * 257: "1"}}, "parameters.sales.kkk"),
        ({"sales": {"a": "x" * 32769}}, "parameters.sales.a has 32769 bytes"),
        ({"sales": {"a": "é" * 16385}}, "parameters.sales.a has 32770 bytes"),
        ({"sales": {"a": "\0"}}, "parameters.sales.a holds a NUL"),
    ],
)
def test_what_cannot_be_a_parameter_is_refused_with_its_place(
    harness: Harness, parameters: dict[str, Any], place: str
) -> None:
    reply = harness.ask({"taskId": harness.site.add("Sales"), "parameters": parameters})
    assert (reply["code"], place in reply["details"]) == ("invalid_request", True), reply


def test_a_request_whose_parameters_have_no_room_starts_and_stores_nothing(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "parameters": {"sales": {"a": "1", "b": "1"}}})
    reply = harness.ask({"taskId": task, "parameters": {"hr": {"x": "1"}, "sales": {"c": "1", "d": "1"}}})
    assert (reply["code"], "maxKeysPerNamespace" in reply["details"]) == ("invalid_request", True)
    assert (stored(harness), stored(harness, "hr"), len(harness.site.posts)) == ({"a": "1", "b": "1"}, {}, 1)


def test_a_full_namespace_still_takes_new_values_of_its_keys(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask({"taskId": task, "parameters": {"sales": {"a": "1", "b": "1", "c": "1"}}})
    reply = harness.ask({"taskId": task, "parameters": {"sales": {"a": "2", "b": "2", "c": "2"}}})
    assert (reply["status"], set(stored(harness).values())) == ("ok", {"2"})


def test_what_has_expired_is_gone_and_makes_room(harness: Harness) -> None:
    task = harness.site.add("Sales")
    harness.ask(
        {"taskId": task, "parameters": {"sales": {"a": 1, "b": 1, "c": 1}}, "parametersTtlSeconds": 0.05}
    )
    harness.until(lambda: not stored(harness))
    assert ParameterReader(harness.path).namespaces() == ["sales"]
    harness.ask({"taskId": task, "parameters": {"sales": {"d": 1, "e": 1, "f": 1}}})
    assert set(stored(harness)) == {"d", "e", "f"}


def test_a_time_to_live_counts_across_a_restart(harness: Harness) -> None:
    harness.ask(
        {
            "taskId": harness.site.add("Sales"),
            "parameters": {"sales": {"a": "1"}},
            "parametersTtlSeconds": 3600,
        }
    )
    harness.restart()
    reader, now = ParameterReader(harness.path), now_ms()
    assert reader.value("sales", "a", now + 3_500_000) == (True, "1")
    assert reader.value("sales", "a", now + 3_600_000) == (True, None)


def test_a_crash_before_the_commit_stores_nothing_and_after_it_all(harness: Harness) -> None:
    harness.send({"taskId": harness.site.add("Sales"), "parameters": {"sales": {"a": "1"}}})
    harness.restart()
    assert stored(harness) == {}
    harness.connect(present=True)
    harness.send({"taskId": harness.site.add("Sales"), "parameters": {"sales": {"a": "1"}}})
    harness.until(lambda: harness.site.posts)
    harness.restart()
    assert stored(harness) == {"a": "1"}


def test_a_time_to_live_without_parameters_is_refused(harness: Harness) -> None:
    reply = harness.ask({"taskId": harness.site.add("Sales"), "parametersTtlSeconds": 5})
    assert (reply["code"], "parametersTtlSeconds" in reply["details"]) == ("invalid_request", True)


def test_a_parameter_named_like_the_request_id_is_not_taken_for_it(harness: Harness) -> None:
    task = harness.site.add("Sales")
    for number in ("one", "two"):
        body = {
            "parameters": {"sales": {"requestId": f"value-{number}"}},
            "requestId": number,
            "taskId": task,
        }
        assert harness.ask(body)["requestId"] == number
    assert stored(harness) == {"requestId": "value-two"}


# ---- callers of the REST API


def test_a_caller_stores_reads_and_deletes(harness: Harness) -> None:
    assert change(harness, "sales", "a", "1") == ParameterOutcome.DONE
    assert stored(harness) == {"a": "1"}
    assert change(harness, "sales", "b") == ParameterOutcome.NO_KEY
    assert change(harness, "hr", "a") == ParameterOutcome.NO_NAMESPACE
    assert change(harness, "sales", "a") == ParameterOutcome.DONE
    # As in Butler: a namespace without keys exists until it is deleted.
    assert ParameterReader(harness.path).namespaces() == ["sales"]
    assert change(harness, "sales", None) == ParameterOutcome.DONE
    assert ParameterReader(harness.path).namespaces() == []


def test_more_namespaces_and_keys_than_allowed_are_refused(harness: Harness) -> None:
    for key in "abc":
        change(harness, "sales", key, "1")
    assert change(harness, "sales", "d", "1") == ParameterOutcome.TOO_MANY_KEYS
    for number in range(MAX_NAMESPACES - 1):
        harness.pipeline.emit(
            ParameterChange(f"n{number}", "k", "v", 0, lambda _outcome: None, given_up=lambda: False)
        )
    assert change(harness, "one more", "a", "1") == ParameterOutcome.TOO_MANY_NAMESPACES
    reply = harness.ask({"taskId": harness.site.add("Sales"), "parameters": {"one more": {"a": "1"}}})
    assert (reply["code"], "no room for the namespace" in reply["details"]) == ("invalid_request", True)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_change_is_on_disk_before_its_caller_is_told(harness: Harness, where: str) -> None:
    seen: list[dict[str, str]] = []
    harness.turn()
    harness.pipeline.emit(
        ParameterChange(
            "sales", "a", "1", 0, lambda _outcome: seen.append(stored(harness)), given_up=lambda: False
        )
    )
    harness.journal.fail(where)
    harness.until(lambda: seen)
    assert seen == [{"a": "1"}]


def test_a_caller_who_gave_up_changes_nothing(harness: Harness) -> None:
    for key, gone in (("a", True), ("b", False)):
        given_up = partial(bool, gone)
        harness.pipeline.emit(ParameterChange("sales", key, "1", 0, lambda _outcome: None, given_up=given_up))
    harness.turn()
    assert stored(harness) == {"b": "1"}


@pytest.mark.parametrize("keys", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_of_keys_are_kept_and_found(make_harness: MakeHarness, keys: int) -> None:
    harness = make_harness(
        settings=Settings(key_value_store=KeyValueStoreSettings(enable=True, max_keys_per_namespace=keys))
    )
    outcomes: list[str] = []
    for number in range(keys):
        harness.pipeline.emit(
            ParameterChange("big", f"key {number}", str(number), 0, outcomes.append, given_up=lambda: False)
        )
    harness.until(lambda: len(outcomes) == keys, seconds=60)
    assert set(outcomes) == {ParameterOutcome.DONE}
    harness.restart()
    assert len(stored(harness, "big")) == keys
    assert change(harness, "big", "one more", "1") == ParameterOutcome.TOO_MANY_KEYS

"""Butler's array body and its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from butler_mqtt.contract import validation
from butler_mqtt.domain.model import EMPTY_GUID, Parameter
from butler_mqtt.errors import RequestError
from butler_mqtt.http.api import butler_form

ONE = "7552d9fc-d1bb-4975-9a38-18357de531ea"
TWO = "210832b5-6174-4572-bd19-3e61eda675ef"
THREE = "e3b27f50-b1c0-4879-88fc-c7cdd9c1cf3e"
EMPTY = {
    "tasksId": {"started": [], "invalid": [], "denied": []},
    "tasksTag": [],
    "tasksTagDenied": [],
    "tasksCP": [],
    "tasksCPDenied": [],
}


def item(kind: str, **payload: object) -> dict[str, object]:
    return {"type": kind, "payload": payload}


def task_id(one: object) -> dict[str, object]:
    return item("starttaskid", taskId=one)


def pair(name: object, value: object) -> dict[str, object]:
    return item("starttaskcustomproperty", customPropertyName=name, customPropertyValue=value)


def read(items: list[Any], path: str | None = None, *, all_ids: bool = False) -> butler_form.ButlerRequest:
    return butler_form.read(items, path, all_ids=all_ids)


def body(asked: butler_form.ButlerRequest) -> Any:
    return json.loads(asked.request() or "null")


def entry(task: str, *selectors: dict[str, object], status: str = "started") -> dict[str, object]:
    return {"taskId": task, "taskName": f"Task {task[0]}", "status": status, "selectors": list(selectors)}


def named(task: str) -> dict[str, str]:
    return {"taskId": task, "taskName": f"Task {task[0]}"}


def test_every_item_type_becomes_part_of_one_request() -> None:
    asked = read(
        [
            task_id(ONE),
            item("starttasktag", tag="startTask1"),
            pair("taskGroup", "tasks2"),
            item("keyvaluestore", namespace="N", key="K", value="V", ttl=10000),
        ],
        TWO,
    )
    assert body(asked) == {
        "taskId": [TWO, ONE],
        "tag": ["startTask1"],
        "customProperty": [{"name": "taskGroup", "value": "tasks2"}],
    }
    assert asked.key_values == ((Parameter("N", "K", "V"), 10000),)


@pytest.mark.parametrize(
    "items", [[], [item("keyvaluestore")], [task_id("abc")], [task_id(5), task_id(None)]]
)
def test_an_array_that_names_no_task_makes_no_request(items: list[Any]) -> None:
    assert read(items).request() is None


def test_an_empty_array_gets_empty_lists() -> None:
    assert butler_form.answer(read([]), None) == EMPTY


def test_unknown_keys_of_items_are_ignored_as_butler_does() -> None:
    asked = read([{"type": "starttaskid", "comment": 1, "payload": {"taskId": ONE, "more": True}}])
    assert body(asked) == {"taskId": [ONE]}


@pytest.mark.parametrize(
    ("items", "details"),
    [
        ([1], "[0] is not an object with 'type' and 'payload'"),
        ([task_id(ONE), item("starttask")], '[1].type is "starttask", not one of'),
        ([item("StartTaskTag", tag="x")], '[0].type is "StartTaskTag", not one of'),
        ([{"type": None, "payload": {}}], "[0].type is null, not one of"),
        ([{"type": "", "payload": {}}], '[0].type is "", not one of'),
        ([{"type": 5, "payload": {}}], "[0].type is 5, not one of"),
        ([{"type": "starttaskid"}], "[0].payload is not an object"),
        ([{"type": "starttasktag", "payload": None}], "[0].payload is not an object"),
        ([{"type": "starttasktag", "payload": [{"tag": "x"}]}], "[0].payload is not an object"),
        ([{"payload": "x"}], "[0].payload is not an object"),
        ([None], "[0] is not an object with 'type' and 'payload'"),
        ([[item("starttasktag", tag="x")]], "[0] is not an object with 'type' and 'payload'"),
        ([{"type": ["x"], "payload": {}}], '[0].type is ["x"], not one of'),
        ([{"type": ["starttaskid", "starttasktag"], "payload": {}}], "[0].type is ["),
    ],
)
def test_a_wrong_item_is_refused_with_its_place(items: list[Any], details: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(items)
    assert caught.value.code == "invalid_request"
    assert details in caught.value.details


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (0, "0"),
        (-0.0, "0"),
        (5.0, "5"),
        (1e3, "1000"),
        (2.5, "2.5"),
        (1e21, "1e+21"),
        (20191231235959001, "20191231235959001"),
        (True, "true"),
        (False, "false"),
    ],
)
def test_a_number_or_boolean_is_searched_as_its_text(value: object, text: str) -> None:
    asked = read([item("starttasktag", tag=value), pair(value, value)])
    assert body(asked) == {"tag": [text], "customProperty": [{"name": text, "value": text}]}
    assert asked.unusable == ()


@pytest.mark.parametrize(
    ("unusable", "reason"),
    [
        ({}, "[1] has no type"),
        ({"payload": {"tag": "y"}}, "[1] has no type"),
        (item("starttasktag"), "[1].payload.tag is missing"),
        (item("starttasktag", tag=None), "[1].payload.tag is null"),
        (item("starttasktag", tag=""), '[1].payload.tag is ""'),
        (item("starttasktag", tag={"name": "y"}), '[1].payload.tag is {"name": "y"}'),
        (item("starttasktag", tag=["y", "z"]), '[1].payload.tag is ["y", "z"]'),
        (pair("a", None), "[1].payload.customPropertyValue is null"),
        (pair("", "b"), '[1].payload.customPropertyName is ""'),
        (item("starttaskcustomproperty"), "[1].payload.customPropertyName is missing"),
    ],
)
def test_an_item_that_can_find_nothing_is_ignored_and_named(unusable: object, reason: str) -> None:
    asked = read([item("starttasktag", tag="x"), unusable, task_id(ONE)])
    assert body(asked) == {"tag": ["x"], "taskId": [ONE]}
    assert asked.unusable == (reason,)


def test_an_array_of_one_type_is_that_type() -> None:
    assert body(read([{"type": ["starttasktag"], "payload": {"tag": "x"}}])) == {"tag": ["x"]}


def test_a_missing_id_is_invalid_and_holds_the_others_back() -> None:
    asked = read([task_id(ONE), item("starttaskid")], all_ids=True)
    assert body(asked) == {"taskId": [ONE, EMPTY_GUID], "allMustExist": "taskId"}
    assert butler_form.answer(read([item("starttaskid")]), None) == {
        **EMPTY,
        "tasksId": {"started": [], "invalid": [{"taskId": None}], "denied": []},
    }


def test_the_lists_of_ids_keep_the_order_asked_with_the_path_first() -> None:
    asked = read([task_id("abc"), task_id(ONE), task_id(THREE), task_id(5)], TWO)
    state = {
        "tasksStarted": [entry(ONE, {"taskId": ONE})],
        "tasksQueued": [entry(TWO, {"taskId": TWO}, status="queued")],
        "tasksNotFound": [{"taskId": THREE}],
    }
    assert butler_form.answer(asked, state)["tasksId"] == {
        "started": [named(TWO), named(ONE)],
        "invalid": [{"taskId": "abc"}, {"taskId": THREE}, {"taskId": 5}],
        "denied": [],
    }


def test_ids_are_given_back_as_they_were_sent_when_nothing_was_started() -> None:
    asked = read([task_id(ONE.upper()), task_id(TWO.upper()), task_id(THREE.upper())])
    state = {
        "tasksDenied": [entry(ONE, {"taskId": ONE}, status="denied")],
        "tasksFailed": [entry(TWO, {"taskId": TWO}, status="notStarted")],
        "tasksNotFound": [{"taskId": THREE}],
    }
    assert butler_form.answer(asked, state)["tasksId"] == {
        "started": [],
        "invalid": [{"taskId": THREE.upper()}],
        "denied": [{"taskId": ONE.upper()}, {"taskId": TWO.upper()}],
    }


def test_a_task_matched_twice_is_listed_under_each_group() -> None:
    asked = read([task_id(ONE), item("starttasktag", tag="x"), pair("n", "v")])
    matched = entry(ONE, {"taskId": ONE}, {"tag": "x"}, {"customProperty": {"name": "n", "value": "v"}})
    found = butler_form.answer(asked, {"tasksStarted": [matched], "tasksNotFound": []})
    assert found == {
        **EMPTY,
        "tasksId": {"started": [named(ONE)], "invalid": [], "denied": []},
        "tasksTag": [named(ONE)],
        "tasksCP": [named(ONE)],
    }


def test_only_the_tag_whose_task_is_denied_is_named() -> None:
    asked = read(
        [item("starttasktag", tag="Good"), item("starttasktag", tag="Bad"), pair("N", "V"), pair("m", "w")]
    )
    state = {
        "tasksStarted": [entry(ONE, {"tag": "good"})],
        "tasksDenied": [
            entry(TWO, {"tag": "BAD"}, {"customProperty": {"name": "n", "value": "v"}}, status="denied")
        ],
        "tasksNotFound": [],
    }
    assert butler_form.answer(asked, state) == {
        **EMPTY,
        "tasksTag": [named(ONE)],
        "tasksTagDenied": [{"tag": "Bad"}],
        "tasksCPDenied": [{"name": "N", "value": "V"}],
    }


def test_tags_and_pairs_that_the_server_may_tell_apart_are_each_named() -> None:
    texts = ("Straße", "STRASSE")
    asked = read(
        [*(item("starttasktag", tag=text) for text in texts), *(pair("street", text) for text in texts)]
    )
    pairs = [{"name": "street", "value": text} for text in texts]
    selectors: list[dict[str, object]] = [{"tag": text} for text in texts]
    selectors += [{"customProperty": one} for one in pairs]
    state = {"tasksDenied": [entry(ONE, *selectors, status="denied")], "tasksNotFound": []}
    found = butler_form.answer(asked, state)
    assert found["tasksTagDenied"] == [{"tag": text} for text in texts]
    assert found["tasksCPDenied"] == pairs


def test_all_task_ids_must_exist_asks_for_the_ids_alone() -> None:
    asked = read([task_id(ONE), item("starttasktag", tag="x")], all_ids=True)
    assert body(asked) == {"taskId": [ONE], "tag": ["x"], "allMustExist": "taskId"}


def test_a_malformed_id_holds_the_others_back_as_an_unknown_one_does() -> None:
    asked = read([task_id(ONE), task_id("abc")], all_ids=True)
    assert body(asked) == {"taskId": [ONE, EMPTY_GUID], "allMustExist": "taskId"}
    state = {
        "tasksDenied": [entry(ONE, {"taskId": ONE}, status="denied")],
        "tasksNotFound": [{"taskId": EMPTY_GUID}],
    }
    assert butler_form.answer(asked, state)["tasksId"] == {
        "started": [],
        "invalid": [{"taskId": "abc"}],
        "denied": [{"taskId": ONE}],
    }


def test_an_id_held_back_is_denied_though_a_tag_starts_its_task() -> None:
    asked = read([task_id(ONE), task_id(TWO), item("starttasktag", tag="x")], all_ids=True)
    state = {"tasksStarted": [entry(ONE, {"taskId": ONE}, {"tag": "x"})], "tasksNotFound": [{"taskId": TWO}]}
    found = butler_form.answer(asked, state)
    assert found["tasksId"] == {"started": [], "invalid": [{"taskId": TWO}], "denied": [{"taskId": ONE}]}
    assert found["tasksTag"] == [named(ONE)]


def test_what_is_made_of_an_array_is_a_request_of_ours() -> None:
    asked = read([task_id(ONE), item("starttasktag", tag="ä b"), pair("n", "v")], TWO)
    request = validation.parse((asked.request() or "").encode(), max_bytes=10_000)
    assert [selector.value for selector in request.selectors] == [TWO, ONE, "ä b", "v"]

"""Butler's array, posted to Fastify with Butler's own schema and to us: the same is taken and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from tests.acceptance.counterparts.programs import Fastify
from tests.integration.http.rest_listener import Door, door

pytestmark = pytest.mark.counterparts

TASK = "a8b4c123-def4-5678-9abc-def012345678"
PATH = "/v4/reloadtask/-/start"
TAG = {"type": "starttasktag", "payload": {"tag": "x"}}


@pytest.fixture(scope="module")
def fastify(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fastify]:
    with Fastify(tmp_path_factory.mktemp("fastify")) as made:
        yield made


@pytest.fixture(scope="module")
def ours() -> Iterator[Door]:
    with door() as made:
        yield made


def item(kind: object, payload: object) -> dict[str, object]:
    return {"type": kind, "payload": payload}


BODIES: dict[str, object] = {
    "empty": [],
    "id": [item("starttaskid", {"taskId": TASK})],
    "tag": [TAG],
    "pair": [item("starttaskcustomproperty", {"customPropertyName": "a", "customPropertyValue": "b"})],
    "key and value": [item("keyvaluestore", {"namespace": "n", "key": "k", "value": "v"})],
    "unknown type": [item("startall", {})],
    "type of other case": [item("StartTaskTag", {"tag": "x"})],
    "type null": [item(None, {"tag": "x"})],
    "type number": [item(5, {"tag": "x"})],
    "type in a list": [item(["starttasktag"], {"tag": "x"})],
    "two types in a list": [item(["starttasktag", "starttaskid"], {"tag": "x"})],
    "type empty": [item("", {"tag": "x"})],
    "no type": [{"payload": {"tag": "x"}}, TAG],
    "empty item": [{}, TAG],
    "item null": [None],
    "item text": ["starttasktag"],
    "item number": [1],
    "item list": [[TAG]],
    "payload null": [item("starttasktag", None)],
    "payload text": [item("starttasktag", "x")],
    "payload list": [item("starttasktag", [{"tag": "x"}])],
    "payload number": [item("starttasktag", 1)],
    "payload null without type": [{"payload": None}],
    "payload empty": [item("starttasktag", {}), TAG],
    "tag number": [item("starttasktag", {"tag": 5})],
    "tag true": [item("starttasktag", {"tag": True})],
    "tag list": [item("starttasktag", {"tag": ["x"]}), TAG],
    "tag object": [item("starttasktag", {"tag": {"a": 1}}), TAG],
    "id number": [item("starttaskid", {"taskId": 5})],
    "id malformed": [item("starttaskid", {"taskId": "abc"})],
    "more keys": [{**TAG, "comment": 1}],
    "pair of numbers": [
        item("starttaskcustomproperty", {"customPropertyName": 1, "customPropertyValue": 2.5})
    ],
}


def statuses(
    fastify: Fastify, ours: Door, body: bytes, content_type: str, query: str = ""
) -> tuple[int, int]:
    """Post the same to both."""
    headers = {"Content-Type": content_type}
    urls = (f"http://127.0.0.1:{fastify.port}{PATH}{query}", f"{ours.url}{PATH}{query}")
    theirs, own = (requests.post(url, data=body, headers=headers, timeout=30).status_code for url in urls)
    return theirs, own


@pytest.mark.parametrize("name", BODIES)
def test_an_array_is_taken_or_refused_as_fastify_does(fastify: Fastify, ours: Door, name: str) -> None:
    body = json.dumps(BODIES[name]).encode()
    theirs, own = statuses(fastify, ours, body, "application/json")
    assert theirs in {200, 400}
    assert own == theirs


@pytest.mark.parametrize(
    "body",
    [
        b'[{"type": "starttasktag", "payload": {"tag": "x", "tag": "y"}}]',
        b'[{"type": "keyvaluestore", "type": "starttasktag", "payload": {"tag": "x"}}]',
        b'[{"type": "starttasktag", "payload": {"tag": "x"}}',
        b"[,]",
        b'\xef\xbb\xbf[{"type": "starttasktag", "payload": {"tag": "x"}}]',
    ],
    ids=["key twice", "type twice", "cut short", "no JSON", "BOM"],
)
def test_text_is_read_as_fastify_reads_it(fastify: Fastify, ours: Door, body: bytes) -> None:
    theirs, own = statuses(fastify, ours, body, "application/json")
    assert own == theirs


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "ISO-8859-1", "us-ascii", "windows-1252"])
def test_ascii_is_taken_whatever_its_charset_is_called(fastify: Fastify, ours: Door, charset: str) -> None:
    body = json.dumps([TAG]).encode()
    assert statuses(fastify, ours, body, f"application/json; charset={charset}") == (200, 200)


@pytest.mark.parametrize("value", ["true", "false", "TRUE", "1", "0", "yes", "", "null"])
def test_all_task_ids_must_exist_is_read_as_fastify_reads_it(
    fastify: Fastify, ours: Door, value: str
) -> None:
    body = json.dumps([TAG]).encode()
    theirs, own = statuses(fastify, ours, body, "application/json", f"?allTaskIdsMustExist={value}")
    assert own == theirs

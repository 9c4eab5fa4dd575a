"""The schemas and the AsyncAPI document, checked against what a running daemon says."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import butler_mqtt
from butler_mqtt.settings import MqttSettings
from tests.acceptance.service.process import broker_config, manager, service
from tests.brokers import Mosquitto
from tests.docs.blocks import blocks
from tests.integration.mqtt.recording import PlainClient, plain_client
from tests.integration.simulator.running import (
    CROSS,
    DISABLED,
    FAILING,
    LONG,
    NO_APP,
    PRELOAD,
    PROGRAM,
    QUICK,
    TASKS,
    UNKNOWN,
    running,
)
from tests.project import ROOT

SCHEMAS = ROOT / "butler_mqtt" / "schemas"
ASYNCAPI = ROOT / "docs" / "asyncapi.yaml"
REPLY = "qliksense/task/start/reply"

#: Requests of every kind, and the lists or the code that their replies have.
ASKED: list[tuple[dict[str, Any] | str, set[str]]] = [
    ({"taskId": QUICK}, {"tasksStarted"}),
    ({"taskId": QUICK, "dryRun": True}, {"tasksWouldStart"}),
    ({"taskId": PROGRAM}, {"tasksStarted"}),
    ({"taskId": PRELOAD}, {"tasksStarted"}),
    ({"taskId": FAILING}, {"tasksStarted"}),
    ({"taskId": DISABLED}, {"tasksFailed"}),
    ({"taskId": NO_APP}, {"tasksFailed"}),
    ({"taskId": UNKNOWN}, {"tasksNotFound"}),
    ({"taskId": LONG}, {"tasksStarted"}),
    ({"taskId": LONG, "ifRunning": "skip"}, {"tasksSkipped"}),
    ({"taskId": LONG, "ifRunning": "queue"}, {"tasksQueued"}),
    (
        {"taskId": QUICK, "tag": "nobody", "customProperty": {"name": "Region", "value": "none"}},
        {"tasksNotFound"},
    ),
    ({"taskId": CROSS, "wait": "finished"}, {"tasksStarted"}),
    ({"stages": [{"name": "first", "taskId": CROSS}, {"taskId": PROGRAM}]}, {"tasksQueued", "stages"}),
    ({"stages": [{"taskId": DISABLED}, {"taskId": PROGRAM}], "wait": "finished"}, {"tasksFailed", "stages"}),
    ({"taskId": CROSS, "expiresAt": "2020-01-01T00:00:00Z"}, {"code"}),
    ({"taskId": [QUICK, UNKNOWN], "allMustExist": True}, {"code"}),
    ({"taskId": "abc"}, {"code"}),
    ({"tags": "x"}, {"code"}),
    ("{", {"code"}),
]


def schema(name: str) -> Draft202012Validator:
    content = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def document() -> dict[str, Any]:
    content = yaml.safe_load(ASYNCAPI.read_text("utf-8"))
    assert isinstance(content, dict)
    return content


class Conversation:
    """All that a daemon said to the requests of ASKED."""

    def __init__(self, client: PlainClient) -> None:
        self.replies: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.status: list[dict[str, Any]] = []
        self._client = client

    def listen(self, enough: int) -> None:
        """Take messages in until *enough* replies and every end of an execution have come."""
        while len(self.replies) < enough or len({one["event"] for one in self.events} & FINAL) < len(FINAL):
            self.take()

    def answered(self, request_id: str) -> None:
        """Take messages in until the reply to *request_id* has come."""
        while request_id not in self.replies:
            self.take()

    def take(self) -> None:
        """Take the next message in."""
        message = self._client.take(30)
        value = json.loads(message.payload)
        if message.topic == REPLY:
            self.replies[value["requestId"]] = value
        elif message.topic == MqttSettings().status_topic:
            self.status.append(value)
        else:
            about = f"request/{value['requestId']}" if "stage" in value else value["taskId"]
            assert message.topic == f"{MqttSettings().task_event_topic}/{about}"
            self.events.append(value)


#: Ends that the tasks asked for come to.
FINAL = {"succeeded", "failed"}


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    folder = tmp_path_factory.mktemp("interface")
    (folder / "tasks.yaml").write_text(TASKS)
    with (
        Mosquitto(folder / "broker") as broker,
        running(folder / "certs", "--tasks", str(folder / "tasks.yaml")) as site,
        manager() as systemd,
        plain_client(broker, REPLY, "qliksense/task/event/#", "qliksense/butler/status") as client,
        service(broker_config(folder, broker, site), systemd.environ),
    ):
        systemd.waits_for("READY=1")
        made = Conversation(client)
        for number, (request, _) in enumerate(ASKED):
            body = {"requestId": f"r{number}", **request} if isinstance(request, dict) else request
            client.publish("qliksense/task/start", body if isinstance(body, str) else json.dumps(body))
            if request == {"taskId": LONG}:
                # Those asked for before it runs would share its execution.
                made.answered(f"r{number}")
        made.listen(len(ASKED))
        yield made


def test_every_reply_fits_its_schema(conversation: Conversation) -> None:
    validator = schema("reply")
    for reply in conversation.replies.values():
        assert [error.message for error in validator.iter_errors(reply)] == [], reply


@pytest.mark.parametrize("number", range(len(ASKED) - 1))
def test_the_reply_has_what_the_request_leads_to(conversation: Conversation, number: int) -> None:
    reply = conversation.replies[f"r{number}"]
    assert {name for name, value in reply.items() if value} >= ASKED[number][1], reply


def test_every_event_fits_its_schema(conversation: Conversation) -> None:
    validator = schema("event")
    for event in conversation.events:
        assert [error.message for error in validator.iter_errors(event)] == [], event
    assert {event["event"] for event in conversation.events} >= {"started", "queued", *FINAL}


def test_the_status_fits_the_asyncapi_document(conversation: Conversation) -> None:
    payload = document()["components"]["messages"]["status"]["payload"]
    for status in conversation.status:
        Draft202012Validator(payload).validate(status)
    assert conversation.status[-1]["status"] == "online"


@pytest.mark.parametrize("name", ["request", "reply", "event", "config"])
def test_the_schemas_are_schemas(name: str) -> None:
    content = schema(name).schema
    assert isinstance(content, dict)
    assert content["description"]
    assert content["$id"] == f"urn:butler-mqtt:schema:{name}"


def test_a_schema_refuses_what_is_neither_decided_nor_refused() -> None:
    validator = schema("reply")
    decided = {
        "requestId": "r",
        "status": "ok",
        "tasksStarted": [],
        "tasksNotFound": [],
        "totalTasksStarted": 0,
    }
    assert validator.is_valid(decided)
    assert not validator.is_valid({**decided, "status": "fine"})
    assert not validator.is_valid({"requestId": "r", "error": "x"})
    assert not schema("event").is_valid({"event": "begun"})


def test_asyncapi_names_the_topics_of_the_defaults() -> None:
    channels = {name: channel["address"] for name, channel in document()["channels"].items()}
    defaults = MqttSettings()
    assert channels == {
        "requests": defaults.task_start_topic,
        "senderRequests": f"{defaults.task_start_topic}/{{sender}}",
        "replies": defaults.task_start_reply_topic,
        "ownReplies": None,
        "events": f"{defaults.task_event_topic}/{{taskId}}",
        "stageEvents": f"{defaults.task_event_topic}/request/{{requestId}}",
        "status": defaults.status_topic,
    }


def test_asyncapi_has_the_version_of_the_program() -> None:
    assert document()["info"]["version"] == butler_mqtt.__version__


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_of_asyncapi_leads_somewhere() -> None:
    content = document()
    found = list(references(content))
    for reference in found:
        if reference.startswith("#/"):
            part: Any = content
            for step in reference[2:].split("/"):
                part = part[step]
            assert part
        else:
            assert (ASYNCAPI.parent / reference).is_file(), reference
    assert "../butler_mqtt/schemas/reply.schema.json" in found


def test_the_schemas_of_asyncapi_lie_where_an_installation_and_the_sdist_look_for_them() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]
    installed = {
        Path(place) / file.relative_to(ROOT / source)
        for source, place in build["wheel"]["shared-data"].items()
        for file in [ROOT / source, *(ROOT / source).rglob("*")]
    }
    (docs,) = (one.parent for one in installed if one.name == "asyncapi.yaml")
    for reference in references(document()):
        if not reference.startswith("#/"):
            assert Path(os.path.normpath(docs / reference)) in installed, reference
    assert {"docs", "butler_mqtt"} <= set(build["sdist"]["include"])


def test_the_examples_of_asyncapi_fit_the_schemas() -> None:
    messages = document()["components"]["messages"]
    for name in ("request", "reply", "event"):
        examples = messages[name]["examples"]
        assert examples, name
        for example in examples:
            schema(name).validate(example["payload"])


def test_the_examples_of_the_pages_fit_the_schemas() -> None:
    seen = 0
    for page, name in (("replies.md", "reply"), ("mqtt.md", "event")):
        for block in blocks(ROOT / "docs" / page):
            if block.language == "json":
                schema(name).validate(json.loads(block.text))
                seen += 1
    assert seen >= 3


def test_the_installed_package_has_the_schemas() -> None:
    installed = Path(butler_mqtt.__file__).parent / "schemas"
    assert {"request.schema.json", "reply.schema.json", "event.schema.json", "config.schema.json"} <= {
        file.name for file in installed.iterdir()
    }

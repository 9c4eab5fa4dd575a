"""The one gate: what the allow-list lets pass, judged by the task that was found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto

MakeDaemon = Callable[..., Daemon]


def allowing(**allowed: object) -> dict[str, object]:
    return {"enable": True, "allowTask": {"taskId": [], "tag": [], "customProperty": [], **allowed}}


def test_with_empty_lists_nothing_may_start(make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik) -> None:
    task = qlik.task("Locked", tags=["locked-1"])
    make_daemon(broker, startTaskFilter=allowing()).start()
    with Sender(broker.port) as sender:
        answer = sender.ask({"requestId": "l-1", "taskId": task, "tag": "nobody-has-it"})
        assert answer["code"] == "all_denied"
        assert answer["tasksDenied"] == [{"taskId": task, "taskName": "Locked", "status": "denied"}]
        assert answer["tasksNotFound"] == [{"tag": "nobody-has-it"}]
        dry = sender.ask({"taskId": task, "dryRun": True})
        assert dry["code"] == "all_denied"
    assert qlik.posts(task) == 0


def test_switched_off_the_lists_mean_nothing(make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik) -> None:
    task = qlik.task()
    lists: dict[str, object] = {"taskId": [], "tag": ["x"], "customProperty": []}
    make_daemon(broker, startTaskFilter={"enable": False, "allowTask": lists}).start()
    with Sender(broker.port) as sender:
        assert sender.ask({"taskId": task})["status"] == "ok"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_task_passes_by_its_id_its_tag_or_its_property_however_it_was_asked_for(
    version: str, make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    """What counts is the task that was found, not the words of the request."""
    group = f"group-{version}"
    by_id = qlik.task(tags=[group])
    by_tag = qlik.task(tags=[group, "Söhne & O'Brien"])
    by_pair = qlik.task(tags=[group], customProperties={"Stage": ["test", "production"]})
    crossed = qlik.task(
        f"Crossed {version}", tags=[group], customProperties={"Stage": "dev", "Other": "production"}
    )
    plain = qlik.task("Plain", tags=[group])
    make_daemon(
        broker,
        mqttConfig={"protocolVersion": version},
        startTaskFilter=allowing(
            taskId=[by_id.upper()],
            tag=["söhne & o'brien"],
            customProperty=[{"name": "stage", "value": "Production"}],
        ),
    ).start()
    with Sender(broker.port, version) as sender:
        answer = sender.ask({"tag": group})
        assert answer["status"] == "partial"
        assert {entry["taskId"] for entry in answer["tasksStarted"]} == {by_id, by_tag, by_pair}
        assert {entry["taskId"] for entry in answer["tasksDenied"]} == {crossed, plain}
        for task in (by_id, by_tag, by_pair):
            qlik.until_idle(task)
            assert sender.ask({"taskId": task})["status"] == "ok"
        assert sender.ask({"taskId": plain})["code"] == "all_denied"
        assert sender.ask({"taskName": f"Crossed {version}", "dryRun": True})["code"] == "all_denied"
        held = sender.ask({"taskId": [by_id, plain], "allMustExist": True})
        assert held["code"] == "all_must_exist"
        assert [entry["taskId"] for entry in held["tasksDenied"]] == [plain]
    assert [qlik.posts(task) for task in (by_id, crossed, plain)] == [2, 0, 0]


def test_a_tag_that_a_task_loses_stops_letting_it_pass_within_the_age_of_the_cache(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task("Loses", tags=["allowed-tag"])
    make_daemon(broker, startTaskFilter=allowing(tag=["allowed-tag"])).start()
    with Sender(broker.port) as sender:
        assert sender.ask({"taskId": task})["status"] == "ok"
        qlik.until_idle(task)
        qlik.admin("PUT", f"/tasks/{task}", {"name": "Loses", "tags": ["other"]})
        # Another selector has no answer in the cache and shows the task as it is now.
        assert sender.ask({"taskName": "Loses"})["code"] == "all_denied"
    assert qlik.posts(task) == 1

"""Retained messages: an order that is shown again to whoever subscribes must not be carried out again."""

from __future__ import annotations

from collections.abc import Callable

from tests.acceptance.conftest import Place
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import REPLY, START, Sender
from tests.brokers import Mosquitto

MakeDaemon = Callable[..., Daemon]
IGNORED = "acknowledged and not acted upon"


def test_a_live_request_with_the_retain_flag_is_an_ordinary_request(each: Place, qlik: Qlik) -> None:
    task = qlik.task()
    before = len(each.sender.heard(REPLY))
    each.sender.publish({"taskId": task}, retain=True)
    got = each.sender.wait_for(before + 1, lambda got: got.topic == REPLY)[-1]
    assert got.json["totalTasksStarted"] == 1
    each.sender.publish(b"", retain=True)
    answer = each.sender.wait_for(before + 2, lambda got: got.topic == REPLY)[-1].json
    assert answer["code"] == "invalid_json"


def test_a_stored_retained_request_is_acknowledged_logged_once_and_not_acted_upon(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    with Sender(broker.port, "3.1.1") as sender:
        sender.publish({"taskId": task, "requestId": "stored"}, retain=True)
        daemon = make_daemon(broker, mqttConfig={"protocolVersion": "3.1.1"}).start()
        daemon.wait_log(IGNORED)
        sender.drain()
        assert qlik.posts(task) == 0
        assert not any(b'"stored"' in got.payload for got in sender.all() if got.topic != START)
        assert daemon.wait_logged(IGNORED) == 1
        assert daemon.stop() == 0
        sender.publish({"taskId": task, "requestId": "live"})
        daemon.start()
        sender.wait(lambda got: got.topic == REPLY and got.json["requestId"] == "live")
    assert qlik.posts(task) == 1


def test_with_mqtt_5_a_stored_retained_request_is_not_even_sent(
    make_daemon: MakeDaemon, broker: Mosquitto, qlik: Qlik
) -> None:
    task = qlik.task()
    with Sender(broker.port) as sender:
        sender.publish({"taskId": task}, retain=True)
        daemon = make_daemon(broker).start()
        # It would have come before this one.
        assert sender.ask({"taskId": qlik.task()})["status"] == "ok"
        sender.drain()
    assert qlik.posts(task) == 0
    assert daemon.logged(IGNORED) == 0

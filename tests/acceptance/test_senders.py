"""A sender who may start one tag cannot start, see or cancel anything else, through either door."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from paho.mqtt import client as paho

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, free_port, until

LATER = "2099-01-01T00:00:00Z"
#: As mosquitto/butler-mqtt.acl has it: each sender one topic, and its own replies.
ACL = """
user butler-mqtt
topic readwrite qliksense/#
user erp
topic write qliksense/task/start/erp
topic read qliksense/test/#
user crm
topic write qliksense/task/start/crm
topic read qliksense/test/#
"""
USERS = {name: f"{name}-secret" for name in ("butler-mqtt", "erp", "crm")}
TOKENS = ("erp", "crm", "anna", "eve")
ROLES = {"anna": "operator", "eve": "reader"}


def named(user: str) -> Callable[[paho.Client], None]:
    return lambda client: client.username_pw_set(user, USERS[user])


@dataclass
class Site:
    """A broker with an ACL, a daemon with the senders erp and crm, and both of them connected."""

    qlik: Qlik
    daemon: Daemon
    senders: list[dict[str, object]]
    url: str
    erp: Sender
    crm: Sender
    mine: str
    other: str

    def call(self, method: str, path: str, by: str = "erp", **options: Any) -> requests.Response:
        """Call the REST door with a token."""
        headers = {"Authorization": f"Bearer {by}-token", **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **options)

    def start(self, body: object, by: str = "erp", **options: Any) -> requests.Response:
        return self.call("POST", "/v4/reloadtask/start", by, json=body, **options)

    def publish(self, body: dict[str, object], user: str = "erp") -> dict[str, Any]:
        """Publish a request on the topic of a sender and return its reply."""
        sender = self.erp if user == "erp" else self.crm
        return sender.ask(body, topic=f"qliksense/task/start/{user}")


@pytest.fixture
def site(qlik: Qlik, tmp_path: Path, make_daemon: Callable[..., Daemon]) -> Iterator[Site]:
    mine, other = f"mine-{tmp_path.name}", f"other-{tmp_path.name}"
    port = free_port()
    tokens = [
        {
            "name": name,
            "sha256": hashlib.sha256(f"{name}-token".encode()).hexdigest(),
            "role": ROLES.get(name, "sender"),
        }
        for name in TOKENS
    ]
    with Mosquitto(tmp_path / "guarded", passwords=USERS, acl=ACL) as broker:
        daemon = make_daemon(
            broker,
            mqttConfig={"username": "butler-mqtt", "password": USERS["butler-mqtt"]},
            restServerConfig={"enable": True, "serverPort": port, "auth": {"tokens": tokens}},
            keyValueStore={"enable": True},
            webPage={"enable": True},
        )
        senders: list[dict[str, object]] = [
            {
                "name": "erp",
                "topic": "qliksense/task/start/erp",
                "tokens": ["erp"],
                "allowTask": {"tag": [mine]},
                "may": ["start", "dryRun", "cancel"],
            },
            {"name": "crm", "topic": "qliksense/task/start/crm", "tokens": ["crm"]},
        ]
        keys: dict[str, Any] = {"senders": senders, "unknownSenders": "deny"}
        daemon.config |= keys
        daemon.configure()
        daemon.start()
        daemon.wait_log("REST: listening on")
        with (
            Sender(broker.port, connect=named("erp")) as erp,
            Sender(broker.port, connect=named("crm")) as crm,
        ):
            yield Site(qlik, daemon, senders, f"http://127.0.0.1:{port}", erp, crm, mine, other)


def test_a_sender_who_may_start_one_tag_starts_sees_and_cancels_nothing_else(site: Site) -> None:
    mine = site.qlik.task("Mine", tags=[site.mine])
    other = site.qlik.task("Other", tags=[site.other], customProperties={"Group": [site.other]})
    both = site.qlik.task("Both", tags=[site.mine, site.other])
    waiting = site.publish({"requestId": "crm-1", "taskId": other, "notBefore": LATER}, "crm")
    assert [one["taskId"] for one in waiting["tasksQueued"]] == [other]

    # It starts its own through both doors.
    assert [one["taskId"] for one in site.publish({"taskId": mine})["tasksStarted"]] == [mine]
    site.qlik.until_idle(mine)
    assert site.start({"tag": site.mine, "wait": "finished"}).json()["totalTasksStarted"] == 2

    # Nothing else, whatever it names.
    wishes: list[dict[str, object]] = [
        {"taskId": other},
        {"taskName": "Other"},
        {"customProperty": {"name": "Group", "value": site.other}},
        {"stages": [{"taskId": other}]},
        {"taskId": other, "dryRun": True},
    ]
    for wish in wishes:
        assert site.publish(wish)["code"] == "all_denied"
        answer = site.start(wish)
        assert (answer.status_code, answer.json()["code"]) == (403, "all_denied")
    mixed = site.publish({"tag": site.other, "wait": "finished"})
    assert [one["taskId"] for one in mixed["tasksStarted"]] == [both]
    assert [one["taskId"] for one in mixed["tasksDenied"]] == [other]
    array = [{"type": "starttaskid", "payload": {"taskId": other}}]
    assert site.start(array).json()["tasksId"]["denied"] == [{"taskId": other}]
    kept = [{"type": "keyvaluestore", "payload": {"namespace": "n", "key": "k", "value": "v"}}]
    assert site.start([*kept, *array]).status_code == 403
    assert site.call("POST", "/v4/keyvalues/n", json={"key": "k", "value": "v"}).status_code == 403
    assert site.call("GET", "/v4/keyvaluesnamespaces").json() == []
    assert site.qlik.posts(other) == 0

    # It sees and cancels nothing of crm's, and learns nothing of it.
    assert site.call("GET", "/v4/requests/crm-1").json()["code"] == "not_found"
    listed = site.call("GET", "/v4/requests", params={"limit": 500}).json()["requests"]
    assert {one["sender"] for one in listed} == {"erp"}
    assert "crm-1" not in {one["requestId"] for one in listed}
    assert site.call("GET", "/v4/requests", params={"sender": "crm"}).json()["requests"] == []
    tasks = site.call("GET", "/v4/tasks", params={"limit": 500}).json()["tasks"]
    assert "crm-1" not in json.dumps(tasks)
    assert site.publish({"cancel": "crm-1"})["code"] == "unknown_request"
    assert site.call("POST", "/v4/requests/crm-1/cancel").status_code == 404
    assert site.publish({"requestId": "crm-1", "taskId": other})["code"] == "request_id_conflict"
    assert site.start({"requestId": "crm-1", "taskId": mine}).status_code == 409
    assert site.call("GET", "/v4/requests/crm-1", "crm").json()["state"] == "closed"

    # What was refused under an id stays visible whoever is refused under it next.
    assert site.start({"requestId": "erp-1", "nonsense": 1}).status_code == 400
    assert site.start({"requestId": "erp-1", "nonsense": 1}, "crm").status_code == 400
    assert site.call("GET", "/v4/requests/erp-1").json()["sender"] == "erp"
    assert site.call("GET", "/v4/requests/erp-1", "crm").json()["sender"] == "crm"

    # A reader sees what crm asked for and starts nothing; an operator cancels it.
    assert site.call("GET", "/v4/requests/crm-1", "eve").json()["sender"] == "crm"
    assert site.start({"taskId": mine}, "eve").json()["code"] == "forbidden"
    done = site.call("POST", "/v4/requests/crm-1/cancel", "anna").json()
    assert [one["taskId"] for one in done["tasksCancelled"]] == [other]
    assert site.qlik.posts(other) == 0


def test_the_broker_keeps_a_sender_from_the_topics_of_others(site: Site) -> None:
    task = site.qlik.task("Mine", tags=[site.mine])
    for topic in ("qliksense/task/start/crm", "qliksense/task/start"):
        site.erp.publish({"requestId": f"on-{topic[-3:]}", "taskId": task}, topic=topic)
    site.publish({"taskId": task})
    assert site.daemon.rows("SELECT identity FROM requests") == [("erp",)]


def test_an_operator_who_asks_again_on_the_page_does_not_reach_past_the_senders_gate(site: Site) -> None:
    task = site.qlik.task("Off", tags=[site.mine], enabled=False)
    assert site.publish({"requestId": "erp-1", "taskId": task})["tasksFailed"][0]["code"] == "task_disabled"
    site.senders[0]["allowTask"] = {"tag": [site.other]}
    site.daemon.configure()
    site.daemon.signal(signal.SIGHUP)
    site.daemon.wait_log("configuration reloaded")
    path = f"{site.url}/ui/requests/erp-1/retry"
    with requests.Session() as browser:
        browser.trust_env = False
        browser.post(f"{site.url}/ui/sign-in", data={"token": "anna-token"}, timeout=60)
        form = browser.get(path, timeout=60).text
        fields = dict(re.findall(r'name="(csrf|request_id)" value="([^"]*)"', form))
        assert browser.post(path, data=fields, timeout=60).ok
    assert site.call("GET", f"/v4/requests/{fields['request_id']}", "anna").json()["code"] == "all_denied"


def test_a_reload_takes_senders_and_their_topics_over_on_the_same_connection(site: Site) -> None:
    task = site.qlik.task("Mine", tags=[site.mine])
    other = site.qlik.task("Other", tags=[site.other])
    slow = site.qlik.task("Slow", tags=[site.mine], durationSeconds=3600)
    site.publish({"taskId": slow})
    assert site.publish({"requestId": "waits", "taskId": slow})["tasksQueued"]
    site.senders[0] |= {"allowTask": {"tag": [site.other]}, "topic": "qliksense/task/start/erp2"}
    mark = site.daemon.mark()
    site.daemon.configure()
    site.daemon.signal(signal.SIGHUP)
    line = site.daemon.wait_log("Subscribed to", since=mark)
    assert "qliksense/task/start/erp2" in line
    assert not site.daemon.logged("restart_needed")
    assert site.daemon.logged("MQTT broker 127.0.0.1") <= 2, site.daemon.log()
    assert site.start({"taskId": task}).json()["code"] == "all_denied"
    assert site.start({"taskId": other}).json()["status"] == "ok"
    # What waited is judged by the new gate.
    site.qlik.end(slow)
    site.daemon.wait_row(
        "SELECT 1 FROM starts WHERE state = 'denied' AND request IN "
        "(SELECT id FROM requests WHERE request_id = 'waits')"
    )
    assert site.qlik.executions(slow) == 1
    until(lambda: site.daemon.logged("start_denied"), what="the denial is logged")

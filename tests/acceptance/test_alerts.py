"""Alerts of the installed program: a failure reaches a webhook once, and once more when it is over."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests import programs
from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import Sender
from tests.brokers import Mosquitto, free_port, until
from tests.integration.alerting.targets import Webhook, mailbox, webhook

MakeDaemon = Callable[..., Daemon]


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as served:
        yield served


def to(url: str, **keys: object) -> dict[str, Any]:
    """Give the section for one target."""
    return {"enable": True, "targets": [{"name": "bi", "url": url, **keys}]}


def command(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return programs.run([sys.executable, "-m", "butler_mqtt", *arguments, "-c", daemon.config_file])


def test_a_failure_reaches_a_webhook_and_a_mailbox_once_and_once_when_it_is_over(
    qlik: Qlik, broker: Mosquitto, make_daemon: MakeDaemon, hook: Webhook
) -> None:
    with mailbox() as box:
        alerts = to(hook.url)
        alerts["targets"].append({"name": "mail", "url": box.url, "on": ["executionFailed", "recovered"]})
        daemon = make_daemon(broker, alerts=alerts).start()
        task = qlik.task("Sales <!channel>", result="fail")
        with Sender(broker.port) as sender:
            sender.ask({"requestId": "night-1", "taskId": task, "sender": "erp", "wait": "finished"})
            until(lambda: hook.came and box.came)
            qlik.admin("PUT", f"/tasks/{task}", {"name": "Sales <!channel>", "durationSeconds": 0.01})
            sender.ask({"requestId": "night-2", "taskId": task, "wait": "finished"})
            until(lambda: len(hook.came) == 2 and len(box.came) == 2)
            sender.ask({"requestId": "night-3", "taskId": task, "wait": "finished"})
        assert daemon.stop() == 0
    assert hook.titles() == [
        "butler-mqtt: task Sales \u2039!channel> failed",
        "butler-mqtt: task Sales \u2039!channel> recovered",
    ]
    text = hook.came[0]["message"]
    assert "Node: sense1.lab.local" in text
    assert "Requested by: night-1 (erp, mqtt)" in text
    assert [mail["Subject"] for mail in box.came] == hook.titles()
    assert "s3cret" not in daemon.log()


def test_a_target_that_is_dead_is_named_and_gets_its_alert_after_a_kill_and_a_reload(
    qlik: Qlik, broker: Mosquitto, make_daemon: MakeDaemon, hook: Webhook
) -> None:
    port = free_port()
    monitoring = {"enable": True, "port": port}
    dead = to(f"json://127.0.0.1:{free_port()}/s3cret-path?cto=1")
    daemon = make_daemon(broker, alerts=dead, monitoring=monitoring).start()
    with Sender(broker.port) as sender:
        sender.ask({"taskId": qlik.task("Sales", result="fail"), "wait": "finished"})
    daemon.wait_log("the target bi does not take an alert")
    health = requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10)
    assert (health.status_code, health.json()["warnings"]) == (200, {"alerts": "not taken by: bi"})
    metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    assert 'butler_mqtt_alerts_total{outcome="failed",target="bi"} 1.0' in metrics
    assert 'butler_mqtt_alerts_total{outcome="sent",target="bi"} 0.0' in metrics
    daemon.kill()
    (row,) = [json.loads(line) for line in command(daemon, "alerts", "--json").stdout.splitlines()]
    assert (row["target"], row["title"], row["setAsideAt"]) == ("bi", "task Sales failed", None)
    daemon.start()
    daemon.configure(alerts=to(hook.url))
    daemon.signal(signal.SIGHUP)
    until(lambda: hook.came)
    assert hook.titles() == ["butler-mqtt: task Sales failed"]
    until(lambda: command(daemon, "alerts").stdout == "no alert waits, and none was set aside\n")
    assert "s3cret" not in daemon.log()


def test_nothing_of_apprise_is_loaded_while_alerts_are_off() -> None:
    code = (
        "import sys, butler_mqtt.daemon.daemon, butler_mqtt.cli.main, butler_mqtt.cli.run;"
        "sys.exit('apprise' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_sender_that_stopped_is_noticed_by_what_did_not_succeed_any_more(
    qlik: Qlik, broker: Mosquitto, make_daemon: MakeDaemon, hook: Webhook
) -> None:
    task = qlik.task("Orders", tags=["hourly"], app={"name": "Orders app"})
    qlik.begin(task)
    qlik.until_idle(task)
    qlik.switch(clockOffsetSeconds=7200)  # that was two hours ago by now
    alerts = to(hook.url) | {"overdue": [{"tag": "hourly", "everySeconds": 3600}]}
    daemon = make_daemon(broker, alerts=alerts).start()
    until(lambda: hook.came)
    assert hook.titles() == ["butler-mqtt: task Orders is overdue"]
    assert "App: Orders app" in hook.came[0]["message"]
    assert "Reason: no success for more than 1 h" in hook.came[0]["message"]
    with Sender(broker.port) as sender:
        sender.ask({"tag": "hourly", "wait": "finished"})
    until(lambda: len(hook.came) == 2)
    assert hook.titles()[1] == "butler-mqtt: task Orders recovered: it is not overdue any more"
    assert daemon.stop() == 0

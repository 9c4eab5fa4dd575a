"""`butler-mqtt rules` and `rules test`: the list with its counts, and what each rule says of a message."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from typer.testing import CliRunner, Result

from butler_mqtt.cli.main import app
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.settings import Settings
from tests import programs
from tests.brokers import Mosquitto, free_port, until
from tests.integration.simulator.running import Client
from tests.pipeline.rule_fixtures import MakeRules
from tests.pipeline.rule_harness import rule
from tests.terminals import on_terminal

ORDERS = {
    "name": "orders",
    "topic": ["erp/+/orders", "erp/orders"],
    "when": "payload.total > 1000",
    "start": {"tag": ["${{ payload.tag }}"], "requestId": "orders-${{ payload.id }}"},
    "coalesce": {"quietSeconds": 1, "maxSeconds": 2, "key": "payload.tag"},
}
HOOK = {"name": "hook", "webhook": {}, "when": "properties['x-kind'] == 'push'", "start": {"tag": "x"}}
OFF = {"name": "off", "enable": False, "topic": "erp/#", "payload": "text", "start": {"tag": "x"}}
RULES = [ORDERS, HOOK, OFF]
GOOD = '{"total": 1500, "tag": "Nightly", "id": 7.0}'


def config(folder: Path, *rules: dict[str, Any], **sections: Any) -> Path:
    """Write a configuration with *rules*."""
    file = folder / "config.yaml"
    butler = {
        "configQRS": {"host": "sense.test", "useSSL": False},
        "restServerConfig": {"enable": True},
        "rules": rules or RULES,
    }
    file.write_text(json.dumps({"Butler": butler | sections}), "utf-8")
    return file


def run(file: Path, *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, ["rules", *arguments, "-c", str(file)], input=text)


def tried(file: Path, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return what `rules test --json` says of each rule."""
    document = json.loads(run(file, "test", "--json", *arguments).stdout)
    return {one["rule"]: one for one in document["rules"]}


def test_the_list_has_each_rule_with_its_sources_and_counts(tmp_path: Path, make_rules: MakeRules) -> None:
    harness = make_rules(rule("orders", when="text == 'closed'"))
    for body in (b"closed", b"open", b"closed"):
        harness.published("erp/orders", body)
    harness.until(lambda: harness.counts().get("started") == 2)
    done = run(config(tmp_path), "--json", "--journal", str(harness.path))
    assert done.exit_code == ExitCode.OK
    records = {one["rule"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert list(records) == ["orders", "hook", "off"]
    assert records["orders"]["counts"] == {
        "started": 2,
        "coalesced": 0,
        "unmatched": 1,
        "failed": 0,
        "error": 0,
    }
    assert records["orders"]["lastMatchAt"]
    assert (records["hook"]["webhook"], records["hook"]["topics"]) == ("token", [])
    assert (records["off"]["enable"], records["off"]["counts"]) == (False, None)


def test_the_list_tells_the_last_problem_of_a_rule(tmp_path: Path, make_rules: MakeRules) -> None:
    harness = make_rules(rule("orders", when="text"))
    harness.published("erp/orders", "closed")
    harness.until(lambda: harness.counts().get("error"))
    shown = run(config(tmp_path), "--journal", str(harness.path)).stdout
    assert "orders: last problem: when: is a text, neither true nor false" in shown


def test_the_last_problem_does_not_name_the_rule_again(tmp_path: Path, make_rules: MakeRules) -> None:
    start = {"tag": "${{ payload.day }}"}
    harness = make_rules(rule("orders", payload="json", start=start))
    harness.published("erp/orders", {})
    harness.until(lambda: harness.counts().get("failed"))
    shown = run(config(tmp_path), "--journal", str(harness.path)).stdout
    assert "orders: last problem: start.tag: ${{ payload.day }}: payload.day is not there" in shown


def test_without_a_journal_the_list_has_no_counts(tmp_path: Path) -> None:
    done = run(config(tmp_path))
    assert done.exit_code == ExitCode.OK
    assert "POST /v4/rules/hook" in done.stdout


def test_the_list_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    file = config(tmp_path, ORDERS | {"name": "a-rule-with-a-long-name", "topic": ["erp/" + "a" * 80]})
    shown = on_terminal([sys.executable, "-m", "butler_mqtt", "rules", "-c", str(file)])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).split("\n")
    assert "error" in lines[0]
    assert max(len(line) for line in lines) <= 80


def test_a_list_without_rules_has_not_failed_and_says_so(tmp_path: Path) -> None:
    done = run(config(tmp_path, rules=[]))
    assert (done.exit_code, done.stderr) == (ExitCode.OK, "")
    assert "the configuration has no rules" in done.stdout
    assert run(config(tmp_path, rules=[]), "--json").stdout == ""


def test_a_rule_that_matches_shows_the_request_and_the_key_of_its_window(tmp_path: Path) -> None:
    found = tried(config(tmp_path), "--topic", "erp/fin/orders", "--payload", GOOD)
    assert found["orders"] == {
        "rule": "orders",
        "enable": True,
        "outcome": "matched",
        "reasons": [],
        "key": "Nightly",
        "request": {"tag": ["Nightly"], "requestId": "orders-7"},
    }
    assert found["hook"]["outcome"] == "elsewhere"
    assert (found["off"]["outcome"], found["off"]["enable"]) == ("matched", False)


@pytest.mark.parametrize(
    ("payload", "outcome", "reason"),
    [
        ('{"total": 5}', "unmatched", "payload.total > 1000 is false: payload.total is 5"),
        (
            "{}",
            "error",
            "payload.total > 1000 cannot be evaluated: payload.total is not there; payload has no field",
        ),
        ("{", "failed", "the payload is no JSON: line 1, column 2: "),
        ('{"total": 1500}', "failed", "coalesce.key: payload.tag is not there"),
        (
            '{"total": 1500, "tag": "a", "id": "a b"}',
            "failed",
            "rule orders: start makes no valid request: requestId must be 1 to 128",
        ),
    ],
    ids=["false", "absent", "no JSON", "no key", "no request"],
)
def test_a_rule_that_does_not_match_says_why(tmp_path: Path, payload: str, outcome: str, reason: str) -> None:
    file = config(tmp_path, ORDERS)
    done = run(file, "test", "--json", "--topic", "erp/orders", "--payload", payload)
    (record,) = json.loads(done.stdout)["rules"]
    assert done.exit_code == ExitCode.FAILED
    assert record["outcome"] == outcome
    assert record["reasons"][0].startswith(reason)


def test_for_people_what_matches_comes_first_and_what_is_off_is_marked(tmp_path: Path) -> None:
    done = run(config(tmp_path), "test", "--topic", "erp/orders", "--payload", GOOD)
    lines = done.stdout.splitlines()
    assert done.exit_code == ExitCode.OK
    assert lines[0] == f"message on erp/orders, {len(GOOD)} bytes"
    assert lines[1] == "orders matches"
    assert "off matches, but it is off (enable: false)" in lines
    assert "  it has a webhook only: --webhook hook" in lines


def test_a_rule_that_is_off_alone_makes_no_request(tmp_path: Path) -> None:
    assert (
        run(config(tmp_path, OFF), "test", "--topic", "erp/a", "--payload", "x").exit_code == ExitCode.FAILED
    )


def test_a_request_id_that_is_the_same_for_every_message_is_remarked(tmp_path: Path) -> None:
    file = config(tmp_path, ORDERS | {"start": {"tag": "x", "requestId": "always"}})
    shown = run(file, "test", "--topic", "erp/orders", "--payload", GOOD).stdout
    assert "which is the same requestId for every message: all but the first start nothing" in shown


def test_a_call_of_a_webhook_is_tried_with_its_headers(tmp_path: Path) -> None:
    file = config(tmp_path)
    found = tried(file, "--webhook", "hook", "--payload", "{}", "--property", "X-Kind=push")
    assert (found["hook"]["outcome"], found["orders"]["outcome"]) == ("matched", "elsewhere")
    assert tried(file, "--webhook", "hook", "--payload", "{}")["hook"]["outcome"] == "error"


def test_the_payload_may_be_in_a_file_or_come_as_input(tmp_path: Path) -> None:
    file = config(tmp_path)
    (tmp_path / "payload").write_text(GOOD)
    of_file = run(file, "test", "--topic", "erp/orders", "--payload-file", str(tmp_path / "payload"))
    of_input = run(file, "test", "--topic", "erp/orders", "--payload-file", "-", text=GOOD)
    assert of_file.stdout == of_input.stdout
    assert "orders matches" in of_file.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "one of --topic, --webhook and --listen is needed"),
        (("--topic", "a", "--webhook", "hook"), "one of --topic, --webhook and --listen is needed"),
        (("--webhook", "orders"), "'orders' is no rule with a webhook; there is hook"),
        (("--listen", "--payload", "x"), "takes the messages from the broker"),
        (("--topic", "a", "--seconds", "5"), "belongs to --listen"),
        (("--topic", "a", "--payload", "x", "--payload-file", "y"), "one of --payload and --payload-file"),
        (("--topic", "a", "--payload-file", "/absent"), "/absent: No such file or directory"),
        (("--topic", "a", "--property", "x"), "'x' is not NAME=VALUE"),
        (("--topic", "a/#"), "must not contain the wildcards"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_tried_is_a_mistake_of_the_caller(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = run(config(tmp_path), "test", *arguments)
    assert done.exit_code == ExitCode.USAGE
    assert words in " ".join(done.stderr.replace("│", " ").split())


def test_resolve_shows_the_tasks_that_the_request_means(tmp_path: Path, site: Client, qrs: Settings) -> None:
    file = at_the_site(tmp_path, qrs, qrs.qrs.port)
    done = run(file, "test", "--resolve", "--json", "--topic", "erp/orders", "--payload", GOOD)
    assert done.exit_code == ExitCode.OK
    (record,) = json.loads(done.stdout)["rules"]
    assert [task["taskName"] for task in record["tasks"]["tasks"]] == ["Quick"]
    shown = run(file, "test", "--resolve", "--topic", "erp/orders", "--payload", GOOD).stdout
    assert "wouldStart" in shown


@pytest.mark.parametrize(
    ("sender", "words"),
    [
        ({"allowTask": {"tag": ["Other"]}}, "allowTask of the sender erp allows none of the matching tasks"),
        ({"may": ["cancel"]}, "the sender erp may not: start (senders, may)"),
    ],
    ids=["gate", "may"],
)
def test_resolve_says_that_the_start_would_be_refused_and_by_which_gate(
    tmp_path: Path, site: Client, qrs: Settings, sender: dict[str, Any], words: str
) -> None:
    file = at_the_site(tmp_path, qrs, qrs.qrs.port, senders=[{"name": "erp", "rules": ["orders"], **sender}])
    done = run(file, "test", "--resolve", "--topic", "erp/orders", "--payload", GOOD)
    assert done.exit_code == ExitCode.FAILED
    shown = " ".join(done.stdout.split())
    assert "orders matches" in shown
    assert words in shown


def test_resolve_names_the_gate_of_each_task_that_is_denied(
    tmp_path: Path, site: Client, qrs: Settings
) -> None:
    site.admin("POST", "/tasks", {"name": "Shut", "tags": ["Nightly"]})
    site.admin("POST", "/tasks", {"name": "Open", "tags": ["Nightly", "Erp"]})
    senders = [{"name": "erp", "rules": ["orders"], "allowTask": {"tag": ["Erp"]}}]
    file = at_the_site(tmp_path, qrs, qrs.qrs.port, senders=senders)
    done = run(file, "test", "--resolve", "--json", "--topic", "erp/orders", "--payload", GOOD)
    assert done.exit_code == ExitCode.OK
    (record,) = json.loads(done.stdout)["rules"]
    denied = {task["taskName"]: task["reason"] for task in record["tasks"]["tasksDenied"]}
    assert denied["Shut"] == "allowTask of the sender erp"
    assert [task["taskName"] for task in record["tasks"]["tasks"]] == ["Open"]


def test_resolve_without_an_answer_of_the_server_ends_with_69(tmp_path: Path, qrs: Settings) -> None:
    file = at_the_site(tmp_path, qrs, free_port())
    done = run(file, "test", "--resolve", "--topic", "erp/orders", "--payload", GOOD)
    assert done.exit_code == ExitCode.UNAVAILABLE


def at_the_site(folder: Path, qrs: Settings, port: int, **sections: Any) -> Path:
    """Write a configuration for the simulated site."""
    files = {"clientCert": qrs.qrs.client_cert, "clientCertKey": qrs.qrs.client_cert_key}
    cert = {key: str(file) for key, file in (files | {"clientCertCA": qrs.qrs.client_cert_ca}).items()}
    return config(folder, ORDERS, configQRS={"host": qrs.qrs.host, "port": port}, cert=cert, **sections)


def test_listen_shows_what_others_publish_and_leaves_it_to_the_daemon(
    tmp_path: Path, broker: Mosquitto
) -> None:
    file = config(tmp_path, ORDERS, mqttConfig={"brokerHost": broker.host, "brokerPort": broker.port})
    sender = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    sender.connect(broker.host, broker.port)
    sender.loop_start()
    sender.publish("erp/orders", GOOD, qos=1, retain=True).wait_for_publish(10)
    arguments = ["rules", "test", "--listen", "--seconds", "20", "--json", "-c", str(file)]
    process = programs.start(
        [sys.executable, "-m", "butler_mqtt", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        until(lambda: "butler-mqtt-listen-" in broker.log() and "erp/orders (QoS 1)" in broker.log())
        assert process.stderr.readline() == "listening to erp/+/orders, erp/orders\n"
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.UserProperty = [("source", "plc")]
        sender.publish("erp/fin/orders", GOOD, qos=1, properties=properties).wait_for_publish(10)
        document = json.loads(process.stdout.readline())
        assert document["topic"] == "erp/fin/orders"
        assert document["rules"][0]["request"] == {"tag": ["Nightly"], "requestId": "orders-7"}
    finally:
        sender.publish("erp/orders", b"", qos=1, retain=True).wait_for_publish(10)
        sender.disconnect()
        sender.loop_stop()
        process.send_signal(2)
        process.communicate()
    assert process.returncode == ExitCode.OK


def test_listen_without_a_broker_ends_with_69(tmp_path: Path) -> None:
    file = config(tmp_path, ORDERS, mqttConfig={"brokerHost": "127.0.0.1", "brokerPort": free_port()})
    assert run(file, "test", "--listen", "--seconds", "1").exit_code == ExitCode.UNAVAILABLE


def test_listen_to_nothing_says_so(tmp_path: Path, broker: Mosquitto) -> None:
    file = config(tmp_path, ORDERS, mqttConfig={"brokerHost": broker.host, "brokerPort": broker.port})
    done = run(file, "test", "--listen", "--seconds", "0.2")
    assert done.exit_code == ExitCode.FAILED
    assert "no message came within 0.2 seconds" in done.stderr

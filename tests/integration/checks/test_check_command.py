"""The command as an operator types it: exit codes, JSON, secrets, a daemon that runs meanwhile."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from paho.mqtt.client import topic_matches_sub

from butler_mqtt.cli import help_pages
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.mqtt.probe import Probe
from tests.acceptance.service.process import Service, service, write_config
from tests.brokers import Mosquitto, free_port
from tests.integration.checks.site_and_broker import run
from tests.integration.simulator.running import Client

SECRET = "never-to-be-seen-1"
STATUS = "qliksense/butler/status"


@pytest.fixture
def config(tmp_path: Path, broker: Mosquitto, site: Client) -> Path:
    return write_config(tmp_path, port=broker.port, site=site.simulator)


def test_it_ends_with_0_when_everything_works(config: Path) -> None:
    done = run(config)
    assert done.returncode == ExitCode.OK, done.stdout
    assert done.stdout.endswith("everything works\n")
    assert done.stderr == ""


def test_it_ends_with_0_when_there_are_warnings_only(config: Path, site: Client) -> None:
    site.switch(listLimit=3)
    done = run(config)
    assert done.returncode == ExitCode.OK
    assert "WARNING  site.lists" in done.stdout
    assert done.stdout.endswith("it works, with 1 warning\n")


def test_it_ends_with_1_when_something_is_wrong(config: Path, site: Client) -> None:
    site.plant(kind="status", status=403, count=None)
    done = run(config)
    assert done.returncode == ExitCode.FAILED
    assert done.stdout.endswith("1 to fix: qlik.connection\n")
    assert done.stderr == f"read more: {help_pages.where('check.md#The lines')}\n"


def test_it_ends_with_69_when_the_broker_is_away_and_tries_the_rest(tmp_path: Path, site: Client) -> None:
    done = run(write_config(tmp_path, port=free_port(), site=site.simulator))
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "NO ANSWER  broker.login" in done.stdout
    assert "qlik.connection: " in done.stdout


def test_it_ends_with_69_when_qlik_is_away_and_has_tried_the_rest(tmp_path: Path, broker: Mosquitto) -> None:
    done = run(write_config(tmp_path, port=broker.port))
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "NO ANSWER  qlik.connection" in done.stdout
    assert "ok       broker.persistence" in done.stdout


def test_a_machine_gets_the_problems_of_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("Butler:\n  logLevel: loud\n  mqttConfig: {brokerPort: 0}\n")
    done = run(file, "--json")
    assert done.returncode == ExitCode.CONFIG
    found = json.loads(done.stdout)
    assert {(one["name"], one["state"]) for one in found} == {("configuration", "wrong")}
    assert all(any(word in one["text"] for one in found) for word in ("logLevel", "brokerPort"))


def test_it_ends_with_78_and_every_problem_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("Butler:\n  mqttConfig: { brokerPort: 0, qoss: 1 }\n")
    done = run(file)
    assert done.returncode == ExitCode.CONFIG
    assert "brokerPort" in done.stderr
    assert "qoss" in done.stderr


def test_json_has_each_line_with_its_state(config: Path, site: Client) -> None:
    site.switch(clockOffsetSeconds=300)
    done = run(config, "--json")
    assert done.returncode == ExitCode.FAILED
    lines = json.loads(done.stdout)
    states = {line["name"]: line["state"] for line in lines}
    assert states["configuration"] == "ok"
    assert states["qlik.clock"] == "wrong"
    assert all({"name", "state", "text"} <= set(line) for line in lines)
    assert all(line.get("advice") for line in lines if line["state"] != "ok")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_secret_is_printed(tmp_path: Path, site: Client, options: tuple[str, ...]) -> None:
    secret = f"    username: butler\n    password: {SECRET}\n"
    with Mosquitto(tmp_path / "broker", passwords={"butler": "another"}) as broker:
        file = write_config(tmp_path, port=broker.port, site=site.simulator, mqtt=secret)
        done = run(file, *options)
    assert done.returncode == ExitCode.FAILED
    assert "butler" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_a_configuration_without_a_door_is_wrong(tmp_path: Path, site: Client) -> None:
    done = run(write_config(tmp_path, port=1883, site=site.simulator, mqtt="    enable: false\n"))
    assert done.returncode == ExitCode.FAILED
    assert "neither MQTT nor REST is enabled" in done.stdout


@pytest.fixture
def daemon(config: Path) -> Iterator[Service]:
    with service(config) as made:
        made.waits_for_log("action=ready")
        yield made


def test_a_running_daemon_is_seen_and_not_disturbed(config: Path, broker: Mosquitto, daemon: Service) -> None:
    before = daemon.log()
    with Probe(replace(broker.settings(), client_id="watcher"), "watcher", keep_session=False) as watcher:
        watcher.subscribe("qliksense/#")
        done = run(config)
        marker = b'{"marker": 1}'
        watcher.publish("qliksense/marker", marker)
        assert watcher.hears(marker)
        heard = [
            (topic, body)
            for topic, body in watcher.received
            if b'"check"' not in body and not topic_matches_sub("qliksense/marker", topic)
        ]
    assert done.returncode == ExitCode.OK, done.stdout
    assert "a daemon is online" in done.stdout
    assert "in use by a running daemon" in done.stdout
    # Neither a reply, nor an event, nor another birth: its connection was left alone.
    assert heard == []
    assert daemon.log() == before


def lines(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """Give the lines of `--json` that are not ok, by name."""
    return {line["name"]: line for line in json.loads(done.stdout) if line["state"] != "ok"}


def test_a_newer_journal_is_named_with_what_to_do(tmp_path: Path, broker: Mosquitto, site: Client) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(f"sqlite:///{path}")
    journal.open()
    with journal.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    journal.close()
    file = write_config(
        tmp_path, port=broker.port, site=site.simulator, more=f"  journal: {{ url: 'sqlite:///{path}' }}\n"
    )
    done = run(file, "--json")
    assert done.returncode == ExitCode.FAILED
    assert {name: line["state"] for name, line in lines(done).items()} == {"journal.format": "wrong"}
    assert "docs/upgrade.md" in lines(done)["journal.format"]["advice"]


def test_a_missing_count_ends_with_0_and_a_warning(config: Path, site: Client) -> None:
    site.plant(kind="status", status=404, path="*/count", count=None)
    done = run(config, "--json")
    assert done.returncode == ExitCode.OK
    assert {name: line["state"] for name, line in lines(done).items()} == {"site.count": "warning"}


def test_limits_of_the_broker_end_with_0_and_warnings(tmp_path: Path, site: Client) -> None:
    extra = "max_inflight_messages 1\nmax_packet_size 5000\nretain_available false"
    with Mosquitto(tmp_path / "broker", extra=extra) as small:
        done = run(write_config(tmp_path, port=small.port, site=site.simulator), "--json")
    assert done.returncode == ExitCode.OK
    assert {name: line["state"] for name, line in lines(done).items()} == {
        "broker.retain": "warning",
        "broker.receiveMaximum": "warning",
        "broker.packetSize": "warning",
    }

"""SIGHUP: what is taken over at once, what waits for a restart, and that a bad file changes nothing."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from butler_mqtt import settings
from butler_mqtt.daemon import reload
from tests.acceptance.service.process import Manager, Service, broker_config, manager, service
from tests.brokers import Mosquitto, free_port
from tests.integration.mqtt.recording import plain_client
from tests.integration.simulator.running import QUICK, TASKS, Running, running

NOTHING_ALLOWED = "  startTaskFilter: { enable: true }\n"


@pytest.fixture
def systemd() -> Iterator[Manager]:
    with manager() as made:
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "tasks.yaml").write_text(TASKS)
    with running(folder / "certs", "--tasks", str(folder / "tasks.yaml")) as made:
        yield made


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as made:
        yield made


def hang_up(daemon: Service, systemd: Manager) -> None:
    """Send SIGHUP and wait until systemd is notified that the reload is over."""
    seen = len(systemd.notified())
    daemon.signal(signal.SIGHUP)
    reloading = systemd.waits_for("RELOADING=1", after=seen)
    systemd.waits_for("MONOTONIC_USEC=", after=reloading)
    systemd.waits_for("READY=1", after=reloading)


def test_the_log_level_changes_at_once_and_the_rest_is_named(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path
) -> None:
    with service(broker_config(tmp_path, broker, site), systemd.environ) as daemon:
        systemd.waits_for("READY=1")
        broker_config(
            tmp_path,
            broker,
            site,
            mqtt="    clientId: other\n",
            more="  logLevel: debug\n  journal: { retentionDays: 3 }\n",
        )
        hang_up(daemon, systemd)
        assert "configuration reloaded; changed: logLevel;" in daemon.log()
        waiting = "mqttConfig.clientId, journal.retentionDays [action=restart_needed]"
        assert f"these changes wait for a restart: {waiting}" in daemon.log()


def test_a_file_of_an_older_butler_is_named_in_one_line_and_waits_for_no_restart(
    systemd: Manager, broker: Mosquitto, tmp_path: Path
) -> None:
    config = broker_config(tmp_path, broker)
    older = "useSSL: false, headerKey: X-Qlik-User, headerValue: UserDirectory=A; UserId=b,"
    config.write_text(config.read_text().replace("useSSL: false,", older))
    with service(config, systemd.environ) as daemon:
        systemd.waits_for("READY=1")
        (line,) = [one for one in daemon.log().splitlines() if "config_older_butler" in one]
        assert "configQRS.headerKey and headerValue as configQRS.headers.static" in line
        assert "mqttConfig.taskStartTopic as qliksense/start_task" in line
        hang_up(daemon, systemd)
        assert "restart_needed" not in daemon.log()


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("  startTask: { maxTasksPerRequest: many }\n", "startTask.maxTasksPerRequest"),
        ("  startTaskFilter: { enabel: true }\n", "enabel"),
        ("  x: [\n", "config.yaml"),
    ],
)
def test_a_bad_file_changes_nothing_and_every_problem_is_logged(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path, bad: str, named: str
) -> None:
    with service(broker_config(tmp_path, broker, site), systemd.environ) as daemon:
        systemd.waits_for("READY=1")
        broker_config(tmp_path, broker, site, more=f"  logLevel: error\n{bad}")
        hang_up(daemon, systemd)
        log = daemon.log()
        assert "the configuration is not reloaded, everything stays as it was" in log
        assert named in log
        assert "action=reload_refused" in log
        daemon.signal(signal.SIGTERM)
        assert daemon.ends() == 0
        # Still at level info.
        assert "action=stopped" in daemon.log()


def test_a_certificate_that_cannot_be_read_is_refused_before_it_is_needed(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path
) -> None:
    with service(broker_config(tmp_path, broker, site), systemd.environ) as daemon:
        systemd.waits_for("READY=1")
        text = (tmp_path / "config.yaml").read_text().replace("root.pem", "gone.pem")
        (tmp_path / "config.yaml").write_text(text)
        hang_up(daemon, systemd)
        assert "gone.pem does not exist" in daemon.log()


def test_a_reload_before_the_subscription_does_not_claim_to_be_ready(
    systemd: Manager, tmp_path: Path
) -> None:
    late = Mosquitto(tmp_path / "broker")
    with service(broker_config(tmp_path, late), systemd.environ) as daemon:
        systemd.waits_for_status(lambda status: status.startswith("connecting"))
        daemon.signal(signal.SIGHUP)
        daemon.waits_for_log("action=reloaded")
        assert not {"READY=1", "RELOADING=1"} & set(systemd.notified())


def test_a_new_allow_list_guards_the_next_request(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path
) -> None:
    with (
        service(broker_config(tmp_path, broker, site), systemd.environ) as daemon,
        plain_client(broker, "qliksense/task/start/reply") as sender,
    ):
        systemd.waits_for("READY=1")
        codes = []
        for more in ("", NOTHING_ALLOWED, ""):
            broker_config(tmp_path, broker, site, more=more)
            hang_up(daemon, systemd)
            sender.publish("qliksense/task/start", f'{{"taskId": "{QUICK}", "dryRun": true}}'.encode())
            codes.append(json.loads(sender.messages.get(timeout=10).payload).get("code"))
        assert codes == [None, "all_denied", None]
        assert "changed: startTaskFilter.enable;" in daemon.log()


def test_secrets_are_named_by_their_key_only() -> None:
    running_now = settings.Settings(mqtt=settings.MqttSettings(username="u", password="old-secret"))
    read = replace(running_now, mqtt=replace(running_now.mqtt, password="new-secret"))
    assert list(reload.differences(running_now, read)) == ["mqttConfig.password"]


def test_what_may_change_while_running_is_taken_from_the_new_settings_only_there() -> None:
    read = settings.Settings(
        log_level="debug",
        start_task_filter=settings.StartTaskFilter(enable=True),
        rest=settings.RestSettings(server_port=1, tokens=(settings.Token("erp", "00"),)),
        qrs=settings.QrsSettings(host="other", client_cert=Path("/x")),
    )
    live = reload.live(settings.Settings(), read)
    assert list(reload.differences(settings.Settings(), live)) == [
        "logLevel",
        "startTaskFilter.enable",
        "restServerConfig.auth.tokens",
    ]
    assert list(reload.differences(live, read)) == [
        "configQRS.host",
        "cert.clientCert",
        "restServerConfig.serverPort",
    ]


def test_new_tokens_count_from_the_next_call_on_and_none_let_nobody_in(
    systemd: Manager, broker: Mosquitto, site: Running, tmp_path: Path
) -> None:
    port = free_port()

    def tokens(*words: str) -> str:
        digests = [hashlib.sha256(word.encode()).hexdigest() for word in words]
        known = ", ".join(f"{{ name: erp, sha256: {digest} }}" for digest in digests)
        return f"  restServerConfig: {{ enable: true, serverPort: {port}, auth: {{ tokens: [{known}] }} }}\n"

    def status(word: str) -> int:
        call = requests.get(
            f"http://127.0.0.1:{port}/openapi.json", headers={"Authorization": f"Bearer {word}"}, timeout=10
        )
        return call.status_code

    with service(broker_config(tmp_path, broker, site, more=tokens("old")), systemd.environ) as daemon:
        systemd.waits_for("READY=1")
        daemon.waits_for_log("action=listening")
        assert (status("old"), status("new")) == (200, 401)
        broker_config(tmp_path, broker, site, more=tokens("new"))
        hang_up(daemon, systemd)
        assert (status("old"), status("new")) == (401, 200)
        assert "changed: restServerConfig.auth.tokens;" in daemon.log()
        broker_config(tmp_path, broker, site, more=tokens())
        hang_up(daemon, systemd)
        assert (status("old"), status("new")) == (401, 401)
        assert "action=rest_no_tokens" in daemon.log()

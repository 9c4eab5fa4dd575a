"""Configuration files of Butler 2 to 12 work as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.configuration_files import PEM, load, load_whole, problems, problems_of_whole

#: The parts that this program reads, as Butler 2 writes them.
BUTLER_2 = """
Butler:
  slackConfig: { webhookURL: <fill in> }
  mqttConfig:
    brokerHost: 10.11.12.13
    brokerPort: 1883
    taskFailureTopic: qliksense/task_failure
  udpServerConfig: { serverIP: 10.11.12.13 }
  restServerConfig: { serverPort: 8080 }
  configEngine: { server: sense.test, isSecure: true }
  configQRS:
    authentication: certificates
    host: sense.test
    useSSL: true
    port: 4242
    headerKey: X-Qlik-User
    headerValue: UserDirectory=Internal; UserId=sa_repository
    cert: client.pem
    key: client_key.pem
    ca: root.pem
  qvdPath: D:\\qvd
"""

#: As Butler 6 writes them: the topic has a key, the certificates a section.
BUTLER_6 = """
Butler:
  mqttConfig:
    enable: true
    brokerHost: 10.11.12.13
    subscriptionRootTopic: qliksense/#
    taskStartTopic: plant/start
  cert:
    rejectUnauthorized: false
    clientCert: client.pem
    clientCertKey: client_key.pem
    clientCertCA: root.pem
  configQRS:
    host: sense.test
    headerKey: X-Qlik-User
    headerValue: UserDirectory=Internal; UserId=sa_repository
  configDirectories: { qvdPath: /qvd }
"""
HEADERS = (("X-Qlik-User", "UserDirectory=Internal; UserId=sa_repository"),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("client.pem", "client_key.pem", "root.pem"):
        (tmp_path / name).write_text(PEM)
    return tmp_path


def test_a_file_of_butler_2_has_its_values_and_the_topic_that_butler_2_has(folder: Path) -> None:
    loaded = load_whole(folder, BUTLER_2)
    assert loaded.qrs.headers == HEADERS
    assert loaded.qrs.client_cert == folder / "client.pem"
    assert loaded.qrs.client_cert_key == folder / "client_key.pem"
    assert loaded.qrs.client_cert_ca == folder / "root.pem"
    assert loaded.qrs.reject_unauthorized
    assert loaded.mqtt.task_start_topic == "qliksense/start_task"
    assert "qvdPath" in loaded.ignored
    assert loaded.older == (
        "configQRS.cert as cert.clientCert",
        "configQRS.key as cert.clientCertKey",
        "configQRS.ca as cert.clientCertCA",
        "configQRS.headerKey and headerValue as configQRS.headers.static",
        "mqttConfig.taskStartTopic as qliksense/start_task, the topic of Butler before 5",
    )


def test_the_broker_of_butler_2_0_is_its_address(folder: Path) -> None:
    loaded = load_whole(
        folder, BUTLER_2.replace("brokerHost", "brokerIP").replace("    brokerPort: 1883\n", "")
    )
    assert (loaded.mqtt.broker_host, loaded.mqtt.broker_port) == ("10.11.12.13", 1883)
    assert "mqttConfig.brokerIP as mqttConfig.brokerHost" in loaded.older


def test_a_file_of_butler_6_has_its_values_and_its_own_topic(folder: Path) -> None:
    loaded = load_whole(folder, BUTLER_6)
    assert loaded.qrs.headers == HEADERS
    assert not loaded.qrs.reject_unauthorized
    assert loaded.mqtt.task_start_topic == "plant/start"
    assert loaded.older == (
        "cert.rejectUnauthorized as configQRS.rejectUnauthorized",
        "configQRS.headerKey and headerValue as configQRS.headers.static",
    )


def test_a_file_of_today_has_the_topic_of_today_and_no_word_of_older_ones(tmp_path: Path) -> None:
    loaded = load(tmp_path, "")
    assert loaded.mqtt.task_start_topic == "qliksense/task/start"
    assert loaded.older == ()


def test_an_older_file_without_a_section_for_mqtt_has_the_older_topic(tmp_path: Path) -> None:
    text = (
        "Butler:\n  mqttConfig:\n"
        "  configQRS: {host: h, useSSL: false, headerKey: X-Qlik-User, headerValue: a}\n"
    )
    for one in (text, text.replace("  mqttConfig:\n", "")):
        assert load_whole(tmp_path, one).mqtt.task_start_topic == "qliksense/start_task"


def test_an_empty_list_of_headers_beside_the_older_pair_is_no_contradiction(tmp_path: Path) -> None:
    pair = "headerKey: X-Qlik-User, headerValue: a"
    text = f"Butler:\n  configQRS: {{host: h, useSSL: false, headers: {{static: }}, {pair}}}\n"
    assert load_whole(tmp_path, text).qrs.headers == (("X-Qlik-User", "a"),)


def test_values_from_the_environment_are_filled_in_where_older_keys_have_them(folder: Path) -> None:
    text = BUTLER_2.replace("UserDirectory=Internal; UserId=sa_repository", "${QLIK_USER}")
    loaded = load_whole(folder, text, {"QLIK_USER": "UserDirectory=A; UserId=b"})
    assert loaded.qrs.headers == (("X-Qlik-User", "UserDirectory=A; UserId=b"),)


def test_a_problem_of_a_moved_value_has_the_key_and_the_line_of_the_file(folder: Path) -> None:
    (folder / "client_key.pem").unlink()
    text = BUTLER_2.replace("sa_repository", '"ä"').replace("ca: root.pem", "ca: [root.pem]")
    header, key, ca = problems_of_whole(folder, text)
    lines = text.split("\n")
    line = {name: 1 + next(n for n, one in enumerate(lines) if f" {name}:" in one) for name in ("key", "ca")}
    assert f"line {line['ca']}" in ca
    assert "Butler.configQRS.ca: is a list" in ca
    assert "Butler.configQRS.headerValue: is ***" in header
    assert f"line {line['key']}" in key
    assert "Butler.configQRS.key: file" in key


@pytest.mark.parametrize(
    ("older", "problem"),
    [
        (
            "cert: {clientCert: a.pem}\nconfigQRS: {cert: b.pem}",
            "line 3: Butler.configQRS.cert: is set beside cert.clientCert",
        ),
        (
            "cert: {rejectUnauthorized: true}\nconfigQRS: {rejectUnauthorized: true}",
            "line 2: Butler.cert.rejectUnauthorized: is set beside configQRS.rejectUnauthorized",
        ),
        (
            "configQRS: {headers: {static: [{name: X-Qlik-User, value: a}]}, headerKey: a, headerValue: b}",
            "line 2: Butler.configQRS.headerKey: is set beside configQRS.headers.static",
        ),
        (
            "configQRS: {headerKey: X-Qlik-User}",
            "line 2: Butler.configQRS.headerKey: is set without headerValue",
        ),
        ("configQRS: {headerValue: a}", "line 2: Butler.configQRS.headerValue: is set without headerKey"),
        (
            "configQRS: {headerKey: X-Other, headerValue: a}",
            "line 2: Butler.configQRS.headers.static: lacks the header X-Qlik-User",
        ),
        ("configQRS: {headerKey: [a], headerValue: {b: c}}", "line 2: Butler.configQRS.headerKey: is a list"),
    ],
)
def test_an_older_key_that_contradicts_another_is_a_problem(tmp_path: Path, older: str, problem: str) -> None:
    text = "Butler:\n" + "\n".join(f"  {line}" for line in older.split("\n"))
    text = text.replace("configQRS: {", "configQRS: {host: sense.test, useSSL: false, ")
    assert problems_of_whole(tmp_path, text)[0].startswith(problem)


@pytest.mark.parametrize(
    "text",
    [
        "Butler: {configQRS: [cert]}",
        "Butler: {configQRS: {host: h, cert: a, headerKey: b, headerValue: c}, cert: 5, mqttConfig: 6}",
        "Butler: {configQRS: {host: h, headers: 5, headerKey: b, headerValue: c}}",
        "Butler: {configQRS: {host: h, headers: [], headerKey: b, headerValue: c}}",
        "Butler: {configQRS: {host: h, cert: a}, cert: [a]}",
        "Butler: {configQRS: {host: h, headers: {static: 5}, headerKey: b, headerValue: c}}",
        "Butler: 5",
        "[cert]",
    ],
)
def test_a_section_of_another_shape_stays_a_problem(tmp_path: Path, text: str) -> None:
    assert problems_of_whole(tmp_path, text)


def test_azure_event_grid_is_a_problem_where_it_is_enabled(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "mqttConfig:\n  brokerHost: a\n  azureEventGrid:\n    enable: true\n")
    assert problem.startswith("line 6")
    assert "Butler.mqttConfig.azureEventGrid.enable: is true" in problem
    assert "mqttConfig.clientId, tls.certFile and tls.keyFile" in problem


@pytest.mark.parametrize(
    "section",
    [
        "{azureEventGrid: {enable: false}}",
        "{azureEventGrid: {}}",
        "{azureEventGrid: }",
        "{enable: false, azureEventGrid: {enable: true}}",
    ],
)
def test_azure_event_grid_is_ignored_where_it_is_switched_off(tmp_path: Path, section: str) -> None:
    assert load(tmp_path, f"mqttConfig: {section}").ignored == ("mqttConfig.azureEventGrid",)

"""What the schema says of Butler's keys: a configuration file made for Butler works as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.config.schema import butler_keys, keys_of, schema
from butler_mqtt.config.yaml_file import dotted
from tests.unit.config.configuration_files import PEM, load_whole, problems_of_whole

#: The parts of a Butler 16 file that this program reads, as Butler writes them, and some that it ignores.
BUTLER = """
Butler:
    logLevel: verbose
    fileLogging: false
    anonTelemetry: true
    slackNotification:
        enable: false
        reloadTaskFailure: { webhookURL: "https://example.test/${not a variable" }
    genericUrls:
        - id: a
    fileCopyApprovedDirectories:
        # - fromDirectory: /a
    mqttConfig:
        enable: true
        brokerHost: 10.11.12.13
        brokerPort: 1883
        azureEventGrid: { enable: false, clientId: <client ID>, clientCertFile: <path> }
        taskFailureSendFull: true
        subscriptionRootTopic: qliksense/#
        taskStartTopic: qliksense/start_task
        taskFailureTopic: qliksense/task_failure
        qlikSenseCloud: { event: { mqttForward: { enable: false } } }
    restServerConfig:
        enable: false
        serverHost: 10.11.12.13
        serverPort: 8080
        backgroundServerPort: 8081
        tls: { enable: false, cert: /path/to/cert/certfile.pem, key: /path/to/cert/keyfile.pem, ca: "" }
    restServerEndpointsEnable: { senseStartTask: false, newRelic: { postNewRelicMetric: false } }
    startTaskFilter:
        enable: false
        allowTask:
            taskId:
                # - e3b27f50-b1c0-4879-88fc-c7cdd9c1cf3e
            tag:
                # - startTask1
            customProperty:
                # - name: taskGroup
    cert:
        clientCert: client.pem
        clientCertKey: client_key.pem
        clientCertCA: <path/to/cert/root.pem>
        clientCertPassphrase:
    configEngine: { engineVersion: 12.612.0, host: 10.11.12.13, port: 4747 }
    configQRS:
        authentication: certificates
        host: 10.11.12.13
        useSSL: true
        port: 4242
        headers:
            static:
                - name: X-Qlik-User
                  value: UserDirectory=Internal;UserId=sa_repository
        rejectUnauthorized:
            false # no checking
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("client.pem", "client_key.pem"):
        (tmp_path / name).write_text(PEM)
    return tmp_path


def test_butlers_values_are_taken_over(folder: Path) -> None:
    loaded = load_whole(folder, BUTLER)
    assert loaded.log_level == "debug"
    assert loaded.mqtt.task_start_topic == "qliksense/start_task"
    assert loaded.qrs.host == "10.11.12.13"
    assert loaded.qrs.headers == (("X-Qlik-User", "UserDirectory=Internal;UserId=sa_repository"),)
    assert not loaded.qrs.reject_unauthorized
    assert loaded.start_task_filter.tags == ()
    assert loaded.rest.tls.ca is None


def test_what_means_nothing_here_is_named_with_sections_as_one_word(folder: Path) -> None:
    assert load_whole(folder, BUTLER).ignored == (
        "fileLogging",
        "anonTelemetry",
        "slackNotification",
        "genericUrls",
        "fileCopyApprovedDirectories",
        "mqttConfig.azureEventGrid",
        "mqttConfig.taskFailureSendFull",
        "mqttConfig.subscriptionRootTopic",
        "mqttConfig.taskFailureTopic",
        "mqttConfig.qlikSenseCloud",
        "restServerConfig.backgroundServerPort",
        "restServerEndpointsEnable",
        "cert.clientCertPassphrase",
        "configEngine",
    )


def test_the_one_thing_to_add_is_a_choice_for_a_rest_server_beyond_loopback(folder: Path) -> None:
    text = BUTLER.replace(
        "restServerConfig:\n        enable: false", "restServerConfig:\n        enable: true"
    )
    (problem,) = problems_of_whole(folder, text)
    assert "Butler.restServerConfig.serverHost: '10.11.12.13' lets other machines start tasks" in problem


def test_no_key_is_both_known_and_ignored() -> None:
    known = {dotted(place) for place in keys_of(schema())}
    ignored = {f"{section}.{key}" for section, keys in butler_keys().items() for key in keys}
    assert len(ignored) > 50
    assert not known & ignored

"""What the schema says of Butler's keys: a configuration file made for Butler works as it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from butler_mqtt.config import loader
from butler_mqtt.config.schema import butler_keys, keys_of, schema
from butler_mqtt.config.yaml_file import Place, dotted
from butler_mqtt.errors import ConfigError
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


#: Something of everything, so that each key can be set to null.
EVERYTHING = """
Butler:
    configQRS:
        host: sense.test
        useSSL: false
        headers: { static: [{ name: X-Qlik-User, value: x }] }
    startTaskFilter:
        allowTask: { taskId: [ID], tag: [a], customProperty: [{ name: a, value: b }] }
    restServerConfig:
        enable: true
        auth: { tokens: [{ name: erp, tokenFile: token }] }
    senders:
        - name: erp
          topic: start/erp
          tokens: [erp]
          rules: [orders]
          certificates: []
          may: [start]
          allowTask: { taskId: [ID], tag: [a], customProperty: [{ name: a, value: b }] }
    rules:
        - name: orders
          topic: [erp/orders]
          webhook: { secretFile: secret, signatureHeader: X-Signature }
          start: { tag: a, requestId: "${{ payload.id }}" }
          when: "true"
          coalesce: { quietSeconds: 1, maxSeconds: 2, key: topic }
    alerts:
        targets:
            - name: team
              urlFile: url
              "on": [overdue]
              tasks: { tag: [a], customProperty: [{ name: a, value: b }] }
        overdue:
            - { tag: a, everySeconds: 60 }
            - { customProperty: { name: a, value: b }, everySeconds: 60 }
""".replace("ID", "7552d9fc-d1bb-4975-9a38-18357de531ea")


def places(part: Any, value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the place of each key of the schema, in each entry that a list of *value* has."""
    part = schema()["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
    for key, inner in part.get("properties", {}).items():
        yield (*place, key)
        yield from places(inner, value.get(key, {}) if isinstance(value, dict) else {}, (*place, key))
    for index, item in enumerate(value if isinstance(value, list) else ()):
        yield (*place, index)
        yield from places(part.get("items", {}), item, (*place, index))


def changed(value: Any, place: Place, *, absent: bool) -> Any:
    """Return a copy of *value* with null, or nothing, at *place*."""
    whole = holder = copy.deepcopy(value)
    for key in place[:-1]:
        holder = holder.setdefault(key, {}) if isinstance(holder, dict) else holder[key]
    holder[place[-1]] = None
    if absent:
        del holder[place[-1]]
    return whole


def test_an_editor_and_the_daemon_take_null_at_the_same_keys(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    validator = jsonschema.Draft202012Validator(schema())

    def works(content: Any) -> bool:
        # JSON is YAML, and is read faster.
        file.write_text(json.dumps(content))
        try:
            loader.load(file, {}, check_files=False)
        except ConfigError:
            return False
        return True

    everything = yaml.safe_load(EVERYTHING)
    assert works(everything)
    assert validator.is_valid(everything)
    differ = []
    for place in places(schema(), everything):
        content = changed(everything, place, absent=False)
        shown, taken = validator.is_valid(content), works(content)
        # One of two keys may be needed, which a schema does not say: then it is as if the key were absent.
        if shown != taken and (taken or works(changed(everything, place, absent=True))):
            differ.append((dotted(place), "editor" if shown else "daemon"))
    assert differ == []

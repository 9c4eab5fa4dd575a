"""config.yaml, the schema, docs/configuration.md and the defaults of the settings agree."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from butler_mqtt.config import loader, yaml_file
from butler_mqtt.config.schema import keys_of, schema
from butler_mqtt.settings import JournalSettings, QrsSettings, Settings
from tests.project import ROOT
from tests.unit.config.configuration_files import PEM

#: They have no default: every site has its own.
SITE = {"configQRS.host", "cert.clientCert", "cert.clientCertKey", "cert.clientCertCA"}


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Give the values by their dotted keys; lists are values."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= leaves(inner, f"{prefix}.{key}" if prefix else key)
    return found


def in_file() -> dict[str, Any]:
    value = yaml_file.parse((ROOT / "config.yaml").read_text("utf-8")).value
    assert isinstance(value, dict)
    return leaves(value["Butler"])


def in_schema() -> set[str]:
    places = {yaml_file.dotted(place) for place in keys_of(schema()["properties"]["Butler"])}
    return {place for place in places if not any(other.startswith(f"{place}.") for other in places)}


def in_docs() -> dict[str, str]:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (?:`(.*?)`|—) \|.*\|.*\.\ \|$", text, re.MULTILINE)
    return {key: default for key, default in rows if key in in_schema()}


def test_the_file_and_the_schema_have_the_same_keys() -> None:
    assert set(in_file()) == in_schema()


def test_the_documentation_explains_every_key() -> None:
    assert set(in_docs()) == in_schema()


def test_the_documentation_tells_the_defaults_of_the_file() -> None:
    shown = {key: default for key, default in in_docs().items() if key not in SITE}
    meant = {
        key: yaml_file.parse(f"a: {default}").value for key, default in shown.items() if "{" not in default
    }
    written = in_file()
    assert meant == {key: {"a": written[key]} for key in meant}
    (headers,) = set(shown) - set(meant)
    (static,) = written[headers]
    assert shown[headers] == f"[{{name: {static['name']}, value: {static['value']}}}]"


def test_values_of_the_file_are_the_defaults_of_the_settings() -> None:
    loaded = loader.load(ROOT / "config.yaml", {}, check_files=False)
    site = QrsSettings(
        host="sense.example.com",
        client_cert=ROOT / "client.pem",
        client_cert_key=ROOT / "client_key.pem",
        client_cert_ca=ROOT / "root.pem",
    )
    journal = JournalSettings(url=f"sqlite:///{ROOT}/butler-mqtt.sqlite")
    assert loaded == replace(Settings(), qrs=site, journal=journal)


def test_a_file_without_any_key_but_those_of_the_site_means_the_same(tmp_path: Path) -> None:
    text = (ROOT / "config.yaml").read_text("utf-8")
    (tmp_path / "whole.yaml").write_text(text, "utf-8")
    short = {"configQRS": {"host": "sense.example.com"}}
    cert = {"clientCert": "client.pem", "clientCertKey": "client_key.pem", "clientCertCA": "root.pem"}
    (tmp_path / "short.yaml").write_text(json.dumps({"Butler": short | {"cert": cert}}), "utf-8")
    whole = loader.load(tmp_path / "whole.yaml", {}, check_files=False)
    assert loader.load(tmp_path / "short.yaml", {}, check_files=False) == whole


def test_the_file_works_with_its_certificates_beside_it(tmp_path: Path) -> None:
    text = (ROOT / "config.yaml").read_text("utf-8").replace("sense.example.com", "sense.test")
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    for name in ("client.pem", "client_key.pem", "root.pem"):
        (tmp_path / name).write_text(PEM)
    assert loader.load(tmp_path / "config.yaml", {}).qrs.host == "sense.test"


def test_every_part_of_the_schema_tells_an_operator_what_is_allowed() -> None:
    def silent(part: Any, place: str) -> list[str]:
        if isinstance(part, list):
            return [found for inner in part for found in silent(inner, place)]
        if not isinstance(part, dict):
            return []
        own = [place] if "type" in part and "description" not in part and "anyOf" not in place else []
        return own + [found for key, inner in part.items() for found in silent(inner, f"{place}/{key}")]

    assert silent(schema(), "") == []


def test_a_sender_reads_the_brokers_password_and_none_of_the_daemons_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "config.yaml").write_text(
        "Butler:\n"
        "  mqttConfig: { username: erp, passwordFile: password }\n"
        "  configQRS: { host: sense.example.com }\n"
        "  cert: { clientCert: absent.pem, clientCertKey: absent.pem }\n"
    )
    assert loader.load(tmp_path / "config.yaml", {}, check_files=False).mqtt.password == "secret"
    loaded = loader.load(tmp_path / "config.yaml", {}, check_files=False, log_in=False)
    assert loaded.mqtt.password is None

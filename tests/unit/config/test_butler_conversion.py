"""What Butler's keys become; `cli/test_from_butler.py` has whole files."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.config.butler_conversion import Conversion, convert, shown
from butler_mqtt.config.yaml_file import parse
from butler_mqtt.errors import ConfigError

QRS = "Butler:\n  configQRS: {host: sense.test, useSSL: false}\n"


def converted(sections: str = "", source: Path = Path("/etc/butler/config.yaml")) -> Conversion:
    return convert(source, parse(QRS + sections), Path("/etc/butler-mqtt"), {"DIR": "/x"})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("a" * 60, "a" * 60),
        ("a" * 61, "a" * 60 + "…"),
        ("two\nlines", '"two\\nlines"'),
        (None, "null"),
        (True, "true"),
        ([1], "a list"),
        ({}, "a section"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("/certs/a.pem", "/certs/a.pem"),
        ("a.pem", "/etc/butler/a.pem"),
        ("../butler-mqtt/a.pem", "a.pem"),
        ("'${DIR}/a.pem'", "${DIR}/a.pem"),
        ("''", None),
    ],
)
def test_a_relative_file_is_that_beside_the_file_of_butler(written: str, kept: str | None) -> None:
    made = converted(f"  cert: {{clientCert: {written}}}\n")
    assert made.values["cert", "clientCert"] == kept


@pytest.mark.parametrize("path", [r"C:\a.pem", "c:/a.pem", r"\\server\a.pem"])
def test_a_file_on_windows_is_for_a_person_to_copy(path: str) -> None:
    made = converted(f"  cert: {{clientCert: '{path}'}}\n")
    assert ("cert", "clientCert") not in made.values
    assert "copy the file" in made.choices[0]


@pytest.mark.parametrize("text", ["", "[]", "other: 1", "Butler: 1", "Butler: {logLevel: info}"], ids=str)
def test_what_is_no_file_of_butler_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        convert(Path("x.yaml"), parse(text), Path(), {})


def test_what_is_off_is_noted_and_nothing_to_decide() -> None:
    made = converted("  restServerConfig: {enable: false, serverHost: 10.0.0.1, tls: {ca: root.pem}}\n")
    assert made.choices == []

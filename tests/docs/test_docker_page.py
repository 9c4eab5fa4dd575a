"""docs/docker.md and deploy/docker, held to each other and to the program."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from butler_mqtt.config import loader
from tests.project import ROOT

FOLDER = ROOT / "deploy" / "docker"
PAGE = (ROOT / "docs" / "docker.md").read_text("utf-8")
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
CONFIG = (FOLDER / "config.yaml").read_text("utf-8")


def test_the_configuration_of_the_image_needs_the_qlik_host_alone(tmp_path: Path) -> None:
    environ = {"QLIK_HOST": "sense.test", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    loaded = loader.load(FOLDER / "config.yaml", environ, check_files=False)
    assert loaded.monitoring.enable
    assert (loaded.mqtt.broker_host, loaded.qrs.port) == ("mosquitto", 4242)
    assert loaded.qrs.client_cert == tmp_path / "client.pem"


def test_the_page_names_every_variable_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\|", PAGE, re.MULTILINE)
    assert dict(rows) == dict(re.findall(r"\$\{([A-Z_]+)(?::-([^}]*))?\}", CONFIG))


def test_compose_gives_the_secrets_that_the_configuration_names() -> None:
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    named = re.findall(r"\$CREDENTIALS_DIRECTORY/(\S+)", CONFIG)
    service = compose["services"]["butler-mqtt"]
    assert service["secrets"] == named == list(compose["secrets"])
    assert "CREDENTIALS_DIRECTORY=/run/secrets" in DOCKERFILE
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_the_image_runs_the_daemon_as_a_user_that_is_not_root_and_asks_for_its_health() -> None:
    user = re.search(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    assert user is not None
    assert 'CMD ["butler-mqtt", "health"]' in DOCKERFILE
    assert f"as user {user[1]} " in PAGE

"""Where commands find the configuration and the folders of the service when they are typed on its machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from butler_mqtt.cli.service_places import (
    DEFAULT_CONFIG,
    SERVICE,
    ServicePlaces,
    environ_for,
    found_config,
)
from tests.project import ROOT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def service(tmp_path: Path) -> ServicePlaces:
    """Give those of an installed service; only its credentials are there beside its configuration."""
    (tmp_path / "etc/credentials").mkdir(parents=True)
    (tmp_path / "etc/config.yaml").touch()
    directories = {
        "CREDENTIALS_DIRECTORY": tmp_path / "etc/credentials",
        "STATE_DIRECTORY": tmp_path / "state",
    }
    return ServicePlaces(tmp_path / "etc/config.yaml", directories)


def test_the_file_of_the_current_folder_comes_first(here: Path, service: ServicePlaces) -> None:
    (here / "config.yaml").touch()
    assert found_config(service) == DEFAULT_CONFIG


@pytest.mark.usefixtures("here")
def test_without_one_it_is_the_service_s(service: ServicePlaces) -> None:
    assert found_config(service) == service.config


@pytest.mark.usefixtures("here")
def test_without_either_it_is_that_of_the_current_folder_which_init_makes(service: ServicePlaces) -> None:
    service.config.unlink()
    assert found_config(service) == DEFAULT_CONFIG


def test_the_service_s_file_needs_none_of_systemd_s_variables(service: ServicePlaces) -> None:
    environ = environ_for(service.config, {"HOME": "/root"}, service)
    assert environ == {
        "HOME": "/root",
        "CREDENTIALS_DIRECTORY": str(service.directories["CREDENTIALS_DIRECTORY"]),
    }


def test_a_variable_that_is_set_counts(service: ServicePlaces) -> None:
    environ = environ_for(service.config, {"CREDENTIALS_DIRECTORY": "/elsewhere"}, service)
    assert environ == {"CREDENTIALS_DIRECTORY": "/elsewhere"}


def test_another_file_knows_nothing_of_the_service(service: ServicePlaces, tmp_path: Path) -> None:
    assert environ_for(tmp_path / "config.yaml", {}, service) == {}


#: Says whether the file it is given is there, as a user who may not look at it.
LOOK = """
import os, sys
from pathlib import Path
from butler_mqtt.cli.service_places import is_there
if os.geteuid() == 0:
    os.setuid(65534)
print(is_there(Path(sys.argv[1])))
"""


def test_what_this_user_may_not_look_at_is_there(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    look = [sys.executable, "-c", LOOK, str(closed / "config.yaml")]
    assert subprocess.run(look, capture_output=True, text=True, check=True).stdout == "True\n"


def test_the_places_are_those_of_the_installation_and_of_the_unit() -> None:
    page = (ROOT / "docs/install.md").read_text("utf-8")
    unit = (ROOT / "systemd/butler-mqtt.service").read_text("utf-8")
    assert f"-c {SERVICE.config}" in unit
    assert f" {SERVICE.directories['CREDENTIALS_DIRECTORY']}\n" in page
    assert f"The journal is kept in `{SERVICE.directories['STATE_DIRECTORY']}`." in page

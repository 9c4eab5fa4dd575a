"""The lines about the addresses that the daemon is to listen on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from butler_mqtt import posix
from butler_mqtt.checks import addresses
from butler_mqtt.checks.finding import State
from butler_mqtt.settings import JournalSettings, MonitoringSettings, RestSettings, Settings
from tests.brokers import free_port
from tests.integration.checks.site_and_broker import bad, by_name


@pytest.fixture
def taken() -> Iterator[int]:
    """Give a port of 127.0.0.1 that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def settings(folder: Path, *, rest: int, monitoring: int, host: str = "127.0.0.1") -> Settings:
    return Settings(
        journal=JournalSettings(url=f"sqlite:///{folder}/journal.sqlite"),
        rest=RestSettings(enable=True, server_host=host, server_port=rest),
        monitoring=MonitoringSettings(enable=True, host=host, port=monitoring),
    )


def test_ports_that_are_free_are_fine(tmp_path: Path) -> None:
    found = by_name(addresses.check(settings(tmp_path, rest=free_port(), monitoring=free_port())))
    assert {name: one.state for name, one in found.items()} == {
        "rest.port": State.OK,
        "monitoring.port": State.OK,
    }


def test_a_port_that_is_taken_is_wrong_and_named(tmp_path: Path, taken: int) -> None:
    found = [*addresses.check(settings(tmp_path, rest=taken, monitoring=taken))]
    assert bad(found) == {"rest.port": State.WRONG, "monitoring.port": State.WRONG}
    line = by_name(found)["rest.port"]
    assert f"127.0.0.1:{taken}" in line.text
    assert "restServerConfig.serverPort" in line.advice


def test_a_running_daemon_has_its_ports(tmp_path: Path, taken: int) -> None:
    lock = posix.lock(tmp_path / "journal.sqlite.lock")
    try:
        assert bad(addresses.check(settings(tmp_path, rest=taken, monitoring=taken))) == {}
    finally:
        os.close(lock)


def test_an_address_of_another_machine_is_wrong(tmp_path: Path) -> None:
    foreign = settings(tmp_path, rest=free_port(), monitoring=free_port(), host="192.0.2.1")
    found = [*addresses.check(foreign)]
    assert bad(found) == {"rest.port": State.WRONG, "monitoring.port": State.WRONG}
    assert "an address of this machine" in by_name(found)["rest.port"].advice


def test_listeners_that_are_off_have_no_lines() -> None:
    assert [*addresses.check(Settings())] == []

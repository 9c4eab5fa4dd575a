"""What is wrong with the TLS of a site is named for what it is, by errors, which the log has, and `check`."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from butler_mqtt.checks import qlik
from butler_mqtt.checks.finding import Finding, State
from butler_mqtt.domain.model import Task
from butler_mqtt.errors import QlikError
from butler_mqtt.qrs.repository import RepositoryClient
from butler_mqtt.settings import QrsSettings, Settings
from tests.integration.checks.site_and_broker import by_name
from tests.integration.qrs import tls_sites
from tests.integration.qrs.tls_sites import (
    FAULTS,
    OLD_ROOT,
    OWN_FAULTS,
    Fault,
    ResettingServer,
    Site,
    settings_of,
)

TASK = Task("fb0f317d-da91-4b86-aafa-0174ae1e8c8f", "Sales", 0)
ALL = FAULTS | OWN_FAULTS
by_fault = pytest.mark.parametrize("fault", ALL.values(), ids=[one.replace(" ", "-") for one in ALL])


def error_of(settings: QrsSettings) -> str:
    connection = RepositoryClient(settings, threading.Event()).connection()
    try:
        with pytest.raises(QlikError) as caught:
            connection.start(TASK)
    finally:
        connection.close()
    return str(caught.value)


def wrong(settings: QrsSettings) -> list[Finding]:
    found = [*qlik.check(Settings(qrs=settings))]
    return [one for one in found if one.state in {State.WRONG, State.UNREACHABLE}]


@by_fault
def test_the_error_names_it_and_what_to_do(tmp_path: Path, fault: Fault) -> None:
    with tls_sites.running(tmp_path, fault.site) as server:
        text = error_of(settings_of(tmp_path, server.port, fault.site))
        assert server.calls == []
    assert fault.words in text.lower().replace("_", " ") + text
    assert fault.advice in text


@by_fault
def test_check_names_it_and_what_to_do(tmp_path: Path, fault: Fault) -> None:
    with tls_sites.running(tmp_path, fault.site) as server:
        found = wrong(settings_of(tmp_path, server.port, fault.site))
        assert server.calls == []
    assert [(one.name, one.state) for one in found] == [(line, State.WRONG) for line in fault.lines]
    text = f"{found[-1].text}; {found[-1].advice}"
    assert fault.words in text.lower().replace("_", " ") + text
    assert fault.advice in text
    assert "firewall" not in text


def test_a_server_that_resets_the_handshake_is_unreached_and_the_causes_are_named(tmp_path: Path) -> None:
    site = Site(kind=ResettingServer)
    with tls_sites.running(tmp_path, site) as server:
        settings = settings_of(tmp_path, server.port, site)
        assert "refuses our certificate" in error_of(settings)
        (line,) = wrong(settings)
    assert (line.name, line.state) == ("qlik.connection", State.UNREACHABLE)
    assert "is being restarted, refuses our certificate" in line.text
    assert "or has no TLS 1.2" in line.text


def test_an_old_root_is_told_and_works(tmp_path: Path) -> None:
    site = Site(root=OLD_ROOT)
    with tls_sites.running(tmp_path, site) as server:
        found = by_name(qlik.check(Settings(qrs=settings_of(tmp_path, server.port, site))))
    assert found["qlik.oldRoot"].state is State.WARNING
    assert str(tmp_path / "root.pem") in found["qlik.oldRoot"].text
    assert found["qlik.serverCertificate"].state is State.OK
    assert found["qlik.issuer"].state is State.OK


def test_a_root_as_sites_have_it_now_has_no_line(tmp_path: Path) -> None:
    site = Site()
    with tls_sites.running(tmp_path, site) as server:
        found = by_name(qlik.check(Settings(qrs=settings_of(tmp_path, server.port, site))))
    assert "qlik.oldRoot" not in found

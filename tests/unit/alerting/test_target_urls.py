"""Whether the URL of a target can be used."""

from __future__ import annotations

from butler_mqtt.alerting.target_urls import MISSING, url_fault


def test_without_apprise_it_is_said_what_to_install_and_nothing_is_loaded() -> None:
    assert url_fault("json://h", installed=lambda: False) == MISSING


def test_a_url_that_no_service_takes_is_not_quoted() -> None:
    fault = url_fault("nothing://secret@h", installed=lambda: True)
    assert fault
    assert "secret" not in fault

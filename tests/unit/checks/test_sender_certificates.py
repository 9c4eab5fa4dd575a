"""Senders by certificate, where the listener asks for none."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.checks import sender_certificates
from butler_mqtt.settings import RestSettings, RestTls, Sender, Settings

SENDERS = (Sender("erp", certificates=("erp.example.com",)), Sender("crm", tokens=("crm",)))
CA = Path("ca.pem")


@pytest.mark.parametrize(
    ("tls", "cause"),
    [(RestTls(enable=True), "tls.ca is not set"), (RestTls(ca=CA), "tls.enable is false")],
    ids=["no-ca", "no-tls"],
)
def test_a_certificate_that_nobody_is_asked_for_is_named_with_its_sender(tls: RestTls, cause: str) -> None:
    settings = Settings(senders=SENDERS, rest=RestSettings(enable=True, tls=tls))
    [finding] = sender_certificates.check(settings)
    assert (finding.name, finding.state) == ("rest.certificates", "wrong")
    assert f"restServerConfig.{cause}" in finding.text
    assert "the sender erp (erp.example.com)" in finding.text


@pytest.mark.parametrize(
    "rest",
    [RestSettings(), RestSettings(enable=True, tls=RestTls(enable=True, ca=CA))],
    ids=["listener-off", "with-ca"],
)
def test_nothing_is_said_where_they_are_asked_for_or_nobody_listens(rest: RestSettings) -> None:
    assert list(sender_certificates.check(Settings(senders=SENDERS, rest=rest))) == []

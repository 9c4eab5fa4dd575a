"""Checks whether the client certificates of senders can be shown to the REST listener."""

from __future__ import annotations

from collections.abc import Iterator

from butler_mqtt.checks.finding import Finding, wrong
from butler_mqtt.settings import Settings


def check(settings: Settings) -> Iterator[Finding]:
    """Name each sender with certificates that the listener, while it is on, asks nobody for."""
    rest = settings.rest
    if not rest.enable or (rest.tls.enable and rest.tls.ca is not None):
        return
    key = "ca is not set" if rest.tls.enable else "enable is false"
    for sender in settings.senders:
        if sender.certificates:
            yield wrong(
                "rest.certificates",
                f"restServerConfig.tls.{key}, so that callers are asked for no certificate: those of the "
                f"sender {sender.name} ({', '.join(sender.certificates)}) never count",
                "set restServerConfig.tls with enable, cert, key and ca (the CA that issued them), or give "
                "the sender a token (butler-mqtt token add) instead",
            )

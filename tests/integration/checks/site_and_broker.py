"""What the tests of `check` share."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from butler_mqtt import settings
from butler_mqtt.checks.finding import Finding, State
from tests import programs
from tests.brokers import Mosquitto
from tests.integration.simulator.running import Running

GOOD = {State.OK}


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Give the worst finding of each name."""
    worst: dict[str, Finding] = {}
    for one in findings:
        if one.name not in worst or worst[one.name].state is State.OK:
            worst[one.name] = one
    return worst


def bad(findings: Iterable[Finding]) -> dict[str, State]:
    """Give the states of all that is not as it should be, by name."""
    return {one.name: one.state for one in findings if one.state is not State.OK}


def site_settings(site: Running, **changes: object) -> settings.Settings:
    """Return settings for the simulator; *changes* are further fields of `settings.Qrs`."""
    where = urlsplit(site.url)
    assert where.hostname is not None
    assert where.port is not None
    qrs = settings.QrsSettings(
        host=where.hostname,
        port=where.port,
        client_cert=site.certs / "client.pem",
        client_cert_key=site.certs / "client_key.pem",
        client_cert_ca=site.certs / "root.pem",
    )
    return settings.Settings(qrs=replace(qrs, **changes))  # type: ignore[arg-type] # a test names fields it knows


def proxy_settings(site: Running, token: Path) -> settings.Settings:
    """Return settings for the simulator's proxy, with the token in a file."""
    where = urlsplit(site.proxy_url)
    changes: dict[str, object] = {
        "authentication": "jwt",
        "port": where.port,
        "virtual_proxy": "butler",
        "jwt_file": token,
        "headers": (),
        "client_cert": None,
        "client_cert_key": None,
    }
    return site_settings(site, **changes)


def run(config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    command = [sys.executable, "-m", "butler_mqtt", "check", "-c", str(config), *options]
    return programs.run(command)


def client_ids(broker: Mosquitto) -> set[str]:
    """Give the ids of all probes that the broker has seen."""
    return set(re.findall(r"as (\S+-check-\S+) \(", broker.log()))

"""What the tests of the page share: one simulator, one daemon with the page on, one browser."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.acceptance.rig import Daemon, Qlik
from tests.brokers import Mosquitto
from tests.integration.http.daemon_with_listeners import ListeningDaemon
from tests.integration.simulator.running import running

CHROMIUM = "/usr/bin/chromium"
# Machines are shared: what a page shows in the end is judged, not when.
expect.set_options(timeout=30_000)
RULE = {"name": "orders-closed", "topic": ["erp/+/orders/closed"], "start": {"tag": "finance"}}
#: Tokens by their names; each is the token itself too.
ROLES = {"night-operator": "operator", "wall-display": "reader", "erp": "sender"}


def tokens(*names: str) -> list[dict[str, object]]:
    """Return the entries of `auth.tokens` for these names."""
    return [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "role": ROLES[name]}
        for name in names
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qlik]:
    with running(tmp_path_factory.mktemp("site") / "certs") as simulator:
        server = Qlik(simulator)
        yield server
        server.close()


@pytest.fixture(scope="module")
def paged(site: Qlik, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListeningDaemon]:
    """A daemon with the page, shared by the tests of a module."""
    folder: Path = tmp_path_factory.mktemp("paged")
    with Mosquitto(folder / "broker") as broker:
        daemon = Daemon(folder / "daemon", site, broker, webPage={"enable": True})
        listening = ListeningDaemon(daemon, site, broker=broker, rest={"auth": {"tokens": tokens(*ROLES)}})
        daemon.config["rules"] = [RULE]  # type: ignore[assignment] # a list, unlike the other sections
        daemon.configure()
        listening.session.headers["Authorization"] = "Bearer erp"
        listening.start()
        yield listening
        listening.session.close()
        daemon.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()

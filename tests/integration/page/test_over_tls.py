"""The page over TLS, as a browser on another machine has it: under a name of `webPage.origins`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.rig import Daemon, Qlik
from tests.integration.http.daemon_with_listeners import ListeningDaemon
from tests.integration.http.test_tls import Files
from tests.integration.page.conftest import CHROMIUM, tokens

NAME = "butler.example.com"


@pytest.fixture
def secure(site: Qlik, tmp_path: Path) -> Iterator[ListeningDaemon]:
    """A daemon whose REST listener speaks TLS."""
    folder = tmp_path / "certs"
    folder.mkdir()
    made = Files(folder)
    tls = {"enable": True, "cert": str(made.cert), "key": str(made.key)}
    daemon = Daemon(tmp_path / "daemon", site, 1, mqttConfig={"enable": False})
    listening = ListeningDaemon(daemon, site, rest={"tls": tls, "auth": {"tokens": tokens("night-operator")}})
    daemon.configure(webPage={"enable": True, "origins": [f"https://{NAME}:{listening.port}"]})
    listening.session.verify = str(made.ca)
    listening.session.headers["Authorization"] = "Bearer night-operator"
    yield listening.start()
    listening.session.close()
    daemon.close()


def test_a_browser_signs_in_starts_a_task_and_keeps_its_session_for_https_alone(
    browser: Browser, secure: ListeningDaemon
) -> None:
    task = secure.qlik.task("Over TLS")
    # It is this machine all the same, and the certificate is of an authority that no browser knows.
    mapped = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
    chromium = browser.browser_type.launch(executable_path=CHROMIUM, args=["--no-sandbox", mapped])
    tab = chromium.new_page(ignore_https_errors=True)
    tab.goto(f"https://{NAME}:{secure.port}/ui/start?taskId={task}")
    tab.get_by_label("Token").fill("night-operator")
    tab.get_by_role("button", name="Sign in").click()
    expect(tab.locator("#value")).to_have_value(task)
    tab.get_by_role("button", name="See what would start").click()
    tab.get_by_role("button", name="Start 1 task now").click()
    expect(tab.get_by_role("main").get_by_text("succeeded", exact=True)).to_be_visible()
    assert secure.qlik.executions(task) == 1
    [cookie] = tab.context.cookies()
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
    chromium.close()

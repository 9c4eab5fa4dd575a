"""The API's description over HTTP: the whole of it, and a page that loads nothing."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
from pathlib import Path

import requests

from butler_mqtt.http.api import openapi_completion
from butler_mqtt.settings import RestSettings, Token
from tests.integration.http.rest_listener import door

CHROMIUM = "/usr/bin/chromium"
ROUTE = "/v4/reloadtask/{taskId}/start"


def test_the_description_is_served_whole() -> None:
    with door() as one:
        assert requests.get(one.url + "/openapi.json", timeout=10).json() == openapi_completion.document()
        answer = requests.get(one.url + "/docs", timeout=10)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


class Recorder(http.server.BaseHTTPRequestHandler):
    """A proxy that records what it is asked for and answers nothing."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(502)

    def do_CONNECT(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log nothing."""


def shown_by_a_browser(url: str, folder: Path, *options: str) -> str:
    """Return what Chromium shows for *url*, as HTML."""
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            f"--user-data-dir={folder}",
            *options,
            "--virtual-time-budget=3000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_a_browser_shows_the_page_and_asks_nobody_else(tmp_path: Path) -> None:
    asked: list[str] = []
    recorder = type("Bound", (Recorder,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), recorder) as proxy, door() as one:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        page = shown_by_a_browser(
            f"{one.url}/docs",
            tmp_path,
            f"--proxy-server=127.0.0.1:{proxy.server_port}",
            f"--proxy-bypass-list=127.0.0.1:{one.port}",
        )
        proxy.shutdown()
    assert ROUTE in page
    # The browser's own housekeeping is not the page's.
    assert [url for url in asked if "google" not in url and "gvt1" not in url] == []


def test_a_browser_signs_in_with_the_token_as_password(tmp_path: Path) -> None:
    token = Token("erp", hashlib.sha256(b"secret").hexdigest())
    with door(RestSettings(tokens=(token,))) as one:
        address = f"127.0.0.1:{one.port}/docs"
        options = ("--no-proxy-server",)
        assert ROUTE in shown_by_a_browser(f"http://anybody:secret@{address}", tmp_path / "known", *options)
        wrong = shown_by_a_browser(f"http://anybody:wrong@{address}", tmp_path / "unknown", *options)
        assert ROUTE not in wrong

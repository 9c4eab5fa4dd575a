"""The API's description over HTTP: the whole of it, and a page that loads nothing."""

from __future__ import annotations

import http.server
import subprocess
import threading
from pathlib import Path

import requests

from butler_mqtt.http.api import openapi
from tests.integration.http.rest_listener import door

CHROMIUM = "/usr/bin/chromium"


def test_the_description_is_served_whole() -> None:
    with door() as one:
        assert requests.get(one.url + "/openapi.json", timeout=10).json() == openapi.document()
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


def test_a_browser_shows_the_page_and_asks_nobody_else(tmp_path: Path) -> None:
    asked: list[str] = []
    recorder = type("Bound", (Recorder,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), recorder) as proxy, door() as one:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
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
                f"--user-data-dir={tmp_path}",
                f"--proxy-server=127.0.0.1:{proxy.server_port}",
                f"--proxy-bypass-list=127.0.0.1:{one.port}",
                "--virtual-time-budget=3000",
                "--dump-dom",
                f"{one.url}/docs",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        proxy.shutdown()
    assert "/v4/reloadtask/{taskId}/start" in done.stdout
    # The browser's own housekeeping is not the page's.
    assert [url for url in asked if "google" not in url and "gvt1" not in url] == []

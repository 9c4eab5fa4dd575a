"""`butler-mqtt health` against a running daemon, one that does not work, and others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from butler_mqtt.exit_codes import ExitCode
from tests import programs
from tests.brokers import free_port
from tests.integration.http.daemon_with_listeners import ListeningDaemon


def health(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    command = [sys.executable, "-m", "butler_mqtt", "health", *options]
    return programs.run(command, cwd=folder)


class Scripted(HTTPServer):
    """Answers every call with one status and body, and keeps the paths that were asked for."""

    status = 200
    body = b""

    def __init__(self) -> None:
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path)
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_args: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def configured(folder: Path, **monitoring: object) -> str:
    """Write a configuration whose certificates are not there, as nothing of them is needed."""
    file = folder / "config.yaml"
    butler = {
        "configQRS": {"host": "localhost"},
        "cert": {"clientCert": "client.pem", "clientCertKey": "client_key.pem"},
        "monitoring": monitoring,
    }
    file.write_text(yaml.safe_dump({"Butler": butler}))
    return str(file)


def test_a_daemon_that_works_ends_it_with_0_wherever_its_address_is_from(
    listening: ListeningDaemon, tmp_path: Path
) -> None:
    named = health("--url", listening.monitoring, folder=tmp_path)
    configured = health("-c", str(listening.daemon.config_file), folder=tmp_path)
    for done in (named, configured):
        assert (done.returncode, done.stdout) == (0, "healthy: threads, journal, subscription\n"), done.stderr


def test_the_rest_listener_can_be_asked_too(listening: ListeningDaemon, tmp_path: Path) -> None:
    assert health("--url", listening.url, folder=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("host", "asked"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")],  # noqa: S104 -- nothing listens there
)
def test_a_listener_on_all_addresses_is_asked_on_loopback(host: str, asked: str, tmp_path: Path) -> None:
    port = free_port()
    done = health("-c", configured(tmp_path, enable=True, host=host, port=port), folder=tmp_path)
    assert done.returncode == ExitCode.UNAVAILABLE
    assert f"not reached: http://{asked}:{port}: " in done.stderr


def test_a_daemon_that_is_not_healthy_ends_it_with_1_and_says_what_fails(
    scripted: Scripted, tmp_path: Path
) -> None:
    scripted.status = 503
    scripted.body = b'{"status": "failed", "checks": {"threads": "ok", "journal": "cannot be written"}}'
    done = health("--url", f"{scripted.url}/", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "not healthy: journal: cannot be written\n")
    assert scripted.paths == ["/healthz"]


@pytest.mark.parametrize("body", [b"", b"ok", b'{"status": "ok"}', b"[1]", b"<html>"], ids=repr)
def test_another_program_is_not_a_healthy_daemon(body: bytes, scripted: Scripted, tmp_path: Path) -> None:
    scripted.body = body
    done = health("--url", scripted.url, folder=tmp_path)
    assert done.returncode == 1
    assert "is it another program?" in done.stderr


def test_a_path_before_healthz_is_kept(scripted: Scripted, tmp_path: Path) -> None:
    scripted.body = b'{"status": "ok", "checks": {"threads": "ok"}}'
    assert health("--url", f"{scripted.url}/butler/healthz", folder=tmp_path).returncode == 0
    assert scripted.paths == ["/butler/healthz"]


def test_a_listener_that_is_off_ends_it_with_69_and_names_the_key(tmp_path: Path) -> None:
    done = health("-c", configured(tmp_path, enable=False), folder=tmp_path)
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "monitoring.enable: true" in done.stderr


@pytest.mark.parametrize("url", ["localhost:9464", "http://", "http://a:x", "ftp://a", "http://a b"])
def test_what_is_no_url_ends_it_with_2(url: str, tmp_path: Path) -> None:
    assert health("--url", url, folder=tmp_path).returncode == ExitCode.USAGE

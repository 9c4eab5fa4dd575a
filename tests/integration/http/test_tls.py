"""HTTPS with tokens or client certificates, through the running daemon and through a bare listener."""

from __future__ import annotations

import hashlib
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import trustme
import yaml

from butler_mqtt.http.server.protocol import HttpLimits
from butler_mqtt.settings import RestSettings, RestTls, Token
from tests import programs
from tests.brokers import until
from tests.integration.http.daemon_with_listeners import ListeningDaemon, handshake
from tests.integration.http.rest_listener import door

Build = Callable[..., ListeningDaemon]


class Files:
    """Certificates of an authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.cert, self.key = folder / "server.pem", folder / "server_key.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.renew()

    def renew(self) -> None:
        """Write a new server certificate, as a renewal does: whole files put in place of the old ones."""
        made = self.authority.issue_cert("localhost", "127.0.0.1")
        for file, text in (
            (self.cert, b"".join(one.bytes() for one in made.cert_chain_pems)),
            (self.key, made.private_key_pem.bytes()),
        ):
            fresh = file.with_suffix(".new")
            fresh.write_bytes(text)
            fresh.replace(file)

    def client(self, name: str, authority: trustme.CA | None = None) -> tuple[str, str]:
        """Make a client certificate with a common name and return its files."""
        made = (authority or self.authority).issue_cert(f"{name}.test", common_name=name)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}_key.pem"
        made.cert_chain_pems[0].write_to_path(str(cert))
        made.private_key_pem.write_to_path(str(key))
        return str(cert), str(key)

    def tls(self, *, clients: bool = False) -> RestTls:
        """Return settings."""
        return RestTls(enable=True, cert=self.cert, key=self.key, ca=self.ca if clients else None)

    def section(self, *, clients: bool = False) -> dict[str, object]:
        """Return the section of the configuration."""
        files: dict[str, object] = {"enable": True, "cert": str(self.cert), "key": str(self.key)}
        return {**files, "ca": str(self.ca)} if clients else files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    folder = tmp_path / "tls"
    folder.mkdir()
    return Files(folder)


def session(files: Files) -> requests.Session:
    """Make a caller that trusts the authority, whatever the environment says."""
    made = requests.Session()
    made.trust_env = False
    made.verify = str(files.ca)
    return made


def answers(url: str, files: Files) -> bool:
    with session(files) as caller:
        try:
            return caller.get(url + "/healthz", timeout=5).ok
        except requests.RequestException:
            return False


def add_token(name: str) -> tuple[str, dict[str, str]]:
    """Run `token add` and return the token and its entry for the configuration."""
    done = programs.run([sys.executable, "-m", "butler_mqtt", "token", "add", name])
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    [entry] = yaml.safe_load(lines[-1])
    token = lines[0].removeprefix("Token: ")
    assert done.stdout.count(token) == 1
    return token, entry


def test_butlers_and_our_calls_over_https_with_a_token(build: Build, files: Files) -> None:
    token, entry = add_token("erp: nightly")
    assert entry == {"name": "erp: nightly", "sha256": hashlib.sha256(token.encode()).hexdigest()}
    listening = build(rest={"tls": files.section(), "auth": {"tokens": [entry]}}).start()
    listening.session.verify = str(files.ca)
    task = listening.qlik.task("One")
    assert listening.post({"taskId": task}).status_code == 401
    assert listening.post({"taskId": task}, headers={"Authorization": "Bearer nobody"}).status_code == 401
    assert listening.qlik.executions(task) == 0
    listening.session.headers["Authorization"] = f"Bearer {token}"
    answer = listening.post({"taskId": task, "requestId": "ours"})
    assert answer.json()["totalTasksStarted"] == 1
    butlers = listening.call(
        "PUT",
        "/v4/reloadtask/-/start",
        json=[{"type": "starttaskid", "payload": {"taskId": listening.qlik.task("Two")}}],
    )
    assert butlers.json()["tasksId"]["started"][0]["taskName"] == "Two"
    assert listening.state("ours")["deliveries"][0]["principal"] == "erp: nightly"
    assert token not in "\n".join(listening.daemon.lines)

    # Revoked: taken out of the configuration, which is then read again.
    listening.daemon.configure(restServerConfig={"auth": {"tokens": [add_token("other")[1]]}})
    listening.daemon.signal(signal.SIGHUP)
    until(lambda: listening.post({"taskId": task, "dryRun": True}).status_code == 401)


def test_curl_gets_the_documented_answer_over_https(build: Build, files: Files) -> None:
    token, entry = add_token("erp")
    listening = build(rest={"tls": files.section(), "auth": {"tokens": [entry]}}).start()
    tag = f"refresh-{listening.port}"
    task = listening.qlik.task("ERP", tags=[tag])
    command = ["curl", "-sS", "--fail", "--cacert", str(files.ca), "-X", "POST"]
    command += ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {token}"]
    command += ["-d", f'{{ "tag": ["{tag}"] }}', f"{listening.url}/v4/reloadtask/start"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert f'"tasksStarted":[{{"taskId":"{task}","taskName":"ERP","status":"started"' in done.stdout


def test_a_client_certificate_stands_for_a_token_and_names_its_caller(files: Files) -> None:
    token = Token("erp", hashlib.sha256(b"secret").hexdigest())
    for tokens in ((), (token,)):
        with door(RestSettings(tls=files.tls(clients=True), tokens=tokens, rest_wait_seconds=5)) as one:
            with session(files) as caller:
                bare = caller.post(one.start, json={"tag": "x"}, timeout=10)
                assert bare.status_code == 401
                assert caller.get(one.url + "/healthz", timeout=10).status_code == 200
            with session(files) as caller:
                caller.cert = files.client("gateway")
                assert caller.post(one.start, json={"tag": "x"}, timeout=10).status_code == 200
            assert [arrival.principal for arrival in one.pipeline.arrivals] == ["gateway"]


def test_a_certificate_of_another_authority_is_refused_in_the_handshake(files: Files) -> None:
    with door(RestSettings(tls=files.tls(clients=True))) as one, session(files) as caller:
        caller.cert = files.client("stranger", trustme.CA())
        with pytest.raises(requests.RequestException):
            caller.post(one.start, json={"tag": "x"}, timeout=10)
        assert one.pipeline.arrivals == []


def test_a_renewed_certificate_is_shown_without_a_restart_and_connections_stay(files: Files) -> None:
    with door(RestSettings(tls=files.tls(), rest_wait_seconds=5)) as one, session(files) as caller:
        assert caller.post(one.start, json={"tag": "x"}, timeout=10).ok
        before = handshake(one.port, files.ca)
        files.renew()
        until(lambda: handshake(one.port, files.ca) != before, seconds=10)
        assert caller.post(one.start, json={"tag": "x"}, timeout=10).ok


def test_a_certificate_that_cannot_be_used_leaves_the_old_one_in_force(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    with door(RestSettings(tls=files.tls())) as one:
        before = handshake(one.port, files.ca)
        files.cert.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        until(lambda: "cannot be used, the old one stays in force" in caplog.text)
        assert handshake(one.port, files.ca) == before
        files.renew()
        until(lambda: handshake(one.port, files.ca) != before)


def test_tls_begins_at_version_1_2(files: Files) -> None:
    with door(RestSettings(tls=files.tls())) as one:
        context = ssl.create_default_context(cafile=str(files.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", one.port)) as plain:
            wrapped = context.wrap_socket(plain, server_hostname="localhost")
            assert wrapped.version() in {"TLSv1.2", "TLSv1.3"}
            wrapped.close()


def test_a_handshake_that_does_not_end_is_cut_off(files: Files) -> None:
    with (
        door(RestSettings(tls=files.tls()), limits=HttpLimits(head_seconds=0.2)) as one,
        one.connect() as connection,
    ):
        assert connection.recv(1) == b""


def test_half_open_handshakes_count_as_connections(files: Files) -> None:
    limits = HttpLimits(connections=5, head_seconds=1)
    with door(RestSettings(tls=files.tls()), limits=limits) as one:
        idle = [one.connect() for _ in range(50)]
        assert not answers(one.url, files)
        until(lambda: answers(one.url, files), seconds=10, what="room is made when their time is over")
        for connection in idle:
            connection.close()

"""The simulator as a program: certificates, ledger, exit codes."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from butler_mqtt.simulator.issuer import CertificateError, ensure
from butler_mqtt.simulator.issuer import make as make_certificates
from tests.integration.simulator.running import KEY, LONG, TASKS, USER, Client, Running, running

_HEADERS = {"X-Qlik-Xrfkey": KEY, "X-Qlik-User": USER}


def _about(url: str, certs: Path | None, root: Path) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(
            f"{url}/qrs/about?xrfkey={KEY}",
            headers=_HEADERS,
            cert=None if certs is None else (str(certs / "client.pem"), str(certs / "client_key.pem")),
            verify=str(root / "root.pem"),
            timeout=60,
        )


def test_keys_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "root.pem",
        "client.pem",
        "client_key.pem",
        "server.pem",
        "server_key.pem",
    }
    for name in ("client_key.pem", "server_key.pem"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_certificates_are_kept_when_they_are_there(tmp_path: Path) -> None:
    ensure(tmp_path / "certs")
    before = (tmp_path / "certs" / "root.pem").read_bytes()
    ensure(tmp_path / "certs")
    assert (tmp_path / "certs" / "root.pem").read_bytes() == before
    (tmp_path / "certs" / "server.pem").unlink()
    with pytest.raises(CertificateError, match=r"not server\.pem"):
        ensure(tmp_path / "certs")


def test_a_client_certificate_of_another_authority_is_refused(simulator: Running, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    assert _about(simulator.url, simulator.certs, simulator.certs).status_code == 200
    with pytest.raises(requests.ConnectionError):
        _about(simulator.url, tmp_path, simulator.certs)


def test_no_client_certificate_is_refused(simulator: Running) -> None:
    with pytest.raises(requests.ConnectionError):
        _about(simulator.url, None, simulator.certs)


def test_the_server_is_not_trusted_by_another_authority(simulator: Running, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    with pytest.raises(requests.exceptions.SSLError):
        _about(simulator.url, simulator.certs, tmp_path)


def test_the_built_in_sample_is_served_without_tls(tmp_path: Path) -> None:
    with running(tmp_path / "certs", "--no-tls") as plain:
        assert plain.url.startswith("http://")
        response = requests.get(
            f"{plain.url}/qrs/task/full?xrfkey={KEY}&filter=tags.name%20eq%20'daily-reports'",
            headers=_HEADERS,
            timeout=60,
        )
        assert len(response.json()) == 2
    assert not (tmp_path / "certs").exists()


def test_the_ledger_has_every_execution_even_after_a_kill(
    tmp_path: Path, certs: Path, simulator: Running
) -> None:
    assert simulator.process.poll() is None
    (tmp_path / "site.yaml").write_text(TASKS, "utf-8")
    ledger = tmp_path / "ledger"
    arguments = ("--tasks", str(tmp_path / "site.yaml"), "--ledger", str(ledger))
    for _ in range(2):
        with running(certs, *arguments, "--switch", "alreadyRunning=second") as started:
            client = Client(started)
            ids = [client.start(LONG) for _ in range(3)]
            foreign = client.admin("POST", f"/tasks/{LONG}/start")["executionId"]
            client.close()
            started.process.send_signal(signal.SIGKILL)
            started.process.wait(60)
    lines = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
    assert len(lines) == 8
    assert [line["executionId"] for line in lines[4:]] == [*ids, foreign]
    assert lines[-1]["foreign"]
    assert {line["taskId"] for line in lines} == {LONG}


def test_ledger_and_counts_agree_when_connections_are_cut_under_load(tmp_path: Path, certs: Path) -> None:
    ledger = tmp_path / "ledger"
    (tmp_path / "site.yaml").write_text(
        "generate: [{count: 120, name: 'T {n}', durationSeconds: 0}]", "utf-8"
    )
    with running(certs, "--tasks", str(tmp_path / "site.yaml"), "--ledger", str(ledger)) as started:
        client = Client(started)
        ids = [task["id"] for task in client.admin("GET", "/tasks")]
        for when in ("before", "after"):
            client.plant(
                kind="cut", path="*/start/synchronous", when=when, count=None, probability=0.2, seed=1
            )

        def start(share: list[str]) -> int:
            mine, answered = Client(started), 0
            for task_id in share:
                with contextlib.suppress(requests.ConnectionError):
                    answered += mine.call("POST", f"task/{task_id}/start/synchronous").status_code == 201
            mine.close()
            return answered

        with ThreadPoolExecutor(4) as pool:
            answered = sum(pool.map(start, [ids[number::4] for number in range(4)]))
        counts = client.admin("GET", "/starts")
        cut = len(client.admin("GET", "/calls?status=0")["calls"])
        client.close()
    lines = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
    assert answered + cut == len(ids)
    assert answered < len(lines) == counts["executions"] < len(ids)
    assert len({line["taskId"] for line in lines}) == len(lines)


def test_it_stops_with_0_when_asked_to(certs: Path, simulator: Running) -> None:
    assert simulator.process.poll() is None
    with running(certs) as started:
        started.process.send_signal(signal.SIGTERM)
        assert started.process.wait(60) == 0


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "butler_mqtt.simulator", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_wrong_options_end_it_with_a_reason(tmp_path: Path) -> None:
    missing = _run("--no-tls", "--port", "0", "--tasks", str(tmp_path / "none.yaml"))
    assert (missing.returncode, "cannot be read" in missing.stderr) == (78, True)
    switch = _run("--no-tls", "--port", "0", "--switch", "colour=red")
    assert (switch.returncode, "no switch 'colour'" in switch.stderr) == (78, True)
    assert _run("--switch", "colour").returncode == 2


def test_a_port_in_use_ends_it_with_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = _run("--no-tls", "--port", str(other.getsockname()[1]))
    assert (ended.returncode, "address already in use" in ended.stderr) == (1, True)

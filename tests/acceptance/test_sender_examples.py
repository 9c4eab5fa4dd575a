"""The programs in `examples/` as a sender runs them, against a broker, the daemon and the simulator."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.rig import Daemon, Qlik
from tests.acceptance.sender import START
from tests.brokers import Mosquitto, free_port, until
from tests.project import ROOT

FOLDER = ROOT / "examples"
TOKEN = "the-token-of-an-example"
PYTHON = {
    "5": [sys.executable, str(FOLDER / "start_mqtt5.py")],
    "3.1.1": [sys.executable, str(FOLDER / "start_mqtt311.py"), "--client-id", "example-7"],
}


class Served:
    """A broker, a daemon with REST on it, and the task of one test."""

    def __init__(self, folder: Path, qlik: Qlik) -> None:
        self.qlik = qlik
        self.broker = Mosquitto(folder / "broker")
        self.url = f"http://127.0.0.1:{free_port()}"
        token = {"name": "example", "sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}
        self.daemon = Daemon(
            folder / "daemon",
            qlik,
            self.broker,
            restServerConfig={
                "enable": True,
                "serverPort": int(self.url.rpartition(":")[2]),
                "auth": {"tokens": [token]},
            },
            startTask={"requestDeadlineSeconds": 2},
        )
        self.tag = self.task = ""

    def fresh(self) -> None:
        """Have a tag and a task that nobody had before."""
        self.tag = f"Umsätze \u201cQ1\u201d {uuid.uuid4()}"
        self.task = self.qlik.task(tags=[self.tag])

    def ask(self, version: str, *more: str) -> subprocess.Popen[str]:
        """Run the Python example of a version; the id of its request is the task's."""
        given = ("--request-id", self.task, "--tag", self.tag, "--port", str(self.broker.port))
        return run(*PYTHON[version], *given, *more)


def run(*command: str, **environment: str) -> subprocess.Popen[str]:
    """Run an example without what the machine has set for going out."""
    ours = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env={**ours, **environment}, stdout=pipe, stderr=pipe, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end and give the exit code and what was printed."""
    try:
        printed, complaints = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, printed or complaints


@pytest.fixture(scope="module")
def daemon_with_rest(qlik_server: Qlik, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("examples"), qlik_server)
    with made.broker:
        made.daemon.start()
        yield made
        made.daemon.close()


@pytest.fixture
def served(daemon_with_rest: Served, qlik: Qlik) -> Served:
    assert qlik is daemon_with_rest.qlik
    daemon_with_rest.fresh()
    return daemon_with_rest


@pytest.mark.parametrize("version", PYTHON)
def test_the_python_example_run_twice_starts_once_and_prints_the_same_reply(
    version: str, served: Served
) -> None:
    first, second = ended(served.ask(version)), ended(served.ask(version))
    code, printed = first
    assert (code, "tasksStarted" in printed) == (0, True), printed
    assert json.loads(printed)["tasksStarted"][0]["taskId"] == served.task
    assert second == first
    assert served.qlik.executions(served.task) == 1


@pytest.mark.parametrize("version", PYTHON)
def test_the_python_example_sends_again_what_is_not_answered(version: str, served: Served) -> None:
    served.daemon.signal(signal.SIGSTOP)
    before = served.broker.log().count(f"'{START}'")
    try:
        process = served.ask(version, "--resend", "0.1")
        # As received and as passed on, each.
        until(lambda: served.broker.log().count(f"'{START}'") > before + 4, what="it is sent again")
    finally:
        served.daemon.signal(signal.SIGCONT)
    code, printed = ended(process)
    assert code == 0, printed
    assert served.qlik.executions(served.task) == 1


@pytest.mark.parametrize("version", PYTHON)
def test_the_python_example_sends_again_after_an_outage_of_qlik_sense(version: str, served: Served) -> None:
    served.qlik.switch(listener="refuse")
    process = served.ask(version, "--resend", "1")
    assert process.stderr is not None
    refusal = process.stderr.readline()
    served.qlik.switch(listener="up")
    assert refusal.startswith("qrs_unavailable: "), refusal
    code, printed = ended(process)
    assert code == 0, printed
    assert served.qlik.executions(served.task) == 1


@pytest.mark.parametrize("version", PYTHON)
def test_the_python_example_ends_with_1_when_not_all_was_started(version: str, served: Served) -> None:
    served.qlik.admin("DELETE", f"/tasks/{served.task}")
    code, printed = ended(served.ask(version))
    assert (code, json.loads(printed)["status"]) == (1, "failed")


@pytest.mark.parametrize("version", PYTHON)
def test_the_python_example_ends_with_75_without_a_broker(version: str) -> None:
    nobody = ("--request-id", "nobody-1", "--tag", "none", "--port", str(free_port()), "--seconds", "0.3")
    code, printed = ended(run(*PYTHON[version], *nobody))
    assert (code, printed.startswith("no reply in 0.3 s; run it again")) == (75, True), printed


def with_curl(served: Served, folder: Path, *, token: str = TOKEN) -> tuple[int, str]:
    """Run the curl example with the task's tag in a file."""
    request = folder / "request.json"
    request.write_text(json.dumps({"tag": [served.tag]}, ensure_ascii=False), "utf-8")
    line = (str(FOLDER / "start_rest.sh"), served.task, str(request))
    return ended(run(*line, BUTLER=served.url, BUTLER_TOKEN=token, SECONDS_TO_WAIT="30"))


def test_the_curl_example_waits_for_the_end_and_run_again_shows_the_same(
    served: Served, tmp_path: Path
) -> None:
    code, printed = with_curl(served, tmp_path)
    assert code == 0, printed
    state = json.loads(printed)
    assert (state["outcome"], state["tasksStarted"][0]["taskId"]) == ("succeeded", served.task)
    code, again = with_curl(served, tmp_path)
    assert code == 0, again
    assert json.loads(again)["tasksStarted"] == state["tasksStarted"]
    assert served.qlik.executions(served.task) == 1


def test_the_curl_example_ends_with_1_when_a_task_fails(served: Served, tmp_path: Path) -> None:
    served.tag = str(uuid.uuid4())
    served.task = served.qlik.task(tags=[served.tag], result="fail")
    code, printed = with_curl(served, tmp_path)
    assert (code, json.loads(printed)["outcome"]) == (1, "failed")


def test_the_curl_example_prints_a_refusal_and_ends_with_1(served: Served, tmp_path: Path) -> None:
    code, printed = with_curl(served, tmp_path, token="wrong")
    assert (code, json.loads(printed)["code"]) == (1, "unauthorized")


def test_the_line_that_powershell_runs_for_mqtt_starts_the_task(served: Served) -> None:
    """The line alone, its variables as the script sets them: there is no PowerShell here."""
    request = json.dumps({"requestId": served.task, "tag": [served.tag]})
    values = {"BrokerHost": "127.0.0.1", "(New-Guid)": str(uuid.uuid4()), "json": request, "Seconds": "60"}
    script = (FOLDER / "start_mqtt.ps1").read_text("ascii").replace("`\n", "")
    (line,) = re.findall(r"^mosquitto_rr .+$", script, re.MULTILINE)
    words = [
        re.sub(r"\$(\w+|\(New-Guid\))", lambda name: values[name[1]], word.strip('"'))
        for word in line.split()
    ]
    code, printed = ended(run(*words, "-p", str(served.broker.port)))
    assert (code, "tasksStarted" in printed) == (0, True), printed
    assert json.loads(printed)["tasksStarted"][0]["taskId"] == served.task

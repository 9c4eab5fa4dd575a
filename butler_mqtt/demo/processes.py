"""The processes of the tour, in a folder of their own: broker, QRS simulator, daemon."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from butler_mqtt.alerting.target_urls import apprise_installed
from butler_mqtt.config import yaml_file
from butler_mqtt.demo.webhook import AlertWebhook
from butler_mqtt.errors import ButlerError
from butler_mqtt.settings import MqttSettings

#: Seconds for a program to start, to end, or to do what is expected of it.
PATIENCE_SECONDS = 20.0
#: The executions of the built-in site take this part of their time, to keep the tour short.
DURATION_FACTOR = 0.1
_T = TypeVar("_T")
_SBIN = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"


class ProcessError(ButlerError):
    """A program of the tour did not do what it was started for."""


class Program:
    """
    One process with its log; Ctrl-C does not reach it, since the tour ends it in order.

    Args:
        name: Shown in messages; its log is `<name>.log` in *folder*.
        command: The command line.
        folder: Its working directory.
    """

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name.replace(' ', '-')}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 -- programs of our own
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def running(self) -> bool:
        """Return whether it runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it in order, by force when that takes too long."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.kill()

    def await_line(self, beginning: str) -> str:
        """Wait for a line of its log and return what follows *beginning*."""

        def found() -> list[str]:
            lines = self.log.read_text(errors="replace").splitlines() if self._alive() else []
            return [line.removeprefix(beginning) for line in lines if line.startswith(beginning)]

        return until(found, f"{self.name} prints '{beginning}…'")[0]

    def await_port(self, port: int) -> None:
        """Wait until it accepts connections."""

        def accepts() -> bool:
            with socket.socket() as probe:
                return self._alive() and probe.connect_ex(("127.0.0.1", port)) == 0

        until(accepts, f"{self.name} listens")

    def _alive(self) -> bool:
        if not self.running():
            raise ProcessError(f"{self.name} ended with exit code {self.process.returncode}")
        return True


class Qlik:
    """The QRS simulator, with its admin interface."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "butler_mqtt.simulator", "--port", "0", "--admin-port", "0"]
        command += ["--certs", "certificates", "--switch", f"durationFactor={DURATION_FACTOR}"]
        self.program = Program("qlik simulator", command, folder)
        listening = self.program.await_line("QRS simulator listening on ")
        self.port = urlsplit(listening).port
        self._admin_port = urlsplit(self.program.await_line("QRS simulator admin on ")).port

    def switch(self, **positions: object) -> None:
        """Set switches of the simulator."""
        self._call("PUT", "switches", positions)

    def inject(self, **fault: object) -> None:
        """Inject a fault."""
        self._call("POST", "faults", fault)

    def executions(self) -> dict[str, str]:
        """Return the task id of every execution that ever began, by execution id."""
        return {one["executionID"]: one["taskID"] for one in self._call("GET", "executions")}

    def idle(self) -> bool:
        """Return whether nothing runs."""
        return not self._call("GET", "executions?active=true")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin_port, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, f"/admin/{path}", None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= 300:
            raise ProcessError(
                f"the QRS simulator answers {answer.status} to {method} {path}: {text[:200]!r}"
            )
        return json.loads(text) if text else None


class Processes:
    """
    All processes of the tour; a context manager, which ends them.

    Args:
        folder: An empty folder.
        broker: `mosquitto`, `embedded`, or `auto` for whichever is there.
        sections: Of the configuration, but for those about addresses and alerts.
    """

    def __init__(self, folder: Path, broker: str, sections: Mapping[str, object]) -> None:
        self._folder = folder
        self._sections = sections
        self._programs: list[Program] = []
        self.broker, self._broker_command = _choose(broker)
        self._daemon: Program | None = None
        #: Where alerts go; None where Apprise is not installed.
        self.webhook: AlertWebhook | None = None

    @property
    def broker_keeps(self) -> bool:
        """Whether it keeps messages for a daemon that is not connected: amqtt drops or retains them."""
        return self.broker == "mosquitto"

    def __enter__(self) -> Processes:
        """
        Start all three.

        Raises:
            ProcessError: One of them does not come up.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(self._end)
            port = _free_port()
            (self._folder / "mosquitto.conf").write_text(
                f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            )
            broker = Program("broker", [*self._broker_command, *self._broker_arguments(port)], self._folder)
            self._programs.append(broker)
            broker.await_port(port)
            self.qlik = Qlik(self._folder)
            self._programs.append(self.qlik.program)
            if apprise_installed():
                self.webhook = AlertWebhook()
                undo.callback(self.webhook.close)
            version = "5" if self.broker == "mosquitto" else "3.1.1"
            self.mqtt = MqttSettings(broker_host="127.0.0.1", broker_port=port, protocol_version=version)
            self._write_configuration()
            self.start_daemon()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End all, the daemon first."""
        self._end()
        if self.webhook is not None:
            self.webhook.close()

    def start_daemon(self) -> None:
        """Start the daemon; it is ready when its status is `online`."""
        command = [sys.executable, "-m", "butler_mqtt", "run", "-c", "config.yaml"]
        self._daemon = Program("daemon", command, self._folder)
        self._programs.append(self._daemon)

    def daemon_runs(self) -> bool:
        """Return whether the daemon's process runs."""
        return self._daemon is not None and self._daemon.running()

    def kill_daemon(self) -> None:
        """Kill the daemon with SIGKILL."""
        if self._daemon is not None:
            self._daemon.kill()

    def logs(self, lines: int = 15) -> str:
        """Return the last lines of every log."""
        tails = []
        for log in sorted(self._folder.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-lines:]
            tails.append("\n".join([f"--- {log.stem}", *tail]))
        return "\n".join(tails)

    def _end(self) -> None:
        # A second Ctrl-C must not leave processes behind.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        while self._programs:
            self._programs.pop().end()
        signal.signal(signal.SIGINT, before)

    def _broker_arguments(self, port: int) -> list[str]:
        return ["-c", "mosquitto.conf"] if self.broker == "mosquitto" else [str(port)]

    def _write_configuration(self) -> None:
        document: dict[str, object] = {
            "mqttConfig": {
                "brokerHost": self.mqtt.broker_host,
                "brokerPort": self.mqtt.broker_port,
                "protocolVersion": self.mqtt.protocol_version,
            },
            "configQRS": {"host": "localhost", "port": self.qlik.port},
            "cert": {
                "clientCert": "certificates/client.pem",
                "clientCertKey": "certificates/client_key.pem",
                "clientCertCA": "certificates/root.pem",
            },
            **self._sections,
        }
        if self.webhook is not None:
            target = {"name": "webhook", "url": self.webhook.url, "on": ["executionFailed"]}
            document["alerts"] = {"enable": True, "targets": [target]}
        (self._folder / "config.yaml").write_text(yaml_file.text_of({"Butler": document}))


def until(fact: Callable[[], _T], what: str) -> _T:
    """Wait until *fact* returns something true, and return that; ProcessError when it does not in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := fact()):
        if time.monotonic() > deadline:
            raise ProcessError(f"not within {PATIENCE_SECONDS:.0f} s: {what}")
        time.sleep(0.02)
    return value


def _choose(broker: str) -> tuple[str, list[str]]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_SBIN)
    if broker != "embedded" and program is not None:
        return "mosquitto", [program]
    if broker != "mosquitto" and importlib.util.find_spec("amqtt") is not None:
        return "embedded", [sys.executable, "-m", "butler_mqtt.demo.embedded_broker"]
    advice = {
        "mosquitto": "mosquitto is not installed: apt-get install mosquitto",
        "embedded": "the embedded broker is not installed: pip install 'butler-mqtt[demo]'",
        "auto": "no MQTT broker is installed: apt-get install mosquitto, or pip install 'butler-mqtt[demo]'",
    }
    raise ProcessError(advice[broker])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

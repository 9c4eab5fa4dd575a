"""The installed program as a service: a double of systemd's socket, a configuration, the process."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from tests import programs
from tests.brokers import Mosquitto, until
from tests.integration.simulator.running import Running


class Manager:
    """Stands in for systemd: a datagram socket that keeps every line it is sent."""

    def __init__(self) -> None:
        name = f"butler-mqtt-{secrets.token_hex(8)}"
        self.environ = {"NOTIFY_SOCKET": f"@{name}"}
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}")

    def close(self) -> None:
        self._socket.close()

    def notified(self) -> list[str]:
        """Return all lines so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.lines += self._socket.recv(65536, socket.MSG_DONTWAIT).decode().split("\n")
        return self.lines

    def waits_for(self, line: str, *, seconds: float = 60, after: int = 0) -> int:
        """Wait for a line that begins with *line*, from number *after* on; return its number."""

        def found() -> list[int]:
            return [
                number
                for number, one in enumerate(self.notified())
                if number >= after and one.startswith(line)
            ]

        return until(found, seconds=seconds, what=line)[0]

    def status(self) -> str:
        """Return the newest STATUS."""
        return next((line[7:] for line in reversed(self.notified()) if line.startswith("STATUS=")), "")

    def waits_for_status(self, fact: Callable[[str], bool], *, seconds: float = 60) -> str:
        until(lambda: fact(self.status()), seconds=seconds, what=f"not this status: {self.status()}")
        return self.status()


class Service:
    """One run of the program."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        self.log_file = folder / "service.log"
        with self.log_file.open("ab") as log:
            self.process = programs.start(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **environ}
            )

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def waits_for_log(self, words: str, *, seconds: float = 60) -> None:
        try:
            until(lambda: words in self.log(), seconds=seconds, what=words)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self, seconds: float = 60) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(seconds)


@contextlib.contextmanager
def manager() -> Iterator[Manager]:
    made = Manager()
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def service(
    config: Path, environ: Mapping[str, str] | None = None, *options: str, program: str = ""
) -> Iterator[Service]:
    """Run the daemon, or *program* in Python with the configuration as its argument, until the block ends."""
    command = [sys.executable, "-c", program, str(config)]
    if not program:
        command = [sys.executable, "-m", "butler_mqtt", "run", "-c", str(config), *options]
    made = Service(command, config.parent, environ or {})
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.signal(signal.SIGCONT)
            made.signal(signal.SIGKILL)
            made.ends()


def write_config(
    folder: Path, *, port: int, site: Running | None = None, mqtt: str = "", more: str = ""
) -> Path:
    """
    Write a configuration for the broker at *port* and the Qlik stand-in *site*.

    Args:
        folder: Where the file goes.
        port: The broker's.
        site: Without one, Qlik is a port where nobody listens.
        mqtt: More lines of `mqttConfig`, indented by four.
        more: More sections, indented by two.
    """
    if site is None:
        qrs = "  configQRS: { host: 127.0.0.1, port: 9, useSSL: false, retry: { attempts: 1 } }\n"
    else:
        where = urlsplit(site.url)
        qrs = (
            f"  configQRS: {{ host: {where.hostname}, port: {where.port} }}\n"
            f"  cert: {{ clientCert: {site.certs}/client.pem, clientCertKey: {site.certs}/client_key.pem,"
            f" clientCertCA: {site.certs}/root.pem }}\n"
        )
    file = folder / "config.yaml"
    file.write_text(
        f"Butler:\n  mqttConfig:\n    brokerHost: 127.0.0.1\n    brokerPort: {port}\n{mqtt}{qrs}{more}"
    )
    return file


def broker_config(folder: Path, broker: Mosquitto, site: Running | None = None, **more: str) -> Path:
    return write_config(folder, port=broker.port, site=site, **more)

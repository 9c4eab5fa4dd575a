"""Checks the addresses that the daemon is to listen on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from butler_mqtt import posix
from butler_mqtt.checks.finding import Finding, ok, wrong
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.settings import Settings

_NO_ADDRESS = "the host must be an address of this machine, or a name of one"


def check(settings: Settings) -> Iterator[Finding]:
    """Check whether each listener that is enabled could be opened; nothing is listened on."""
    rest, monitoring = settings.rest, settings.monitoring
    if not rest.enable and not monitoring.enable:
        return
    running = _daemon_runs(Journal(settings.journal.url).path)
    if rest.enable:
        yield _address(
            "rest.port", "restServerConfig.serverPort", rest.server_host, rest.server_port, running
        )
    if monitoring.enable:
        yield _address("monitoring.port", "monitoring.port", monitoring.host, monitoring.port, running)


def _address(name: str, key: str, host: str, port: int, running: bool) -> Finding:
    place = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            # As the daemon does; an address that somebody listens on is taken all the same.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except UnicodeError:
        return wrong(
            name,
            f"{place} cannot be listened on: a part of the host name is empty or too long",
            _NO_ADDRESS,
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE and running:
            return ok(name, f"{place} is in use, as it should be while a daemon runs")
        return wrong(
            name, f"{place} cannot be listened on: {error.strerror or error}", _advice(error, key, port)
        )
    return ok(name, f"{place} is free")


def _advice(error: OSError, key: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program has the port (ss -ltnp sport = :{port} tells which): end it, or set {key}"
    if error.errno == errno.EACCES:
        return f"a port below 1024 needs CAP_NET_BIND_SERVICE in the unit (docs/install.md); else set {key}"
    return _NO_ADDRESS


def _daemon_runs(journal: Path) -> bool:
    """Return whether a daemon holds the journal."""
    lock = Path(f"{journal}.lock")
    try:
        # Created here, perhaps as root, the daemon's user could not open it.
        descriptor = posix.lock(lock) if lock.exists() else None
    except BlockingIOError:
        return True
    except OSError:
        return False
    if descriptor is not None:
        os.close(descriptor)
    return False

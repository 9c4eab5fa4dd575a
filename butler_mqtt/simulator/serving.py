"""Listening: sockets, TLS, uvicorn's HTTP protocol, and the way to cut connections."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from butler_mqtt.simulator import admin, definitions, issuer
from butler_mqtt.simulator.asgi import Application, Asgi
from butler_mqtt.simulator.call_log import StartLedger
from butler_mqtt.simulator.faults import Faults
from butler_mqtt.simulator.proxy import QlikProxy
from butler_mqtt.simulator.site import Site
from butler_mqtt.simulator.switches import SwitchError, Switches

#: Exit codes: stopped as asked, could not listen or write, wrong tasks file, certificates or switches.
EXIT_OK, EXIT_FAILED, EXIT_CONFIGURATION = 0, 1, 78

#: In the folder of certificates: a token for the proxy, new at each start.
JWT_FILE = "butler.jwt"

_IDLE_SECONDS = 300
_ACCEPT_BACKLOG = 512


@dataclass(frozen=True)
class ServeOptions:
    """
    How to run the simulator.

    Port 0 takes a free one. `tasks` None is the built-in sample; `certs` is a
    folder, filled when empty, with an `old_root` if wanted; `admin_port` None
    means no listener of its own for the admin endpoints (they are always on the main one), `proxy_port`
    None no Qlik proxy; `switches` are first positions by their JSON names.
    """

    host: str = "127.0.0.1"
    port: int = 4242
    tasks: Path | None = None
    certs: Path = Path("qrs-certificates")
    old_root: bool = False
    tls: bool = True
    admin_port: int | None = None
    proxy_port: int | None = None
    ledger: Path | None = None
    switches: dict[str, Any] = field(default_factory=dict)


def serve(options: ServeOptions) -> int:
    """
    Run the simulator until SIGINT or SIGTERM.

    Prints one line when it listens, and one more for each of `admin_port` and `proxy_port`.

    Returns:
        An exit code: 0 stopped as asked, 1 cannot listen or write, 78 wrong
        tasks file, certificates or switches; the reason is on stderr.
    """
    try:
        return asyncio.run(_serve(options))
    except (definitions.DefinitionError, issuer.CertificateError, SwitchError) as error:
        print(f"simulate-qrs: {error}", file=sys.stderr)  # noqa: T201 - it is a command
        return EXIT_CONFIGURATION
    except OSError as error:
        print(f"simulate-qrs: {error}", file=sys.stderr)  # noqa: T201 - it is a command
        return EXIT_FAILED


async def _serve(options: ServeOptions) -> int:
    switches = Switches().changed(options.switches)
    definition = definitions.load(options.tasks)
    context = None
    if options.tls:
        issuer.ensure(options.certs, old_root=options.old_root)
        context = issuer.server_context(options.certs)
    with contextlib.closing(StartLedger(options.ledger)) as ledger:
        site = Site(definition, switches=switches, ledger=ledger)
        faults = Faults()
        doors: list[SimulatorListener] = []
        proxies: list[QlikProxy] = []
        admin_application = admin.application(site, faults, lambda: doors[0], proxies)
        repository = Application(site, faults, admin_application)
        main = SimulatorListener(repository, options.host, options.port, context)
        doors.append(main)
        stopped = _stop_event()
        await main.open()
        scheme = "https" if options.tls else "http"
        _say(f"QRS simulator listening on {scheme}://{options.host}:{main.port}")
        if options.admin_port is not None:
            side = SimulatorListener(admin_application, "127.0.0.1", options.admin_port, None)
            doors.append(side)
            await side.open()
            _say(f"QRS simulator admin on http://127.0.0.1:{side.port}")
        if options.proxy_port is not None:
            proxies.append(QlikProxy(site, repository))
            doors.append(await _proxy_door(options, proxies[0]))
        pump = asyncio.create_task(_pump(site))
        watch = asyncio.create_task(stopped.wait())
        await asyncio.wait({pump, watch}, return_when=asyncio.FIRST_COMPLETED)
        for door in doors:
            door.close()
        if pump.done():
            pump.result()
        pump.cancel()
    return EXIT_OK


async def _proxy_door(options: ServeOptions, proxy: QlikProxy) -> SimulatorListener:
    """Listen for the proxy, which asks for no client certificate, and write a token that it takes."""
    context = None
    if options.tls:
        context = issuer.server_context(options.certs)
        context.verify_mode = ssl.CERT_NONE
    options.certs.mkdir(parents=True, exist_ok=True)
    token = options.certs / JWT_FILE
    token.touch(mode=0o600)
    token.write_text(f"{proxy.token()}\n")
    door = SimulatorListener(proxy, options.host, options.proxy_port or 0, context)
    await door.open()
    scheme = "https" if options.tls else "http"
    _say(f"QRS simulator proxy on {scheme}://{options.host}:{door.port}")
    return door


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - who starts it waits for this line


def _stop_event() -> asyncio.Event:
    stopped = asyncio.Event()
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    return stopped


async def _pump(site: Site) -> None:
    """Run what is due, also without calls."""
    earlier = asyncio.Event()
    site.agenda.on_earlier = earlier.set
    while True:
        earlier.clear()
        site.agenda.run()
        due = site.agenda.next_due()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                earlier.wait(), None if due is None else max(due - site.clock.monotonic(), 0.0)
            )


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, known to its listener and handed to the application as `wire`."""

    def __init__(self, listener: SimulatorListener, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config=config, server_state=state, app_state={"wire": self})
        self._listener = listener

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._listener.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.wires.discard(self)
        super().connection_lost(exc)

    def cut(self, *, reset: bool) -> None:
        """Close the connection at once; with *reset* the other side sees a TCP reset."""
        if self.cycle is not None:
            # uvicorn would otherwise complain about a call without an answer.
            self.cycle.disconnected = True
        if self.transport.is_closing():
            return
        connection = self.transport.get_extra_info("socket")
        if reset and connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class SimulatorListener:
    """
    One port.

    `position` is that of the switch `listener`: `abort` accepts connections
    and cuts them, `refuse` closes the port.
    """

    def __init__(self, application: Asgi, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._host = host
        self.port = port
        self._context = context
        self._server: asyncio.Server | None = None
        self.position = "up"
        self.wires: set[_Protocol] = set()
        #: How many connections were accepted so far (after the TLS handshake).
        self.accepted = 0
        self._state = ServerState()
        self._config = uvicorn.Config(
            application,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
        )
        self._config.load()

    async def open(self) -> None:
        """
        Listen; `port` is then the real one.

        Raises:
            OSError: The port cannot be had.
        """
        factory: Callable[[], _Protocol] = lambda: _Protocol(self, self._config, self._state)  # noqa: E731 - typed
        self._server = await asyncio.get_running_loop().create_server(
            factory,
            self._host,
            self.port,
            ssl=self._context,
            backlog=_ACCEPT_BACKLOG,
            reuse_address=True,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self, *, spare: Any = None) -> None:
        """Stop listening and cut every connection but *spare*."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut_all(spare=spare)

    def cut_all(self, *, spare: Any = None) -> None:
        """Cut every connection but *spare*."""
        for wire in list(self.wires):
            if wire is not spare:
                wire.cut(reset=True)

    def connected(self, wire: _Protocol) -> None:
        """Accept a new connection."""
        self.accepted += 1
        self.wires.add(wire)
        if self.position == "abort":
            wire.cut(reset=True)

    async def move(self, position: str, spare: Any = None) -> None:
        """
        Go up or down.

        Args:
            position: `up`, `abort` or `refuse`.
            spare: The connection on which this was asked; it is not cut.

        Raises:
            OSError: The port cannot be had again.
        """
        if position != "refuse" and self._server is None:
            await self.open()
        self.position = position
        if position == "refuse":
            self.close(spare=spare)
        elif position == "abort":
            self.cut_all(spare=spare)

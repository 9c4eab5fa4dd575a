"""A listener: uvicorn in a thread of its own, with its own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from butler_mqtt.errors import ButlerError
from butler_mqtt.http.server.limited_socket import BACKLOG, LimitedSocket, listen
from butler_mqtt.http.server.protocol import HttpLimits, Protocol
from butler_mqtt.http.server.tls import Certificates
from butler_mqtt.settings import RestTls

#: Seconds between two checks of the certificate files.
CERTIFICATE_POLL_SECONDS = 2.0
#: Seconds for a client to close its side of TLS.
TLS_SHUTDOWN_SECONDS = 1.0
#: Seconds for responses in flight when the listener stops.
GRACE_SECONDS = 3

_log = logging.getLogger("butler_mqtt.http")
# A client is answered what it did wrong; only errors of this program are logged.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class ListenerError(ButlerError):
    """A listener cannot be opened: the address is taken, or its certificate cannot be used."""


class _Server(uvicorn.Server):
    """uvicorn's server on a limited socket, with a time for handshakes and certificates that may change."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: LimitedSocket,
        certificates: Certificates | None,
        limits: HttpLimits,
    ) -> None:
        super().__init__(config)
        self._limits = limits
        self._listener = listener
        self._certificates = certificates

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 (uvicorn's signature)
        await self.lifespan.startup()
        tls = self._certificates
        server = await asyncio.get_running_loop().create_server(
            lambda: Protocol(self._limits, self.config, self.server_state, {}),
            sock=self._listener,
            backlog=BACKLOG,
            ssl=None if tls is None else tls.context,
            ssl_handshake_timeout=None if tls is None else self._limits.head_seconds,
            ssl_shutdown_timeout=None if tls is None else TLS_SHUTDOWN_SECONDS,
        )
        self.servers = [server]
        self.started = True
        self._poll_certificates()

    def _poll_certificates(self) -> None:
        if self._certificates is not None and not self.should_exit:
            self._certificates.reload_changed()
            asyncio.get_running_loop().call_later(CERTIFICATE_POLL_SECONDS, self._poll_certificates)


class Listener:
    """
    Serves one application on one address.

    Args:
        name: For the log and the thread.
        make: Makes the application, on the event loop; the event is set when the listener stops.
        host: The address, or a name of it.
        port: The port; 0: a free one, then in the attribute `port`.
        on_fatal: Called with the exception that ended the thread, if one did.
        tls: TLS, where it is enabled.
        limits: What one client may use.

    Raises:
        ListenerError: It cannot be opened.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[asyncio.Event], ASGIApp],
        host: str,
        port: int,
        *,
        on_fatal: Callable[[BaseException], None],
        tls: RestTls | None = None,
        limits: HttpLimits | None = None,
    ) -> None:
        self._limits = limits or HttpLimits()
        self._name = name
        self._make = make
        self._on_fatal = on_fatal
        try:
            self._certificates = Certificates(tls) if tls is not None and tls.enable else None
        except OSError as error:
            raise ListenerError(
                f"{name}: the certificate {tls.cert if tls else ''} cannot be used: {error}; "
                "check restServerConfig.tls"
            ) from error
        try:
            self._socket = listen(host, port, self._limits.connections)
        except OSError as error:
            raise ListenerError(
                f"{name}: cannot listen on {host}:{port}: {error.strerror or error}; "
                "another program may use the port, or the address is not one of this machine"
            ) from error
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._server: _Server | None = None
        self._ending: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._socket.open

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._thread.start()
        self._running.wait(10)
        scheme = "http" if self._certificates is None else "https"
        _log.info(
            "%s: listening on %s://%s:%s",
            self._name,
            scheme,
            self.host,
            self.port,
            extra={"action": "listening"},
        )

    def stop(self, timeout: float) -> None:
        """Stop; responses in flight have *timeout* seconds. Stopping twice is fine."""
        self._stopping = True
        if self._ending is not None:
            self._call(self._ending.set)
        if self._server is not None:
            self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._socket.close()

    def _call(self, act: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # it has ended since
                loop.call_soon_threadsafe(act)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve())
            if not self._stopping:
                self._on_fatal(RuntimeError(f"the listener {self._name} ended without being stopped"))
        except BaseException as error:  # noqa: BLE001 -- a thread that dies silently would leave the door closed
            self._on_fatal(error)
        finally:
            self._running.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        config = self._config(self._make(self._ending))
        self._server = _Server(config, self._socket, self._certificates, self._limits)
        if self._stopping:
            return
        self._loop.call_soon(self._running.set)
        await self._server.serve()

    def _config(self, app: ASGIApp) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=self._limits.idle_seconds,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )

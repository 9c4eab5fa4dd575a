"""A TCP relay between the daemon and the broker, to hold packets back and to cut connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Relay:
    """
    Passes connections on to *port* of 127.0.0.1 until it is switched otherwise; a context manager.

    `hold_up` keeps back what clients send, `hold_down` what they are sent;
    what was kept back is lost with `cut`, and goes on with `flow`.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._up = threading.Event()
        self._down = threading.Event()
        self._open = True
        self._accepting = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.flow()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self.cut()
        self.flow()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def hold_up(self) -> None:
        """Keep back what clients send from now on."""
        self._up.clear()

    def hold_down(self) -> None:
        """Keep back what clients are sent from now on."""
        self._down.clear()

    def flow(self) -> None:
        """Let everything pass, also what was kept back on connections that are still there."""
        self._up.set()
        self._down.set()

    def refuse(self, *, refused: bool = True) -> None:
        """Close new connections at once, or no longer."""
        self._accepting = not refused

    def cut(self) -> None:
        """Close all connections; what was kept back never arrives."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while self._open:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if not self._accepting:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            threading.Thread(target=self._serve, args=(near, far), daemon=True).start()

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        """Pass both ways until both ends are closed."""
        with near, far:
            back = threading.Thread(target=self._pass, args=(far, near, self._down), daemon=True)
            back.start()
            self._pass(near, far, self._up)
            back.join()

    def _pass(self, source: socket.socket, sink: socket.socket, gate: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                gate.wait()
                with self._lock:
                    known = any(source in pair for pair in self._pairs)
                if not known:
                    break
                sink.sendall(data)
        with self._lock:
            self._pairs = [pair for pair in self._pairs if source not in pair]
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

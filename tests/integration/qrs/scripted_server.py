"""
A socket server that answers as a test says, over TLS with client certificates or plain.

It speaks just enough HTTP to be scripted, byte by byte, so that
answers can be cut, garbled, or left out.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import trustme

from butler_mqtt import settings

#: Instead of bytes: close without a word.
CUT = b"<cut>"
#: Instead of bytes: answer nothing until the test is over.
HANG = b"<hang>"
#: At the end of bytes: close after sending them.
THEN_CUT = b"<then cut>"


@dataclass(frozen=True)
class Call:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int
    #: Header names in lower case, as often as they came.
    names: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return urlsplit(self.target).path.removeprefix("/qrs")

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def filter(self) -> str:
        parts = urlsplit(self.target).query.split("&")
        raw = next((part for part in parts if part.startswith("filter=")), "")
        return unquote(raw.removeprefix("filter="), errors="strict")


Answers = Callable[[Call], bytes]


def reply(
    status: int, body: object = None, *, content_type: str = "application/json", **headers: str
) -> bytes:
    """Return a whole HTTP answer; a body that is not bytes is written as JSON."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@dataclass
class Server:
    """The running server; `answers` may be replaced at any time."""

    port: int
    answers: Answers
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    #: Released once for each connection the server has closed.
    closed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    #: Called with each socket after its handshake.
    wrapped: Callable[[socket.socket], None] = lambda _: None

    def run(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(raw, context, self.connections), daemon=True).start()

    def _serve(self, raw: socket.socket, context: ssl.SSLContext | None, connection: int) -> None:
        try:
            peer = raw if context is None else context.wrap_socket(raw, server_side=True)
            self.wrapped(peer)
            with peer, peer.makefile("rb") as reader:
                while self._one(peer, reader, connection):
                    pass
        except (OSError, ValueError):  # cut by the client, or not HTTP
            pass
        finally:
            raw.close()
            self.closed.release()

    def _one(self, peer: socket.socket, reader: object, connection: int) -> bool:
        line = reader.readline()  # type: ignore[attr-defined] # a buffered reader
        if not line:
            return False
        method, target, _ = line.decode("ascii").split()
        headers: dict[str, str] = {}
        names = []
        while (line := reader.readline().strip()) != b"":  # type: ignore[attr-defined] # a buffered reader
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
            names.append(name.lower())
        body = reader.read(int(headers.get("content-length", "0")))  # type: ignore[attr-defined] # a buffered reader
        call = Call(method, target, headers, body, connection, tuple(names))
        self.calls.append(call)
        answer = self.answers(call)
        if answer == HANG:
            self.over.wait(30)
            return False
        if answer == CUT:
            return False
        peer.sendall(answer.removesuffix(THEN_CUT))
        return not answer.endswith(THEN_CUT)


@dataclass(frozen=True)
class Files:
    """Certificates of one site, as PEM files."""

    ca: trustme.CA
    root: Path
    client: Path
    key: Path


class Listening(Protocol):
    """A server on a port of 127.0.0.1."""

    port: int


def make_files(folder: Path) -> Files:
    ca = trustme.CA()
    client = ca.issue_cert("client")
    files = Files(ca, folder / "root.pem", folder / "client.pem", folder / "client_key.pem")
    ca.cert_pem.write_to_path(str(files.root))
    client.cert_chain_pems[0].write_to_path(str(files.client))
    client.private_key_pem.write_to_path(str(files.key))
    return files


def server_context(files: Files, *names: str) -> ssl.SSLContext:
    """Return the TLS context of a server that asks for client certificates; *names* stand in its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files.ca.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
    files.ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def serving(answers: Answers, files: Files | None, *names: str) -> Iterator[Server]:
    """Serve on a free port of 127.0.0.1; *names* stand in the certificate."""
    context = None if files is None else server_context(files, *names)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener.getsockname()[1], answers)
        thread = threading.Thread(target=server.run, args=(listener, context))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def settings_for(server: Listening, files: Files | None, **changes: object) -> settings.QrsSettings:
    values: dict[str, object] = {
        "host": "127.0.0.1",
        "port": server.port,
        "use_ssl": files is not None,
        "retry": settings.Retry(attempts=3, max_seconds=5),
    }
    if files is not None:
        values |= {"client_cert": files.client, "client_cert_key": files.key, "client_cert_ca": files.root}
    return settings.QrsSettings(**(values | changes))  # type: ignore[arg-type] # checked by the tests that use it

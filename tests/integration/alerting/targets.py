"""Targets of alerts on loopback: an HTTP and a mail server that remember what came."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.brokers import free_port


@dataclass
class Webhook:
    """An HTTP server; `status` is what it answers, `gate` keeps answers back while it is not set."""

    port: int
    status: int = 200
    came: list[dict[str, str]] = field(default_factory=list)
    calls: int = 0
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """The URL for Apprise, with a part that nobody may see."""
        return f"json://127.0.0.1:{self.port}/s3cret-path"

    def titles(self) -> list[str]:
        """What came, in order."""
        return [one["title"] for one in list(self.came)]


@contextmanager
def webhook(status: int = 200, port: int | None = None) -> Iterator[Webhook]:
    """Serve a webhook."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            hook.calls += 1
            hook.gate.wait()
            if hook.status < 300:
                hook.came.append(json.loads(content))
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- as above
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port or 0), Handler)
    server.daemon_threads = True
    hook = Webhook(server.server_address[1], status)
    hook.gate.set()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hook
    finally:
        hook.gate.set()
        server.shutdown()
        server.server_close()


@dataclass
class Mailbox:
    """A mail server."""

    port: int
    came: list[Message] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The URL for Apprise."""
        return f"mailto://127.0.0.1:{self.port}?from=butler@example.com&to=bi@example.com"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep a mail."""
        assert isinstance(envelope.content, bytes)
        self.came.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """Serve a mailbox."""
    box = Mailbox(free_port())
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()

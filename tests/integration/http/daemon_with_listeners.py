"""A daemon with its REST and monitoring listeners, as a caller sees it."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import requests

from tests.acceptance.rig import Daemon, Qlik
from tests.brokers import Mosquitto, free_port, until

#: Tasks of the simulator's built-in site.
FINANCE = "a8b4c123-def4-5678-9abc-def012345678"
SALES = "b9c5d234-efe5-6789-abcd-ef0123456789"
DISABLED = "d15ab1ed-0000-4000-8000-000000000001"
NOBODY = "99999999-0000-4000-8000-000000000009"


class ListeningDaemon:
    """
    The daemon and where it listens.

    Args:
        daemon: Not yet started.
        qlik: The server it starts tasks on.
        broker: The broker it is on, if any.
        rest: Keys of `restServerConfig` that differ.
    """

    def __init__(
        self,
        daemon: Daemon,
        qlik: Qlik,
        *,
        broker: Mosquitto | None = None,
        rest: dict[str, object] | None = None,
    ) -> None:
        self.daemon = daemon
        self.qlik = qlik
        self.broker = broker
        self.port, self.monitoring_port = free_port(), free_port()
        secure = bool((rest or {}).get("tls"))
        self.url = f"http{'s' if secure else ''}://127.0.0.1:{self.port}"
        self.monitoring = f"http://127.0.0.1:{self.monitoring_port}"
        self.session = requests.Session()
        self.session.trust_env = False
        daemon.configure(
            restServerConfig={"enable": True, "serverPort": self.port, "restWaitSeconds": 10, **(rest or {})},
            monitoring={"enable": True, "port": self.monitoring_port},
        )

    def start(self) -> ListeningDaemon:
        """Run it and wait until both listeners answer and Qlik is reached."""
        self.daemon.start(ready=self.broker is not None)
        self.daemon.wait_log("monitoring: listening on")
        until(lambda: requests.get(self.monitoring + "/readyz", timeout=60).ok, what="it is ready")
        return self

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Make one call."""
        options.setdefault("timeout", 30)
        return self.session.request(method, self.url + path, **options)

    def post(self, body: Any, path: str = "/v4/reloadtask/start", **options: Any) -> requests.Response:
        """Post *body*: bytes as they are, everything else as JSON."""
        wanted = {"data": body} if isinstance(body, bytes) else {"json": body}
        return self.call("POST", path, **wanted, **options)

    def memory(self) -> int:
        """Return the daemon's resident memory in bytes."""
        return int(Path(f"/proc/{self.daemon.pid}/statm").read_text().split()[1]) * 4096

    def state(self, request_id: str) -> dict[str, Any]:
        """Return the present state of a request."""
        found: dict[str, Any] = self.call("GET", f"/v4/requests/{request_id}").json()
        return found

    def decided(self, request_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a request is decided and return its state."""
        until(lambda: self.state(request_id).get("status") != "pending", seconds=seconds, what=request_id)
        return self.state(request_id)


def handshake(port: int, authority: Path) -> bytes:
    """Return the certificate that a listener shows, DER."""
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""

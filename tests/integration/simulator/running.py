"""The simulator as a subprocess, and a client that speaks to it over mTLS."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from tests import programs
from tests.brokers import until
from tests.programs import Program

KEY = "0123456789abcdef"
USER = "UserDirectory=INTERNAL; UserId=sa_repository"
EMPTY = "00000000-0000-0000-0000-000000000000"

QUICK = "11111111-0000-4000-8000-000000000001"
LONG = "11111111-0000-4000-8000-000000000002"
DISABLED = "11111111-0000-4000-8000-000000000003"
NO_APP = "11111111-0000-4000-8000-000000000004"
FAILING = "11111111-0000-4000-8000-000000000005"
PROGRAM = "11111111-0000-4000-8000-000000000006"
PRELOAD = "11111111-0000-4000-8000-000000000007"
CROSS = "11111111-0000-4000-8000-000000000008"
UNKNOWN = "99999999-0000-4000-8000-000000000009"

TASKS = f"""
nodes: [{{name: Central, hostName: sense1.lab.local, maxConcurrentEngines: 2}}]
tags: [unused]
customProperties: {{Region: [Americas, APAC, EMEA]}}
tasks:
  - {{name: Quick, id: {QUICK}, tags: [Nightly], customProperties: {{Region: APAC}},
      durationSeconds: 0.05, scriptLog: [one, two]}}
  - {{name: Long, id: {LONG}, tags: [nightly-long], result: never}}
  - {{name: Disabled, id: {DISABLED}, enabled: false}}
  - {{name: No app, id: {NO_APP}, app: {{name: Lost, availability: NotSynced}}}}
  - {{name: Failing, id: {FAILING}, result: fail, retries: 1, durationSeconds: 0.01}}
  - {{name: Program, id: {PROGRAM}, type: externalProgram, durationSeconds: 0.01}}
  - {{name: Preload, id: {PRELOAD}, type: preload, durationSeconds: 0.01}}
  - {{name: Cross, id: {CROSS}, customProperties: {{Region: finance, Department: APAC}}}}
"""


@dataclass
class Running:
    """A simulator that runs."""

    process: Program
    url: str
    admin_url: str
    certs: Path
    #: With `--proxy-port`, else empty.
    proxy_url: str = ""


@contextlib.contextmanager
def running(certs: Path, *arguments: str) -> Iterator[Running]:
    """Run a simulator with an admin port until the block ends."""
    command = [sys.executable, "-m", "butler_mqtt.simulator", "--port", "0", "--admin-port", "0"]
    process = programs.start(
        [*command, "--certs", str(certs), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2 + ("--proxy-port" in arguments))]
        assert all(" on http" in line for line in lines), process.communicate()
        url, admin_url, *proxy = (line.split(" on ")[1].strip() for line in lines)
        yield Running(process, url, admin_url, certs, *proxy)
    finally:
        process.kill()
        _, complaints = process.communicate(timeout=60)
    assert complaints == "", "the simulator complained on stderr"


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Ask until *condition* gives something true, and give that."""
    return until(condition, seconds=seconds)


class Client:
    """One keep-alive connection to the QRS, one to its admin endpoints."""

    def __init__(self, simulator: Running) -> None:
        self.simulator = simulator
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cert = (str(simulator.certs / "client.pem"), str(simulator.certs / "client_key.pem"))
        self._session.verify = str(simulator.certs / "root.pem")
        self._admin = requests.Session()
        self._admin.trust_env = False

    def close(self) -> None:
        """Close both."""
        self._session.close()
        self._admin.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 60,
        json: Any = None,
        **parameters: str,
    ) -> requests.Response:
        """Call `/qrs/<path>`; parameters are percent-encoded, None among the headers leaves one out."""
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        return self.raw(
            method, f"/qrs/{path}?xrfkey={KEY}&{query}", headers=headers, timeout=timeout, json=json
        )

    def raw(
        self,
        method: str,
        target: str,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 60,
        json: Any = None,
    ) -> requests.Response:
        """Call a whole request target as it is."""
        sent = {"X-Qlik-Xrfkey": KEY, "X-Qlik-User": USER} if headers is None else headers
        return self._session.request(
            method, self.simulator.url + target, headers=sent, timeout=timeout, json=json
        )

    def get(self, path: str, **parameters: Any) -> Any:
        """Read JSON with status 200."""
        response = self.call("GET", path, **parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def start(self, task_id: str) -> str:
        """Start a task synchronously and give the id."""
        response = self.call("POST", f"task/{task_id}/start/synchronous")
        assert response.status_code == 201, response.text
        value: str = response.json()["value"]
        return value

    def session_gone(self, execution_id: str) -> bool:
        """Return whether the session has ended."""
        return self.call("GET", f"executionsession/{execution_id}").status_code == 404

    def admin(self, method: str, path: str, json: Any = None) -> Any:
        """Call an admin endpoint; 2xx is expected."""
        response = self._admin.request(
            method, f"{self.simulator.admin_url}/admin{path}", json=json, timeout=60
        )
        assert response.ok, response.text
        return response.json() if response.content else None

    def switch(self, **positions: Any) -> None:
        """Put switches into positions."""
        self.admin("PUT", "/switches", positions)

    def plant(self, **fault: Any) -> int:
        """Plant a fault and give its id."""
        number: int = self.admin("POST", "/faults", fault)["id"]
        return number

"""The parts that a benchmark needs, each a process of its own: broker, Qlik stand-in, daemon."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import requests
import yaml

from tests.brokers import Mosquitto

START_TOPIC = "qliksense/task/start"
#: What the bare client of `benchmarks.bare` listens to, so that it can run beside the daemon.
BARE_TOPIC = "qliksense/bare/start"
READY = "ready: requests are taken from"
READY_SECONDS = 60.0

#: Counts of what `Place` generates: single tasks, and tags by the number of their tasks.
TAGGED = (1, 10, 100)


def site(tasks: int) -> dict[str, Any]:
    """Describe a site with *tasks* tasks that end at once, and tags on 1, 10 and 100 further ones."""
    return {
        "nodes": [{"name": "Central", "maxConcurrentEngines": 100_000}],
        "generate": [
            {"name": "Single {n}", "count": tasks, "durationSeconds": 0},
            *(
                {"name": f"Of {count} {{n}}", "count": count, "durationSeconds": 0, "tags": [f"tag-{count}"]}
                for count in TAGGED
            ),
        ],
    }


class Server:
    """The Qlik stand-in; `arrivals` gets a line for each POST."""

    def __init__(
        self, folder: Path, site_: Mapping[str, Any], *, ledger: Path | None = None, port: int = 0
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.certs = folder / "certs"
        self.arrivals = folder / "arrivals"
        self.arrivals.touch()
        (folder / "site.yaml").write_text(yaml.safe_dump(dict(site_)))
        command = [sys.executable, "-m", "benchmarks.server", str(self.arrivals)]
        command += ["--port", str(port), "--admin-port", "0", "--certs", str(self.certs)]
        command += ["--tasks", str(folder / "site.yaml")]
        if ledger is not None:
            command += ["--ledger", str(ledger)]
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        urls = [self._process.stdout.readline().split(" on ")[-1].strip() for _ in range(2)]
        assert all(urls), f"the Qlik stand-in did not start: {(folder / 'server.log').read_text()}"
        self.port = int(urls[0].rpartition(":")[2])
        self._admin_url = urls[1]
        self._session = requests.Session()
        self._session.trust_env = False

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call an admin endpoint."""
        answer = self._session.request(method, f"{self._admin_url}/admin{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def tasks(self, prefix: str) -> list[str]:
        """Give the ids of the tasks whose names begin with *prefix*."""
        return [one["id"] for one in self.admin("GET", "/tasks") if one["name"].startswith(prefix)]

    def posts(self, since: int = 0) -> list[tuple[int, str]]:
        """Give monotonic nanoseconds and task id of the POSTs noted from the byte *since* on."""
        with self.arrivals.open() as file:
            file.seek(since)
            lines = [line.split(" ", 1) for line in file]
        return [(int(moment), path.split("/")[3]) for moment, path in lines]

    def mark(self) -> int:
        """Give the present end of the notes, for `posts`."""
        return self.arrivals.stat().st_size

    def close(self) -> None:
        """End it."""
        self._session.close()
        self._process.kill()
        self._process.communicate(timeout=10)


class Daemon:
    """The installed daemon with a configuration and a journal of its own."""

    def __init__(
        self,
        folder: Path,
        broker_port: int,
        server: Server,
        **sections: Mapping[str, object],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.journal = folder / "journal.sqlite"
        self._config = folder / "config.yaml"
        self._log = folder / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._clock: Path | None = None
        self._fake: dict[str, str] = {}
        config: dict[str, dict[str, object]] = {
            "mqttConfig": {"brokerHost": "127.0.0.1", "brokerPort": broker_port},
            "configQRS": {"host": "127.0.0.1", "port": server.port},
            "cert": {
                "clientCert": str(server.certs / "client.pem"),
                "clientCertKey": str(server.certs / "client_key.pem"),
                "clientCertCA": str(server.certs / "root.pem"),
            },
            "journal": {"url": f"sqlite:///{self.journal}"},
        }
        for name, changes in sections.items():
            config.setdefault(name, {}).update(changes)
        self._settings: dict[str, object] = {**config}
        self._config.write_text(yaml.safe_dump({"Butler": self._settings}))

    def rule(self, rules: Sequence[Mapping[str, object]]) -> Daemon:
        """Have these rules in the configuration, from the next start on."""
        self._settings["rules"] = list(rules)
        self._config.write_text(yaml.safe_dump({"Butler": self._settings}))
        return self

    @property
    def running(self) -> bool:
        """Tell whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Give the process id."""
        assert self._process is not None, "the daemon does not run"
        return self._process.pid

    def fake_time(self, file: Path) -> None:
        """Let its clock be what `set_clock` says, from the next start on (libfaketime)."""
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert found, "libfaketime is missing: apt-get install faketime"
        self._clock = file
        self._fake = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set_clock(0)

    def set_clock(self, days: int) -> None:
        """Let its clock be so many days ahead."""
        assert self._clock is not None, "its clock is the machine's"
        new = self._clock.with_suffix(".new")
        new.write_text(f"+{days}d")
        new.replace(self._clock)

    def start(self, *, ready: bool = True) -> float:
        """Run it; wait until it takes requests unless *ready* is false; give the seconds that took."""
        # What the machine has set for a service must not reach this one.
        names = ("BUTLER_", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "JOURNAL_STREAM")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
        end = self.log_end()
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._program(), "run", "-c", str(self._config)],
                cwd=self.folder,
                env=environment | self._fake,
                stdout=log,
                stderr=log,
            )
        if ready:
            self.wait_log(READY, since=end)
        return time.monotonic() - began

    def wait_log(self, text: str, *, since: int, seconds: float = READY_SECONDS) -> None:
        """Wait for a line with *text* behind the byte *since* of the log."""
        deadline = time.monotonic() + seconds
        while text not in self.log(since):
            assert self.running, f"the daemon ended:\n{self.log(since)[-3000:]}"
            assert time.monotonic() < deadline, f"no line with {text!r}:\n{self.log(since)[-3000:]}"
            time.sleep(0.005)

    def log(self, since: int = 0) -> str:
        """Give its log from the byte *since* on."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def log_end(self) -> int:
        """Give the present end of its log, for `log`."""
        return self._log.stat().st_size if self._log.exists() else 0

    def rss(self) -> float:
        """Give its resident memory in MB."""
        return rss(self.pid)

    def cpu(self) -> float:
        """Give the seconds of processor time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        assert self._process is not None, "the daemon does not run"
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(40)

    @staticmethod
    def _program() -> list[str]:
        beside = Path(sys.executable).with_name("butler-mqtt")
        return [str(beside)] if beside.exists() else [sys.executable, "-m", "butler_mqtt"]


class Place:
    """A folder with a broker and a Qlik stand-in, and daemons to come; a context manager."""

    def __init__(self, *, tasks: int, keep: bool = False) -> None:
        self._tasks = tasks
        self._keep = keep
        self._stack = ExitStack()
        self._number = 0

    def __enter__(self) -> Self:
        os.environ.setdefault("BUTLER_TEST_BROKER", "process")
        self.folder = Path(tempfile.mkdtemp(prefix="butler-bench-"))
        if not self._keep:
            self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        quiet = "log_type none\nmax_queued_messages 0\nmax_inflight_messages 200"
        self.broker = self._stack.enter_context(Mosquitto(self.folder / "broker", extra=quiet))
        self.server = Server(self.folder / "server", site(self._tasks))
        self._stack.callback(self.server.close)
        self.tasks = self.server.tasks("Single ")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def daemon(self, **sections: Mapping[str, object]) -> Daemon:
        """Make a daemon with an empty journal; it ends with the place."""
        self._number += 1
        name = f"daemon-{self._number}"
        # A session of its own each, so that none finds what another left; one that lasted beyond its stop
        # would get every request of the others, and have them to work off beside what is measured next.
        ours = {"clientId": name, "sessionExpirySeconds": 1}
        sections = {**sections, "mqttConfig": {**ours, **sections.get("mqttConfig", {})}}
        daemon = Daemon(self.folder / name, self.broker.port, self.server, **sections)
        self._stack.callback(daemon.kill)
        return daemon


def rss(pid: int) -> float:
    """Give the resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"/proc/{pid}/status has no VmRSS")


def batches(items: list[str], size: int) -> Iterator[list[str]]:
    """Cut *items* into lists of *size*."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

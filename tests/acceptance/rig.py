"""The rig: the simulator over mTLS and the daemon as a subprocess, both real, watched from outside."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests import programs
from tests.brokers import Mosquitto, until
from tests.integration.simulator.running import Client, Running
from tests.journals import put_empty
from tests.programs import Program

READY = "ready: requests are taken from"

_numbers = itertools.count(1)


class Qlik:
    """The simulator as a test sees it: tasks to add, faults to plant, starts to count."""

    def __init__(self, simulator: Running) -> None:
        self.simulator = simulator
        self.host, _, port = simulator.url.removeprefix("https://").rpartition(":")
        self.port = int(port)
        self._client = Client(simulator)
        self._switches = self._client.admin("GET", "/switches")
        self._added: list[dict[str, Any]] = []

    def close(self) -> None:
        self._client.close()

    def login(self, way: str) -> dict[str, object]:
        """Give the keys of `configQRS` for a login: `certificates`, or `jwt` or `header` at the proxy."""
        if way == "certificates":
            return {}
        port = int(self.simulator.proxy_url.rpartition(":")[2])
        keys: dict[str, object] = {"authentication": way, "port": port}
        if way == "jwt":
            token = self.simulator.certs / "butler.jwt"
            return keys | {"virtualProxy": "butler", "jwtFile": str(token)}
        user = {"name": "hdr-usr", "value": "INTERNAL\\sa_repository"}
        return keys | {"virtualProxy": "header", "headers": {"static": [user]}}

    def admin(self, method: str, path: str, json: Any = None) -> Any:
        """Call an admin endpoint."""
        return self._client.admin(method, path, json)

    def calm(self) -> None:
        """Take all faults out and put the switches back."""
        self.admin("DELETE", "/faults")
        self.admin("PUT", "/switches", self._switches)

    @contextmanager
    def one_test(self) -> Iterator[Qlik]:
        """Be calm before and after a test, and let no selector of the next test find the tasks it added."""
        self.calm()
        before = len(self._added)
        yield self
        self.calm()
        added, self._added = self._added[before:], self._added[:before]
        unnamed = [{**one, "name": one["id"], "tags": [], "customProperties": {}} for one in added]
        self.admin("POST", "/tasks", unnamed)

    def switch(self, **positions: Any) -> None:
        """Put switches into positions."""
        self._client.switch(**positions)

    def fault(self, kind: str, **fields: Any) -> int:
        """Plant a fault."""
        return self._client.plant(kind=kind, **fields)

    def struck(self, fault: int) -> int:
        """Count how often a fault has struck."""
        return int(next(one["struck"] for one in self.admin("GET", "/faults") if one["id"] == fault))

    def task(self, name: str = "", **fields: Any) -> str:
        """Add a task that nobody had before and give its id."""
        return self._add([{"name": name or f"Task {next(_numbers)}", **fields}])[0]

    def tasks(self, count: int, **fields: Any) -> list[str]:
        """Add several at once and give their ids."""
        return self._add([{"name": f"Task {next(_numbers)}", **fields} for _ in range(count)])

    def _add(self, definitions: list[dict[str, Any]]) -> list[str]:
        made = [{"id": str(uuid.uuid4()), "durationSeconds": 0.01, **one} for one in definitions]
        self.admin("POST", "/tasks", made)
        self._added += made
        return [str(one["id"]) for one in made]

    def executions(self, task_id: str) -> int:
        """Count the executions that ever began of a task."""
        return self._count(task_id, "executions")

    def posts(self, task_id: str) -> int:
        """Count the starts that were asked for and carried out by the server, with or without an effect."""
        return self._count(task_id, "requests")

    def total(self) -> int:
        """Count all executions of all tasks."""
        return int(self.admin("GET", "/starts")["executions"])

    def start_calls(self, task_id: str) -> list[dict[str, Any]]:
        """Give the calls that asked for a start of a task, whatever became of them."""
        calls = self.admin("GET", f"/calls?method=POST&path=/task/{task_id}/start&limit=20000")["calls"]
        return list(calls)

    def execution_ids(self, task_id: str) -> list[str]:
        """Give the ids of a task's executions, oldest first."""
        found = self.admin("GET", f"/executions?taskId={task_id}")
        return list(dict.fromkeys(one["executionID"] for one in found))

    def begin(self, task_id: str) -> str:
        """Start a task as somebody else does and give the execution's id."""
        return str(self.admin("POST", f"/tasks/{task_id}/start")["executionId"])

    def end(self, task_id: str) -> None:
        """Abort what runs of a task and wait for its end; what waits behind it may begin at once."""
        running = self._active(task_id)
        self.admin("POST", f"/tasks/{task_id}/stop")
        until(lambda: not running & self._active(task_id), what=f"task {task_id} has ended")

    def until_idle(self, task_id: str) -> None:
        """Wait until nothing of a task runs."""
        until(lambda: not self._active(task_id), what=f"task {task_id} is idle")

    def _active(self, task_id: str) -> set[str]:
        found = self.admin("GET", f"/executions?taskId={task_id}&active=true")
        return {str(one["executionID"]) for one in found}

    def _count(self, task_id: str, what: str) -> int:
        return int(self.admin("GET", "/starts")["tasks"].get(task_id, {}).get(what, 0))


class Daemon:
    """
    The installed program with a configuration of its own.

    Args:
        folder: Holds configuration, journal and log; created when missing.
        qlik: The server it starts tasks on.
        broker: The broker, or a port of 127.0.0.1 that leads to it.
        makes_journal: Let it make its journal itself, in place of finding one without content.
        sections: Parts of the configuration that differ, by section, merged into it.
    """

    def __init__(
        self,
        folder: Path,
        qlik: Qlik,
        broker: Mosquitto | int,
        *,
        makes_journal: bool = False,
        **sections: Mapping[str, object],
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = folder / "journal.sqlite"
        self.config_file = folder / "config.yaml"
        port = broker if isinstance(broker, int) else broker.port
        certs = qlik.simulator.certs
        self.config: dict[str, dict[str, object]] = {
            "mqttConfig": {"brokerHost": "127.0.0.1", "brokerPort": port},
            "configQRS": {
                "host": qlik.host,
                "port": qlik.port,
                "connectTimeoutSeconds": 2,
                "readTimeoutSeconds": 2,
                "retry": {"attempts": 2, "maxSeconds": 2},
            },
            "cert": {
                "clientCert": str(certs / "client.pem"),
                "clientCertKey": str(certs / "client_key.pem"),
                "clientCertCA": str(certs / "root.pem"),
            },
            "journal": {"url": f"sqlite:///{self.journal}"},
        }
        self.log_level = "info"
        self._makes_journal = makes_journal
        self.configure(**sections)
        self.lines: list[str] = []
        self._begun = 0
        self._changed = threading.Condition()
        self._process: Program | None = None
        self._reader: threading.Thread | None = None

    def configure(self, **sections: Mapping[str, object]) -> None:
        """Change the configuration file for the next start."""
        for name, changes in sections.items():
            self.config.setdefault(name, {}).update(changes)
        keys = {"logLevel": self.log_level, **self.config}
        self.config_file.write_text(yaml.safe_dump({"Butler": keys}, allow_unicode=True))

    def verbose(self) -> Daemon:
        """Have lines logged that are repeated, and all others at `debug`."""
        self.log_level = "debug"
        self.configure()
        return self

    # ---- running

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, ready: bool = True, **environment: str) -> Daemon:
        """Run it and, with *ready*, wait until requests are taken."""
        assert self._process is None, "it runs already"
        # What the machine has set for a service must not reach the one under test.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BUTLER_", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"))
        }
        self._begun = len(self.lines)
        ours = self.config["journal"]["url"] == f"sqlite:///{self.journal}"
        if ours and not self._makes_journal and not self.journal.exists():
            put_empty(self.journal)
        # One that is not there any more was taken away by a test.
        self._makes_journal = True
        self._process = programs.start(
            [sys.executable, "-m", "butler_mqtt", "run", "-c", str(self.config_file)],
            cwd=self.folder,
            env={**inherited, "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if ready:
            self.wait_log(READY)
        return self

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM, and wait for the end."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float | None = 60.0) -> int:
        """Wait for the end (None: for ever) and give the exit code; minus the signal where one ended it."""
        assert self._process is not None
        assert self._reader is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end in {seconds} s:\n{self.log()}") from None
        self._reader.join(5)
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._process = None
        return code

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def end(self) -> None:
        """Kill it if it runs, while somebody else waits for its end."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait(60)

    def close(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            self._process.kill()
            self.wait()

    # ---- watching

    def log(self) -> str:
        """Give the end of its log since the last start."""
        return "\n".join(self.lines[self._begun :][-40:])

    def mark(self) -> int:
        """Give the present end of the log, for `wait_log`."""
        return len(self.lines)

    def wait_log(self, text: str, *, since: int | None = None, seconds: float = 60.0) -> str:
        """Wait for a line with *text*, since the last start or a mark, and give it."""
        start = self._begun if since is None else since
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                for line in self.lines[start:]:
                    if text in line:
                        return line
                left = deadline - time.monotonic()
                assert left > 0, f"no line with {text!r} in {seconds} s:\n{self.log()}"
                self._changed.wait(min(left, 0.2))
                assert self._process is not None
                assert self._process.poll() is None or self._reader is None or self._reader.is_alive(), (
                    f"it ended with {self._process.poll()} before a line with {text!r}:\n{self.log()}"
                )

    def logged(self, text: str) -> int:
        """Count the lines with *text* since the last start."""
        return sum(text in line for line in self.lines[self._begun :])

    def wait_logged(self, text: str, times: int = 1) -> int:
        """Wait for so many lines with *text* since the last start, and count them."""
        until(lambda: self.logged(text) >= times, what=f"{times} lines with {text!r}")
        return self.logged(text)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read the journal beside the daemon."""
        return journal_rows(self.journal, query)

    def wait_row(self, query: str, *, seconds: float = 60.0) -> tuple[Any, ...]:
        """Wait until a query of the journal gives something, and give its first row."""
        return until(lambda: self.rows(query), seconds=seconds, what=f"{query}:\n{self.log()}")[0]

    def _read(self, process: Program) -> None:
        assert process.stderr is not None
        with (self.folder / "log").open("a", buffering=1) as copy:
            for line in process.stderr:
                copy.write(line)
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()


def journal_rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    """Read a journal, whoever writes it; nothing while the file or its tables are not there."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []

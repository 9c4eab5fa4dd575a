"""A REST listener for tests, with a pipeline of three lines in place of the real one."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from butler_mqtt.domain.model import Arrival
from butler_mqtt.domain.senders import ANYBODY, Caller, Senders
from butler_mqtt.http import application
from butler_mqtt.http.api.start_endpoint import StartEndpoint
from butler_mqtt.http.backend import Backend, Check, Listing, ListQuery, TaskListing, TaskQuery
from butler_mqtt.http.guard import Guard
from butler_mqtt.http.rate_limit import RateLimit
from butler_mqtt.http.server.listener import Listener
from butler_mqtt.http.server.protocol import HttpLimits
from butler_mqtt.settings import MonitoringSettings, RestSettings, Settings, Webhook
from tests.integration.http.hostile_client import HostileClient


class Pipeline:
    """Takes arrivals and answers each as a test wants; `answer` None: it is stored and never answered."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.refusals: list[str] = []
        self.obstacle: str | None = None
        self.stores = True
        self.answer: Mapping[str, object] | None = {
            "status": "ok",
            "tasksStarted": [],
            "totalTasksStarted": 0,
        }
        self.states: dict[str, Mapping[str, object]] = {}
        self.bug: Exception | None = None
        self.checks = [Check("threads")]
        self.listing: Listing = lambda _query: []
        self.tasks: TaskListing = lambda _query: []
        self.webhooks: dict[str, Webhook] = {}
        self.senders = Senders(Settings())

    def emit(self, arrival: Arrival) -> None:
        """Store and answer, from another thread as the real one does."""
        self.arrivals.append(arrival)
        threading.Thread(target=self._take, args=(arrival,)).start()

    def _take(self, arrival: Arrival) -> None:
        if not self.stores:
            return
        assert arrival.on_stored is not None
        assert arrival.on_reply is not None
        try:
            body = json.loads(arrival.payload)
        except ValueError:
            body = None
        request_id = str((isinstance(body, dict) and body.get("requestId")) or arrival.request_id)
        arrival.on_stored(request_id)
        if self.answer is not None:
            arrival.on_reply(json.dumps({"requestId": request_id, **self.answer}))

    def _inquire(self, request_id: str, _caller: Caller = ANYBODY, /) -> Mapping[str, object] | None:
        if self.bug is not None:
            raise self.bug
        return self.states.get(request_id)

    def _list(self, query: ListQuery) -> list[tuple[tuple[int, int], Mapping[str, object]]]:
        return self.listing(query)

    def _task_list(self, query: TaskQuery) -> list[tuple[str, Mapping[str, object]]] | None:
        return self.tasks(query)

    def _webhook(self, name: str) -> Webhook | None:
        return self.webhooks.get(name)

    def core(self) -> Backend:
        """Return the callables the door is made with."""
        return Backend(
            emit=self.emit,
            obstacle=lambda: self.obstacle,
            inquire=self._inquire,
            refused=self.refusals.append,
            health=lambda: self.checks,
            readiness=lambda: self.checks,
            exposition=lambda: b"up 1\n",
            listing=self._list,
            tasks=self._task_list,
            webhook=self._webhook,
            senders=lambda: self.senders,
        )


class Door:
    """A running listener; `hostile` speaks to it as no honest client does."""

    def __init__(self, listener: Listener, pipeline: Pipeline, rest: RestSettings) -> None:
        self.hostile = HostileClient(listener.port)
        self.guards: list[Guard] = []
        self.port = listener.port
        self.pipeline = pipeline
        self.listener = listener
        self.url = f"http{'s' if rest.tls.enable else ''}://127.0.0.1:{listener.port}"
        self.start = f"{self.url}/v4/reloadtask/start"

    @property
    def guard(self) -> Guard:
        """What judges the callers of a REST listener."""
        return self.guards[0]

    def connect(self) -> socket.socket:
        """Open a bare connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.settimeout(10)
        return connection

    def exchange(self, *pieces: bytes) -> bytes:
        """Send *pieces* on a connection of their own and return all that comes back until it is closed."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
            return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found


@contextlib.contextmanager
def door(
    rest: RestSettings | None = None,
    *,
    limits: HttpLimits | None = None,
    limit: RateLimit | None = None,
    store_seconds: float = 10.0,
) -> Iterator[Door]:
    """Run a listener on a free port until the block ends; a thread that dies fails the test."""
    rest = rest or RestSettings(rest_wait_seconds=5)
    pipeline = Pipeline()
    guards: list[Guard] = []

    def make(ending: Any) -> Any:
        core = pipeline.core()
        start = StartEndpoint(
            core, rest.max_body_bytes, rest.rest_wait_seconds, ending, store_seconds=store_seconds
        )
        guards.append(application.rest(core, rest, ending, limit=limit, start=start))
        return guards[0]

    with _running("REST", make, rest, pipeline, limits) as one:
        one.guards = guards
        yield one


@contextlib.contextmanager
def monitoring_door(
    settings: MonitoringSettings | None = None,
    *,
    limits: HttpLimits | None = None,
    max_body_bytes: int = 262144,
) -> Iterator[Door]:
    """Run a monitoring listener on a free port until the block ends."""
    pipeline = Pipeline()

    def make(_ending: Any) -> Any:
        return application.monitoring(pipeline.core(), settings or MonitoringSettings(), max_body_bytes)

    with _running("monitoring", make, RestSettings(), pipeline, limits) as one:
        yield one


@contextlib.contextmanager
def _running(
    name: str, make: Callable[[Any], Any], rest: RestSettings, pipeline: Pipeline, limits: HttpLimits | None
) -> Iterator[Door]:
    deaths: list[BaseException] = []
    listener = Listener(name, make, "127.0.0.1", 0, on_fatal=deaths.append, tls=rest.tls, limits=limits)
    listener.start()
    try:
        yield Door(listener, pipeline, rest)
    finally:
        listener.stop(10)
    assert deaths == []


#: Both listeners, for what holds on either.
BOTH: dict[str, Callable[..., contextlib.AbstractContextManager[Door]]] = {
    "REST": door,
    "monitoring": monitoring_door,
}

"""
The core of the daemon with everything around it under a test's control.

`Harness` is a real `Pipeline` on a real journal file, stepped by the test; `Site`
stands for the Qlik server, `Broker` for both sides of the MQTT broker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, select

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.model import Arrival, Message
from butler_mqtt.http.metrics import Metrics
from butler_mqtt.journal import tables
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.journal.sqlite import Journal, reading_engine
from butler_mqtt.pipeline.backlog import MAX_IN_MEMORY
from butler_mqtt.pipeline.loop_timings import LoopTimings
from butler_mqtt.pipeline.pipeline import Pipeline
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.settings import Settings
from tests.journals import put_empty
from tests.pipeline.broker_double import Broker
from tests.pipeline.faulty_journal import FaultyJournal
from tests.pipeline.site_double import Site

#: Pauses of the work with the Qlik server that a test can wait for.
SHORT_QLIK = QlikTimings(
    longest_pause=0.005,
    between_polls=0.01,
    least_poll=0.002,
    most_poll=0.01,
    most_blocking_poll=0.01,
    script_log_pause=0.002,
)
#: Pauses of the loop that a test can wait for.
SHORT_LOOP = LoopTimings(
    tidy_seconds=0.002, repair_seconds=0.0, command_seconds=0.0, publish_pause_seconds=0.005
)


@dataclass
class Harness:
    """
    One daemon on one journal file, with its server and its broker.

    `send` submits a message; `until` turns and works until something is so.
    `crash` ends it without warning, `start` starts it again on the same file.
    """

    folder: Path
    settings: Settings = field(default_factory=Settings)
    site: Site = field(default_factory=Site)
    broker: Broker = field(default_factory=Broker)
    qlik_timings: QlikTimings = SHORT_QLIK
    timings: LoopTimings = SHORT_LOOP
    refusals: Refusals | None = None
    in_memory: int = MAX_IN_MEMORY
    generation: int = 0
    #: What the daemon counts, where a test asks.
    metrics: Metrics | None = None
    pipeline: Pipeline = field(init=False)
    journal: FaultyJournal = field(init=False)
    _packet_ids: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def path(self) -> Path:
        return self.folder / "journal.sqlite"

    def start(self, *, session_present: bool | None = None) -> None:
        """Start the daemon; by default the broker keeps the session except the first time."""
        present = self.generation > 0 if session_present is None else session_present
        if not self.generation and not self.path.exists():
            put_empty(self.path)
        self.journal = FaultyJournal(f"sqlite:///{self.path}")
        self.pipeline = Pipeline(
            self.settings,
            self.journal,
            publish=self.broker.publish,
            server_time=self.site.server_time,
            qlik_timings=self.qlik_timings,
            refusals=self.refusals,
            timings=self.timings,
            in_memory=self.in_memory,
            counting=self.metrics,
        )
        self.pipeline.open(self.broker)
        self.broker.emit = self.pipeline.emit
        self.connect(present=present)

    def counted(self, name: str) -> float:
        """Return the value of the series *name*, which has no labels."""
        assert self.metrics is not None
        return sum(one.value for found in self.metrics.collect() for one in found.samples if one.name == name)

    def crash(self) -> None:
        """End the process: memory, threads, locks and connections are gone, the file stays."""
        self.pipeline.close()
        self.broker.emit = lambda _event: None
        self.broker.forget()

    @contextmanager
    def journal_file(self) -> Iterator[Connection]:
        """Work on the file within a transaction, as a command does while no daemon runs."""
        journal = Journal(f"sqlite:///{self.path}")
        journal.open()
        with journal.transaction() as connection:
            yield connection
        journal.close()

    def restart(self) -> None:
        """Crash and start again."""
        self.crash()
        self.start()

    def connect(self, *, present: bool) -> None:
        """Let a connection with the broker begin."""
        self.generation += 1
        self.broker.connected(self.generation, present=present)

    # ---- what arrives

    def message(self, body: object, packet_id: int | None = None, **fields: Any) -> Message:
        """Make a message as the door does; *body* is JSON unless it is bytes."""
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        number = packet_id if packet_id is not None else next(self._packet_ids)
        return Message(self.settings.mqtt.task_start_topic, payload, number, self.generation, **fields)

    def deliver(self, message: Message) -> None:
        """Let a message arrive, on the connection of now."""
        message = message._replace(generation=self.generation)
        self.pipeline.emit(Arrival("mqtt", message.payload, now_ms(), message))

    def send(self, body: object, **fields: Any) -> Message:
        """Publish a request."""
        message = self.message(body, **fields)
        self.deliver(message)
        return message

    def call(self, body: object, **fields: Any) -> list[str]:
        """Send a request through the REST door; the list given gets the reply."""
        answers: list[str] = []
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.pipeline.emit(Arrival("rest", payload, now_ms(), on_reply=answers.append, **fields))
        return answers

    # ---- turning

    def turn(self) -> None:
        """Let the loop turn once."""
        self.pipeline.turn(0.005)

    def find(self) -> None:
        """Let the thread that resolves selectors work off its jobs."""
        self.pipeline.resolver.stop()
        self.pipeline.resolver.work(self.site)

    def post(self) -> None:
        """Let the POST workers work off their jobs."""
        self.pipeline.dispatcher.post_workers.stop()
        self.pipeline.dispatcher.post_workers.work(self.site)

    def snapshot(self) -> None:
        """Let the thread that reads snapshots work off its jobs."""
        self.pipeline.dispatcher.reconciler.stop()
        self.pipeline.dispatcher.reconciler.work(self.site)

    def follow(self) -> None:
        """Let the thread that polls executions work off its jobs."""
        self.pipeline.dispatcher.poller.stop()
        self.pipeline.dispatcher.poller.work(self.site)

    def step(self) -> None:
        """Turn once and let every thread work off its jobs."""
        self.turn()
        self.find()
        self.post()
        self.snapshot()
        self.follow()

    def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Step until *condition* is true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come to pass"
            self.step()

    def replied(self, replies: int = 1) -> list[dict[str, Any]]:
        """Step until so many replies have been handed to the broker; return them."""
        self.until(lambda: len(self.replies()) >= replies)
        return self.replies()

    def ask(self, body: object, **fields: Any) -> dict[str, Any]:
        """Send a request, step until its reply is published, return the reply."""
        before = len(self.replies())
        self.send(body, **fields)
        return self.replied(before + 1)[-1]

    def quiet(self) -> None:
        """Step until everything on disk is answered and published."""
        self.until(lambda: not self.open_rows() and not self.rows_unpublished())
        self.step()

    # ---- what a test reads

    def replies(self) -> list[dict[str, Any]]:
        """Return all published replies in order, repetitions too."""
        return [json.loads(one.payload) for one in self.broker.published if one.delivery is not None]

    def events(self) -> list[dict[str, Any]]:
        """Return all published events in order, repetitions too."""
        return [json.loads(one.payload) for one in self.broker.published if one.delivery is None]

    @cached_property
    def _reader(self) -> Engine:
        # One, since each compiles its queries anew; a connection is opened each time all the same.
        return reading_engine(self.path)

    def rows(self, table: Table) -> list[Mapping[str, Any]]:
        """Read a table of the journal as another process would."""
        with self._reader.connect() as connection:
            return [dict(row) for row in connection.execute(select(table).order_by(table.c.id)).mappings()]

    def open_rows(self) -> list[Mapping[str, Any]]:
        """Read the requests without a reply."""
        return [row for row in self.rows(tables.requests) if row["state"] in {"received", "decided"}]

    def rows_unpublished(self) -> list[Mapping[str, Any]]:
        """Read the messages that were never handed to the broker."""
        known = {publication.id for publication in self.broker.published + self.broker.events}
        return [row for row in self.rows(tables.outbox) if row["id"] not in known]

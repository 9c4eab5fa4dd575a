"""
The core of the daemon with everything around it under a test's control.

`Harness` is a real `Pipeline` on a real journal file, stepped by the test. `Site`
stands for the Qlik server, `Broker` for both sides of the MQTT broker: each has
the one or two methods of the seam it fills, and what it does is scripted.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, cast

from hypothesis import strategies as st
from sqlalchemy import Connection, Table, select

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import (
    AcknowledgementsRead,
    Completion,
    PublicationConfirmed,
    PublicationRefused,
    PublicationsLost,
    PublisherReady,
    SessionBegan,
)
from butler_mqtt.domain.model import (
    EMPTY_GUID,
    Arrival,
    Execution,
    Message,
    Publication,
    Selector,
    Task,
    TaskSnapshot,
)
from butler_mqtt.errors import JournalError, OutcomeUnknown, QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.journal.sqlite import Journal, reading_engine
from butler_mqtt.pipeline.loop_timings import LoopTimings
from butler_mqtt.pipeline.pipeline import Pipeline
from butler_mqtt.resolving.qlik_timings import QlikTimings
from butler_mqtt.settings import Settings

OUR_USER = "INTERNAL\\sa_repository"
#: Server time at the beginning of every test; far from the real one, so that mixing the two shows.
BEGINNING = datetime(2024, 3, 1, 12, 0, 0, tzinfo=UTC)


#: Seconds by which the clocks of nodes are ahead of the server's, and by which its `Date` is old.
NODE_CLOCKS: st.SearchStrategy[tuple[float, ...]] = st.one_of(
    st.just((0.0,)), st.lists(st.floats(-60, 60), min_size=1, max_size=3).map(tuple)
)
DATE_AGES = st.sampled_from([0.0, 0.0, 3.0, 60.0])


def guid(number: int, group: int = 0) -> str:
    """Give an id that is easy to read in a failed assertion."""
    return f"{number:08x}-{group:04x}-4000-8000-000000000000"


#: Pauses of the work with the Qlik server that a test can wait for.
SHORT_QLIK = QlikTimings(
    longest_pause=0.005, between_polls=0.01, least_poll=0.002, most_poll=0.01, script_log_pause=0.002
)
#: Pauses of the loop that a test can wait for.
SHORT = LoopTimings(tidy_seconds=0.002, repair_seconds=0.0, command_seconds=0.0, publish_pause_seconds=0.005)


class Crash(BaseException):
    """The process is killed here: nothing after it happens."""


# ---- the Qlik server


class Site:
    """
    A Qlik server with tasks and executions.

    `posts` are the ids of the tasks for which a start had effect. `script`
    holds what the next starts do instead of the ordinary: a `QlikError` is
    raised without effect, a callable is called with the site and the task.
    `finding` and `looking` hold errors that the next calls of these raise;
    `together` tells how many tasks each look at many was about, and the task
    `unreadable` cannot be looked at.
    With `lasting` False executions end as soon as they have begun. `on_start` is
    called with every start that reaches the server. Executions are stamped in
    turn by nodes whose clocks are `node_clocks` seconds ahead of the server's, which is shown
    `date_age` seconds late; `began_at` has the true time at which each began.
    With `shows_last` False tasks do not tell their newest execution.
    """

    def __init__(self) -> None:
        self.clock: datetime | None = BEGINNING
        self.tasks: dict[str, Task] = {}
        self.history: dict[str, list[Execution]] = {}
        self.posts: list[str] = []
        self.script: deque[QlikError | Callable[[Site, Task], str | None]] = deque()
        self.kind: deque[QlikError] = deque()
        self.looking: deque[QlikError] = deque()
        self.asked: list[list[Selector]] = []
        self.snapshots = 0
        self.together: list[int] = []
        self.unreadable = ""
        self.down = False
        self.lasting = True
        self.on_start: Callable[[Task], None] = lambda _task: None
        self.node_clocks: Sequence[float] = (0.0,)
        self.date_age = 0.0
        self.shows_last = True
        self.began_at: dict[str, datetime] = {}
        self._numbers = count(1)

    # ---- what a test arranges

    def add(self, name: str, **fields: Any) -> str:
        """Make a task and give its id."""
        task_id = guid(len(self.tasks) + 1, 0xAAAA)
        self.tasks[task_id] = Task(task_id, name, **{"task_type": 0, "enabled": True, **fields})
        self.history[task_id] = []
        return task_id

    def change(self, task_id: str, **fields: Any) -> None:
        """Change a task."""
        self.tasks[task_id] = replace(self.tasks[task_id], **fields)

    def pass_time(self, seconds: float) -> None:
        """Let the server's clock go on."""
        if self.clock is not None:
            self.clock += timedelta(seconds=seconds)

    def begin(self, task_id: str, user: str = "LAB\\somebody") -> str:
        """Begin an execution, as the scheduler or a hand in the QMC does."""
        number = next(self._numbers)
        if self.clock is not None:
            self.began_at[guid(number, 0xEEEE)] = self.clock
        stamp = self._stamp(number)
        execution = Execution(
            guid(number, 0xEEEE),
            guid(number, 0xBBBB),
            stamp,
            status=2,
            session=True,
            user=user,
            started=stamp,
        )
        self.history[task_id].insert(0, execution)
        if not self.lasting:
            self.end(task_id)
        return execution.id or ""

    def end(self, task_id: str, status: int = 7) -> None:
        """End the task's newest execution."""
        newest, *older = self.history[task_id]
        stopped = self._stamp(int((newest.id or "0").split("-")[0], 16))
        self.history[task_id] = [replace(newest, status=status, session=False, stopped=stopped), *older]

    def _stamp(self, number: int) -> datetime | None:
        """Give the time as the node of this execution has it."""
        ahead = self.node_clocks[number % len(self.node_clocks)]
        return None if self.clock is None else self.clock + timedelta(seconds=ahead)

    def running(self, task_id: str) -> Execution | None:
        """Give the task's active execution."""
        return next((one for one in self.history[task_id] if one.active), None)

    # ---- what the daemon calls

    def server_time(self) -> datetime | None:
        return None if self.clock is None else self.clock - timedelta(seconds=self.date_age)

    def about(self) -> dict[str, object]:
        self._answer(self.kind)
        return {}

    def find(self, selectors: Sequence[Selector]) -> dict[Selector, tuple[Task, ...] | QlikRefused]:
        self.asked.append(list(selectors))
        self._answer(self.kind)
        return {
            selector: tuple(self._shown(task) for task in self.tasks.values() if selector.matches(task))
            for selector in selectors
        }

    def start(self, task: Task) -> str | None:
        self.on_start(task)
        if self.script:
            scripted = self.script.popleft()
            if isinstance(scripted, QlikError):
                raise scripted
            return scripted(self, task)
        if self.down:
            raise QlikUnavailable("connection refused")
        return self.start_now(task)

    def start_now(self, task: Task) -> str | None:
        """Do what a start does when nothing is wrong."""
        known = self.tasks.get(task.id)
        if known is None:
            raise QlikRefused("404 with no such task", 404)
        if known.has_sessions and (
            known.enabled is False or known.app_available is False or self.running(task.id)
        ):
            return EMPTY_GUID
        self.posts.append(task.id)
        execution = self.begin(task.id, OUR_USER)
        return execution if known.has_sessions else None

    def read_snapshots(self, tasks: Iterable[Task]) -> dict[str, TaskSnapshot | QlikRefused]:
        asked = list(tasks)
        self.together.append(len(asked))
        return {task.id: self.snapshot(task) for task in asked}

    def snapshot(self, task: Task) -> TaskSnapshot:
        self.snapshots += 1
        if task.id == self.unreadable:
            raise QlikUnavailable("500 with a fault of the server")
        self._answer(self.looking)
        known = self.tasks.get(task.id)
        return TaskSnapshot(
            self._shown(known) if known else None,
            tuple(self.history.get(task.id, ())),
            sessions_readable=task.has_sessions,
        )

    def executions(self, ids: Sequence[str]) -> dict[str, Execution | None]:
        everything = {one.id: one for many in self.history.values() for one in many}
        return {identity: everything.get(identity) for identity in ids}

    def capacity(self) -> int:
        return 4

    def script_log(self, task_id: str, execution: Execution, lines: int) -> list[str] | None:
        del task_id, execution, lines
        return []

    def _answer(self, faults: deque[QlikError]) -> None:
        if faults:
            raise faults.popleft()
        if self.down:
            raise QlikUnavailable("connection refused")

    def _shown(self, task: Task) -> Task:
        executions = self.history[task.id]
        # A result does not name its execution there.
        if not self.shows_last:
            return task
        last = replace(executions[0], id=None, session=False) if executions else None
        return replace(task, last=last, last_shown=True)


def cut_after_effect(site: Site, task: Task) -> str | None:
    """Start the task and lose the answer."""
    site.start_now(task)
    raise OutcomeUnknown("the connection ended before the answer")


def cut_before_effect(site: Site, task: Task) -> str | None:
    """Lose the request on its way."""
    del site, task
    raise OutcomeUnknown("the connection ended before the answer")


def killed_after_effect(site: Site, task: Task) -> str | None:
    """Start the task; the daemon is killed before it reads the answer."""
    site.start_now(task)
    raise Crash


# ---- the broker


class Broker:
    """
    What the daemon sees of a broker: acknowledgements it sends, publications it hands over.

    `published` are all replies handed over in order, repetitions too, `events`
    the events;
    `in_flight` those not confirmed. With `room` 0 none is taken. Acknowledgements
    are known to be read at once; with `reads` False they wait for `read`.
    """

    def __init__(self) -> None:
        self.acknowledged: list[tuple[int, int]] = []
        self.published: list[Publication] = []
        self.events: list[Publication] = []
        self.confirmed: list[Publication] = []
        self.in_flight: dict[int, Publication] = {}
        self.room = 10**9
        self.reads = True
        self._generation = 0
        self._acknowledgements = 0
        self.on_acknowledge: Callable[[int], None] = lambda _packet_id: None
        self.emit: Callable[[Completion], None] = lambda _event: None

    def connected(self, generation: int, *, present: bool) -> None:
        """Let a connection begin."""
        self._generation, self._acknowledgements = generation, 0
        self.emit(SessionBegan(generation, present))

    def acknowledge(self, packet_id: int, generation: int) -> None:
        self.on_acknowledge(packet_id)
        self.acknowledged.append((packet_id, generation))
        if generation == self._generation and packet_id:
            self._acknowledgements += 1
            if self.reads:
                self.read()

    def read(self) -> None:
        """Prove that all acknowledgements of this connection were read, as a PINGRESP does."""
        self.emit(AcknowledgementsRead(self._generation, self._acknowledgements))

    def publish(self, publication: Publication) -> bool:
        if self.room <= len(self.in_flight):
            return False
        (self.events if publication.delivery is None else self.published).append(publication)
        self.in_flight[publication.id] = publication
        return True

    def confirm(self, *identities: int) -> None:
        """Confirm these publications, or all in flight."""
        for identity in identities or list(self.in_flight):
            self.confirmed.append(self.in_flight.pop(identity))
            self.emit(PublicationConfirmed(identity))

    def refuse(self, identity: int, reason: str = "quota exceeded", *, final: bool = False) -> None:
        """Refuse one publication."""
        del self.in_flight[identity]
        self.emit(PublicationRefused(identity, reason, final))

    def lose(self) -> None:
        """End the connection with everything unconfirmed."""
        gone = tuple(self.in_flight)
        self.in_flight.clear()
        self.emit(PublicationsLost(gone))
        self.emit(PublisherReady())

    def forget(self) -> None:
        """The daemon is gone, and with it what was in flight."""
        self.in_flight.clear()


# ---- the journal


class FaultyJournal(Journal):
    """
    A journal whose next transactions fail as told.

    Each entry of `faults` is for one transaction: None lets it be; `before`
    fails it before its COMMIT, `after` reports a failure although the COMMIT
    took effect, `reading` fails its first statement; an exception with
    `before` or `after` is raised instead of a mendable `JournalError`.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.faults: deque[tuple[str, BaseException | None] | None] = deque()
        self.committed = 0
        self.room = True

    def has_room(self) -> bool:
        """Tell what the test says of the disk."""
        return self.room

    def fail(self, where: str, error: BaseException | None = None) -> None:
        """Let the next transaction that has no fault yet fail."""
        self.faults.append((where, error))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        where, error = (self.faults.popleft() if self.faults else None) or ("", None)
        failure = error or JournalError(f"disk I/O error ({where} the commit)", recoverable=True)
        with super().transaction() as connection:
            yield cast("Connection", _Failing(connection, failure)) if where == "reading" else connection
            if where == "before":
                raise failure
        self.committed += 1
        if where == "after":
            raise failure


class _Failing:
    """A connection on which no statement succeeds; everything else is the real one's."""

    def __init__(self, connection: Connection, failure: BaseException) -> None:
        self._connection = connection
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        if name in {"execute", "exec_driver_sql", "connection"}:
            raise self._failure
        return getattr(self._connection, name)


# ---- the daemon's core


@dataclass
class Harness:
    """
    One daemon on one journal file, with its server and its broker.

    `send` hands in a message; `until` turns and works until something is so.
    `crash` ends it without warning, `start` begins it anew on the same file.
    """

    folder: Path
    settings: Settings = field(default_factory=Settings)
    site: Site = field(default_factory=Site)
    broker: Broker = field(default_factory=Broker)
    qlik_timings: QlikTimings = SHORT_QLIK
    timings: LoopTimings = SHORT
    refusals: Refusals | None = None
    generation: int = 0
    pipeline: Pipeline = field(init=False)
    journal: FaultyJournal = field(init=False)
    _packet_ids: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def path(self) -> Path:
        return self.folder / "journal.sqlite"

    def start(self, *, session_present: bool | None = None) -> None:
        """Begin the daemon; by default the broker keeps the session except the first time."""
        present = self.generation > 0 if session_present is None else session_present
        self.journal = FaultyJournal(f"sqlite:///{self.path}")
        self.pipeline = Pipeline(
            self.settings,
            self.journal,
            publish=self.broker.publish,
            server_time=self.site.server_time,
            qlik_timings=self.qlik_timings,
            refusals=self.refusals,
            timings=self.timings,
        )
        self.pipeline.open(self.broker)
        self.broker.emit = self.pipeline.emit
        self.connect(present=present)

    def crash(self) -> None:
        """End the process: memory, threads, locks and connections are gone, the file stays."""
        self.pipeline.close()
        self.broker.emit = lambda _event: None
        self.broker.forget()

    def restart(self) -> None:
        """Crash and begin anew."""
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
        """Let the thread that asks for tasks work off its jobs."""
        self.pipeline.resolver.stop()
        self.pipeline.resolver.work(self.site)

    def post(self) -> None:
        """Let the threads that post work off their jobs."""
        self.pipeline.dispatcher.post_workers.stop()
        self.pipeline.dispatcher.post_workers.work(self.site)

    def snapshot(self) -> None:
        """Let the thread that looks work off its jobs."""
        self.pipeline.dispatcher.reconciler.stop()
        self.pipeline.dispatcher.reconciler.work(self.site)

    def follow(self) -> None:
        """Let the thread that follows executions work off its jobs."""
        self.pipeline.dispatcher.poller.stop()
        self.pipeline.dispatcher.poller.work(self.site)

    def step(self) -> None:
        """Turn once and let every thread work off its jobs."""
        self.turn()
        self.find()
        self.post()
        self.snapshot()
        self.follow()

    def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Step until *condition* is true."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come to pass"
            self.step()

    def replied(self, replies: int = 1) -> list[dict[str, Any]]:
        """Step until so many replies have been handed to the broker; give them."""
        self.until(lambda: len(self.replies()) >= replies)
        return self.replies()

    def ask(self, body: object, **fields: Any) -> dict[str, Any]:
        """Send a request, step until its reply is published, give the reply."""
        before = len(self.replies())
        self.send(body, **fields)
        return self.replied(before + 1)[-1]

    def quiet(self) -> None:
        """Step until everything on disk is answered and published."""
        self.until(lambda: not self.open_rows() and not self.rows_unpublished())
        self.step()

    # ---- what a test reads

    def replies(self) -> list[dict[str, Any]]:
        """Give all published replies in order, repetitions too."""
        return [json.loads(one.payload) for one in self.broker.published if one.delivery is not None]

    def events(self) -> list[dict[str, Any]]:
        """Give all published events in order, repetitions too."""
        return [json.loads(one.payload) for one in self.broker.published if one.delivery is None]

    def rows(self, table: Table) -> list[Mapping[str, Any]]:
        """Read a table of the journal as another process would."""
        engine = reading_engine(self.path)
        with engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(table).order_by(table.c.id)).mappings()]

    def open_rows(self) -> list[Mapping[str, Any]]:
        """Read the requests without a reply."""
        return [row for row in self.rows(tables.requests) if row["state"] in {"received", "decided"}]

    def rows_unpublished(self) -> list[Mapping[str, Any]]:
        """Read the messages that were never handed to the broker."""
        known = {publication.id for publication in self.broker.published + self.broker.events}
        return [row for row in self.rows(tables.outbox) if row["id"] not in known]

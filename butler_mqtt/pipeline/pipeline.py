"""
The one loop: gather what happened, decide, commit, and only then act.

Everything that has an effect outside (an acknowledgement, a POST, a publication,
an answer to a caller) is done after the transaction that records it is on disk.
A process that is killed at any instant therefore finds in its journal
everything it has told anybody, and at most intents it has not carried out.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from butler_mqtt import __version__, clock, logs
from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import (
    AcknowledgementsRead,
    CapacityRead,
    Completion,
    ExecutionsPolled,
    Polled,
    Posted,
    PublicationConfirmed,
    PublicationRefused,
    PublicationsLost,
    PublisherReady,
    Reconfigured,
    Resolved,
    SessionBegan,
)
from butler_mqtt.domain.model import Arrival, Publication
from butler_mqtt.errors import JournalError, RequestError
from butler_mqtt.intake.arrivals import Intake
from butler_mqtt.journal import held_requests, queries, tables
from butler_mqtt.journal.pruning import CALM_STEP_SECONDS, STEP_SECONDS, Pruning
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.journal.retention import Retention
from butler_mqtt.journal.sqlite import Journal, highest_ids
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import Counting, UnitOfWork
from butler_mqtt.outbox.dead_letters import DeadLetters
from butler_mqtt.outbox.outbox import Outbox
from butler_mqtt.pipeline.event_queue import EventQueue
from butler_mqtt.pipeline.recovery import Recovery
from butler_mqtt.resolving.qlik_timings import DEFAULT_TIMINGS, QlikTimings
from butler_mqtt.resolving.resolver import Resolver
from butler_mqtt.settings import Settings
from butler_mqtt.starting.dispatcher import Dispatcher

#: Requests kept in memory while their tasks are not known; more stay in the journal only.
MAX_WAITING = 4000
#: Seconds between two looks for what is too late, and at most, as long as requests arrive: they go before it.
TIDY_SECONDS = 0.2
LATEST_TIDY_SECONDS = 1.0
#: Seconds without a look for what is too late, after which the process is taken to have stood still.
PAUSED_SECONDS = 5.0
#: Seconds between two tries to write the journal again.
REPAIR_SECONDS = 1.0

_log = logging.getLogger("butler_mqtt.pipeline")


class Acknowledging(Protocol):
    """The side of the MQTT door that acknowledges messages."""

    def acknowledge(self, packet_id: int, generation: int) -> None:
        """Send the PUBACK of a message of the connection *generation*."""


class Pipeline:
    """
    Takes requests from arrival to reply; owns all state, in one thread.

    Args:
        settings: The whole configuration.
        journal: Not yet open.
        publish: Hands a message to the broker; False when there is no room.
        server_time: The Qlik server's clock as last seen.
        counting: What is counted for those who watch over the daemon.
        qlik_timings: Pauses and intervals of the work with the Qlik server.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        *,
        publish: Callable[[Publication], bool],
        server_time: Callable[[], datetime | None],
        counting: Counting | None = None,
        qlik_timings: QlikTimings = DEFAULT_TIMINGS,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._event_queue = EventQueue()
        self._rows = UnitOfWork(counting)
        self._refusals = Refusals(least=settings.mqtt.receive_maximum)
        self._ledger = Ledger(
            self._rows,
            refusals=self._refusals,
            event_topic=settings.mqtt.task_event_topic if settings.mqtt.enable else None,
            if_running=settings.start_task.if_running,
        )
        self.resolver = Resolver(settings, self._ledger, self._event_queue.put, qlik_timings)
        self.dispatcher = Dispatcher(
            settings.start_task,
            self._rows,
            self._ledger,
            emit=self._event_queue.put,
            refresh=self.resolver.refresh,
            server_time=server_time,
            timings=qlik_timings,
            our_user=_user_id(settings),
        )
        self._intake = Intake(settings, self._rows, self._ledger)
        self._outbox = Outbox(self._ledger.deliveries, publish)
        self._recovery = Recovery(
            self._ledger, self.resolver, self.dispatcher, if_running=settings.start_task.if_running
        )
        self._server_time = server_time
        self._acknowledge: Callable[[int, int], None] = lambda _packet_id, _generation: None
        self._retention = Retention(
            settings.journal.retention_days, now=clock.STEADY.pruning_ms, unread=self._intake.unread
        )
        self._pruning = Pruning()
        self._dead_letters = DeadLetters(self._rows, journal.path, self._pruning)
        self._held: deque[Arrival] = deque()
        self._tidied = 0.0
        self._disk_checked = 0.0
        self._disk_has_room = True
        self._stopping = False
        self._draining = False
        self._drained = threading.Event()
        self._repaired = threading.Event()
        #: Monotonic time of the last finished turn, for the watchdog.
        self.progress = time.monotonic()
        #: Why nothing can be recorded, None while it can.
        self.fault: str | None = None

    @property
    def open_requests(self) -> int:
        """Count the requests without a reply."""
        return self._ledger.requests.count

    @property
    def held_requests(self) -> int:
        """Count the requests held since a backup was restored."""
        return self._recovery.held

    @property
    def obstacle(self) -> str | None:
        """Say why requests are not taken at the moment, None while they are."""
        if self.fault is not None:
            return self.fault
        if not self._disk_has_room:
            return f"the disk of the journal {self._journal.path} is nearly full: nothing is acknowledged"
        most = self._settings.start_task.max_open_requests
        if self._ledger.requests.count >= most:
            return f"{most} requests are open, which is startTask.maxOpenRequests: nothing is acknowledged"
        return None

    @property
    def accepting(self) -> bool:
        """Tell whether a request handed in now would be recorded soon."""
        return not self._draining and self.obstacle is None

    # ---- called from other threads

    def emit(self, happened: Arrival | Completion) -> None:
        """Hand in an arrival or event; never blocks and never fails."""
        if isinstance(happened, Arrival) and happened.message is None and happened.request_id is None:
            # Fixed before it is recorded, so that a repeated turn meets what the first one may have written.
            happened = happened._replace(request_id=str(uuid.uuid4()))
        self._event_queue.put(happened)

    def drain(self, timeout: float) -> bool:
        """
        Carry out nothing new, and wait for what is in hand.

        Args:
            timeout: Seconds.

        Returns:
            Whether every POST has its outcome on disk and every reply is with the broker.
        """
        self._draining = True
        self._event_queue.wake()
        return self._drained.wait(timeout)

    def stop(self) -> None:
        """Let `run` end after the turn in hand; what is open goes on after the next start."""
        self._stopping = True
        self._repaired.set()
        self._event_queue.wake()

    def close(self) -> None:
        """Close the journal, after `run` has ended."""
        self._journal.close()

    # ---- the loop

    def open(self, acknowledging: Acknowledging | None) -> None:
        """
        Open the journal and read what is open.

        Raises:
            JournalError: The journal cannot be used.
        """
        if acknowledging is not None:
            self._acknowledge = acknowledging.acknowledge
        self._journal.open()
        self._reload(began=True)

    def run(self) -> None:
        """
        Turn until `stop`.

        Raises:
            JournalError: The journal cannot be used and waiting cannot mend it.
        """
        while not self._stopping:
            self.turn()

    def turn(self, timeout: float = TIDY_SECONDS) -> None:
        """Take in what was handed in, waiting at most *timeout* seconds for the first, and carry it out."""
        happened = self._event_queue.take(timeout, linger=not self._outbox.pending)
        try:
            with logs.Together():
                self._carry_out(happened)
        except JournalError as error:
            self._repair(error, happened)
        except Exception:  # noqa: BLE001 -- a fault must not end the daemon while the journal is fine
            _log.exception("a turn failed; it is repeated one event at a time", extra={"action": "bug"})
            self._one_by_one(happened)
        if self._dead_letters.resumed:
            self._dead_letters.resumed = False
            try:
                self._reload()
            except JournalError as error:
                self._repair(error, ())
        self.progress = time.monotonic()

    def _carry_out(self, happened: Sequence[Arrival | Completion], *, again: bool = False) -> None:
        rows = self._rows
        rows.begin()
        with self._journal.transaction() as transaction:
            self._refusals.step(transaction)
            hurried = any(isinstance(one, Arrival) for one in happened)
            self._pruning.step(transaction, seconds=STEP_SECONDS if hurried else CALM_STEP_SECONDS)
            self._read_on(transaction)
            self._check_disk()
            if self._tidy_now(happened):
                self._tidy(transaction)
            taken, held = self._take_in(happened, transaction, again=again)
            self._move_on()
            if rows.unit:
                self._intake.note_acknowledged()
            rows.unit.write(transaction)
        self._held = held
        self._act(taken)

    def _act(self, taken: Sequence[Arrival]) -> None:
        """Do what waited for the commit; a fault in one thing must not undo or stop another."""
        # POSTs first, for which somebody waits; the broker can wait for its PUBACKs.
        for effect in (*self._rows.urgent, *self._rows.effects):
            _guarded(effect)
        for arrival in taken:
            if arrival.message is not None:
                _guarded(self._acknowledge, arrival.message.packet_id, arrival.message.generation)
        self._intake.acknowledged(taken)
        self._outbox.add(self._rows.publications)
        _guarded(self._outbox.pump)
        if not self._draining:
            # Last: begun beside the commit, such a question takes the time of the POST that waits for it.
            _guarded(self.dispatcher.poll)
            _guarded(self.resolver.renew)

    def _read_on(self, transaction: Transaction) -> None:
        """Read what is on disk only; before anything new is taken in, so that reading finds all."""
        self._recovery.refill(transaction, MAX_WAITING)
        self._outbox.refill(transaction)

    def _tidy_now(self, happened: Sequence[Arrival | Completion]) -> bool:
        since = time.monotonic() - self._tidied
        hurried = any(isinstance(one, Arrival) for one in happened)
        return since >= (LATEST_TIDY_SECONDS if hurried else TIDY_SECONDS)

    def _tidy(self, transaction: Transaction) -> None:
        """Give up what is too late, and forget what is old."""
        now, before = time.monotonic(), self._tidied
        self._tidied = now
        if before and now - before > PAUSED_SECONDS:
            self._resumed(now - before)
        clock.STEADY.confirm(self._server_time())
        self.dispatcher.drop_late()
        self._recovery.expire(transaction)
        self.resolver.give_up()
        self._retention.step(transaction)
        self._dead_letters.step(transaction)

    def _resumed(self, seconds: float) -> None:
        """Begin the deadlines anew after the process, or the journal, stood still: one try comes first."""
        _log.warning(
            "nothing was done for %.0f s (the process or the machine was stopped, or the journal could not be"
            " written): deadlines for the Qlik server begin anew",
            seconds,
            extra={"action": "resumed"},
        )
        self.resolver.resumed()
        self.dispatcher.resumed()

    def _check_disk(self) -> None:
        now = time.monotonic()
        if now - self._disk_checked < TIDY_SECONDS:
            return
        self._disk_checked = now
        had_room, self._disk_has_room = self._disk_has_room, self._journal.has_room()
        if had_room and not self._disk_has_room:
            _log.error(
                "%s; free some space, the broker keeps what arrives until then",
                self.obstacle,
                extra={"action": "disk_low"},
            )
        elif self._disk_has_room and not had_room:
            _log.warning("the disk of the journal has room again", extra={"action": "disk_low"})

    def _take_in(
        self, happened: Sequence[Arrival | Completion], transaction: Transaction, *, again: bool
    ) -> tuple[list[Arrival], deque[Arrival]]:
        """Apply what happened, in order; give the arrivals recorded with this turn and those held back."""
        arrivals: list[Arrival] = []
        taken: list[Arrival] = []
        held = deque(self._held)
        posted = [one for one in happened if isinstance(one, Posted)]

        def receive() -> None:
            self._receive(transaction, arrivals, again=again)
            taken.extend(arrivals)
            arrivals.clear()

        while held and self._has_room(len(arrivals)):
            arrivals.append(held.popleft())
        for one in happened:
            if isinstance(one, Arrival):
                if held or not self._has_room(len(arrivals)):
                    held.append(one)
                else:
                    arrivals.append(one)
            elif isinstance(one, (SessionBegan, AcknowledgementsRead)):
                # Messages of the connection before belong to the session before, and what came before a
                # proof is compared with what the proof lets us forget.
                receive()
                held = self._connection_event(one, held)
            elif not isinstance(one, Posted):
                self._apply(one, transaction)
        if posted:
            self.dispatcher.posted(posted, transaction)
        receive()
        return taken, held

    def _connection_event(
        self, event: SessionBegan | AcknowledgementsRead, held: deque[Arrival]
    ) -> deque[Arrival]:
        """Apply what the door says of its connection; give the arrivals that are still held back."""
        if isinstance(event, SessionBegan):
            self._intake.session_changed(event.generation, event.present)
            return deque(arrival for arrival in held if _survives(arrival, event))
        # What is held back is not compared yet; the proof after its acknowledgement covers this one.
        if not held:
            self._intake.acknowledgements_read(event.generation, event.count)
        return held

    def _apply(self, event: Completion, transaction: Transaction) -> None:
        match event:
            case PublicationConfirmed(identity):
                self._outbox.confirmed(identity)
            case Resolved():
                self.dispatcher.refresh.read(self.resolver.resolved(event), event.asked_at)
            case Polled():
                self.dispatcher.runs.polled(event, transaction)
            case ExecutionsPolled():
                self.dispatcher.executions_polled(event)
            case CapacityRead(reloads):
                self.dispatcher.capacity.read(reloads)
            case Reconfigured(settings):
                self.resolver.reconfigured(settings)
            case PublicationRefused():
                self._outbox.refused(event)
            case PublicationsLost(identities, hung_up):
                self._outbox.lost(identities, hung_up)
            case PublisherReady():
                self._outbox.connected()  # the turn itself publishes what there is room for

    def _move_on(self) -> None:
        if self._draining:
            if not self.dispatcher.in_hand and not self._outbox:
                self._drained.set()
            return
        decided = self.resolver.turn(len(self.dispatcher.pending))
        self.dispatcher.pending.add(decided)
        self.dispatcher.turn()

    def _receive(self, transaction: Transaction, arrivals: list[Arrival], *, again: bool) -> None:
        opened = self._intake.receive(transaction, arrivals, again=again) if arrivals else []
        if opened:
            self._recovery.arrived(opened, MAX_WAITING)

    def _has_room(self, coming: int = 0) -> bool:
        if self._ledger.requests.count + coming >= self._settings.start_task.max_open_requests:
            return False
        return self._disk_has_room

    # ---- when a turn fails

    def _reload(self, *, began: bool = False) -> None:
        """Read what is open from the journal, in place of what was in memory; *began*: the process did."""
        with self._journal.transaction() as transaction:
            self._rows.begin()
            if began:
                clock.STEADY.begin(queries.newest_time(transaction))
                if held_requests.is_copy(transaction):
                    # Put there by hand, without `requests restore`.
                    held_requests.hold(transaction, now_ms())
            self._rows.number_from(highest_ids(transaction))
            self._intake.load(transaction)
            self._recovery.load(transaction, MAX_WAITING)
            self._refusals.load(transaction)
            if began:
                identity = self._rows.new_id(tables.process_starts)
                self._rows.unit.insert(
                    tables.process_starts, {"id": identity, "began_at": now_ms(), "version": __version__}
                )
            self._rows.unit.write(transaction)
        self._rows.publications = []  # the outbox reads them with the others
        with self._journal.transaction() as transaction:
            self._outbox.load(transaction)
        self._act(())

    def _repair(self, error: JournalError, happened: Sequence[Arrival | Completion]) -> None:
        """Open the journal again until it can be written, then repeat the turn that failed."""
        while not self._stopping:
            if not error.recoverable:
                raise error
            if self.fault is None:
                _log.error("%s", error, extra={"action": "journal_failed"})
            self.fault = str(error)
            try:
                self._journal.reopen()
                self._reload()
                self._carry_out(happened, again=True)
            except JournalError as next_error:
                error = next_error
                self.progress = time.monotonic()
                self._repaired.wait(REPAIR_SECONDS)
            except Exception:  # noqa: BLE001 -- as in `turn`
                _log.exception("a turn failed; it is repeated one event at a time", extra={"action": "bug"})
                self.fault = None
                self._one_by_one(happened)
                return
            else:
                self.fault = None
                _log.warning("the journal can be written again", extra={"action": "journal_mended"})
                return

    def _one_by_one(self, happened: Sequence[Arrival | Completion]) -> None:
        """Repeat a failed turn in parts, so that one bad event costs the others nothing."""
        for one in happened:
            try:
                self._reload()
                self._carry_out([one], again=True)
            except JournalError as error:
                self._repair(error, [one])
            except Exception:  # noqa: BLE001 -- as in `turn`
                _log.exception("dropped after a fault: %s", type(one).__name__, extra={"action": "bug"})
                if isinstance(one, Arrival):
                    self._refuse_after_fault(one)
        try:
            self._reload()
        except JournalError as error:
            self._repair(error, [])

    def _refuse_after_fault(self, arrival: Arrival) -> None:
        error = RequestError(
            "internal_error", "Internal error", "the request could not be processed; see the log"
        )
        try:
            self._reload()
            self._rows.begin()
            with self._journal.transaction() as transaction:
                self._intake.refuse(arrival, error)
                self._rows.unit.write(transaction)
        except Exception:  # noqa: BLE001 -- one request that cannot even be refused must not end the daemon
            _log.exception("a request can neither be recorded nor acknowledged", extra={"action": "bug"})
        else:
            self._act([arrival])


def _guarded(call: Callable[..., None], *arguments: object) -> None:
    try:
        call(*arguments)
    except Exception:  # noqa: BLE001 -- what is on disk stays true whatever a caller does with it
        _log.exception("a call after the commit failed", extra={"action": "bug"})


def _survives(arrival: Arrival, began: SessionBegan) -> bool:
    """Tell whether a held arrival is not delivered again by the broker: it was never acknowledged."""
    return arrival.message is None or arrival.message.generation == began.generation


def _user_id(settings: Settings) -> str:
    """Give the user id of the `X-Qlik-User` header, which sessions show behind the directory."""
    for name, value in settings.qrs.headers:
        if name.lower() == "x-qlik-user":
            return value.rpartition("=")[2].strip()
    return ""

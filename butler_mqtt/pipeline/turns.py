"""
One turn of the loop: gather what happened, decide, commit, and only then act.

Everything that has an effect outside (an acknowledgement, a POST, a publication,
an answer to a caller) is done after the transaction that records it is on disk.
A process that is killed at any instant therefore finds in its journal
everything it has reported, and at most intents it has not carried out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from butler_mqtt import __version__, clock
from butler_mqtt.alerting.pipeline_alerts import Alerts
from butler_mqtt.clock import now_ms
from butler_mqtt.domain.completions import (
    AcknowledgementsRead,
    AlertFactsRead,
    AlertNotSent,
    AlertSent,
    CapacityRead,
    Completion,
    ExecutionsPolled,
    ParameterChange,
    Polled,
    Posted,
    Reconfigured,
    Resolved,
    RuleAcknowledgementsRead,
    RuleFilterAnswered,
    RuleSessionBegan,
    SessionBegan,
    StopAsked,
)
from butler_mqtt.domain.model import Arrival, Publication
from butler_mqtt.errors import RequestError
from butler_mqtt.intake.arrivals import Intake
from butler_mqtt.journal import held_requests, queries, tables
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.journal.sqlite import Journal, highest_ids
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import Counting, UnitOfWork
from butler_mqtt.outbox.present_topics import PresentTopics
from butler_mqtt.pipeline import turn_parts
from butler_mqtt.pipeline.arrival_queue import ArrivalQueue
from butler_mqtt.pipeline.backlog import Backlog
from butler_mqtt.pipeline.cancel_requests import CancelRequests
from butler_mqtt.pipeline.disk_guard import DiskGuard
from butler_mqtt.pipeline.doorways import Acknowledging, RuleDoorway
from butler_mqtt.pipeline.dropped_events import DroppedEvents
from butler_mqtt.pipeline.expiry import Expiry
from butler_mqtt.pipeline.journal_maintenance import JournalMaintenance
from butler_mqtt.pipeline.loop_timings import LoopTimings
from butler_mqtt.pipeline.recovery import Recovery
from butler_mqtt.pipeline.rule_messages import RuleMessages
from butler_mqtt.pipeline.rule_windows import WindowClock
from butler_mqtt.pipeline.stored_requests import StoredRequests
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.resolving.resolver import Resolver
from butler_mqtt.settings import Settings
from butler_mqtt.starting.dispatcher import Dispatcher
from butler_mqtt.starting.stages import Stages

_log = logging.getLogger("butler_mqtt.pipeline")


class Turns:
    """
    Carries out turns; owns all state, for one thread.

    Args:
        settings: The whole configuration.
        journal: Not yet open.
        emit: Puts an event into the queue, from any thread.
        publish: Passes a message to the broker; False when there is no room.
        server_time: The Qlik server's clock as last read.
        counting: What is counted for monitoring.
        refusals: Bounds what is kept of refusals.
        timings: Pauses that no operator configures.
        qlik_timings: Pauses and intervals of the work with the Qlik server.
        in_memory: Requests kept in memory while their tasks are not known.
        window_clock: The clock of coalesced messages.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        *,
        emit: Callable[[Completion], None],
        publish: Callable[[Publication], bool],
        server_time: Callable[[], datetime | None],
        counting: Counting | None,
        refusals: Refusals,
        timings: LoopTimings,
        qlik_timings: QlikTimings,
        in_memory: int,
        window_clock: WindowClock | None = None,
    ) -> None:
        self._max_open = settings.start_task.max_open_requests
        self._journal = journal
        self._rows = UnitOfWork(counting)
        self._ledger = turn_parts.new_ledger(settings, self._rows, refusals)
        self.alerts = Alerts(settings.alerts, self._rows, emit, timings.alerts)
        self.resolver = Resolver(settings, self._ledger, emit, qlik_timings)
        self.dispatcher = Dispatcher(
            settings.start_task,
            self._rows,
            self._ledger,
            emit=emit,
            refresh=self.resolver.refresh,
            gates=self.resolver.gates,
            timings=qlik_timings,
            server_time=server_time,
            our_user=settings.qrs.user_id,
        )
        pending, tracker = self.dispatcher.pending, self.dispatcher.tracker
        self.stages = Stages(settings, self.resolver, self._ledger, pending, tracker)
        self._intake = Intake(settings, self._rows, self._ledger)
        self.topics = topics = PresentTopics(settings.mqtt, publish, emit)
        self._outbox = turn_parts.new_outbox(self._ledger, topics, timings)
        stored = StoredRequests(settings.start_task.if_running)
        self.backlog = Backlog(self._ledger, self.resolver, stored, in_memory)
        parts = (self._ledger, self.resolver, self.dispatcher)
        may_stop = settings.start_task.allow_stop
        self.cancels = CancelRequests(*parts, stored, self._intake.recorded, allow_stop=may_stop)
        self._recovery = Recovery(*parts, self.stages, stored, self.backlog, self.cancels)
        self.expiry = Expiry(*parts, self.backlog, server_time=server_time, timings=timings)
        unread, kept_days = self._intake.packets.unread, settings.journal.retention_days
        self.maintenance = JournalMaintenance(self._rows, refusals, unread, journal.path, kept_days, timings)
        self.disk = DiskGuard(journal, timings.tidy_seconds)
        self._held = held = ArrivalQueue(self._has_room)
        self.rules = RuleMessages(settings, self._rows, self._ledger, self._has_room, timer=window_clock)
        self.dropped_events = DroppedEvents(
            *parts[1:], self._outbox, self._intake, held, self.rules, self.alerts
        )
        self._acknowledge: turn_parts.Acknowledge = turn_parts.unacknowledged
        self._acknowledge_rule: turn_parts.Acknowledge = turn_parts.unacknowledged
        self._draining = False
        #: Set once every POST has its outcome on disk and every reply is with the broker, after `drain`.
        self.drained = threading.Event()

    @property
    def open_requests(self) -> int:
        """Count the requests without a reply."""
        return self._ledger.requests.count

    @property
    def staged_requests(self) -> int:
        """Count the requests of which a stage is not over, whether they have a reply or not."""
        return len(self._ledger.stages.open)

    @property
    def publishing(self) -> bool:
        """Return whether messages wait for room at the broker."""
        return self._outbox.pending

    @property
    def draining(self) -> bool:
        """Return whether nothing new is started."""
        return self._draining

    def drain(self) -> None:
        """Start nothing new from now on."""
        self._draining = True

    def begin(self, acknowledging: Acknowledging | None, rule_door: RuleDoorway | None = None) -> None:
        """
        Open the journal and read what is open.

        Args:
            acknowledging: Sends the acknowledgements of requests; None without MQTT.
            rule_door: Sends those of messages for rules, and subscribes to their filters.

        Raises:
            JournalError: The journal cannot be used.
        """
        if acknowledging is not None:
            self._acknowledge = acknowledging.acknowledge
        if rule_door is not None:
            self._acknowledge_rule = rule_door.acknowledge
            self.rules.begin(rule_door.subscribe)
        self._journal.open()
        self.reload(began=True)

    def carry_out(self, happened: Sequence[Arrival | Completion], *, again: bool = False) -> None:
        """
        Carry out one turn.

        Args:
            happened: In order.
            again: Its first attempt failed, perhaps after the commit.

        Raises:
            JournalError: Nothing was recorded, or it is not known whether it was.
        """
        rows = self._rows
        rows.begin()
        with self._journal.transaction() as transaction:
            rows.transaction = transaction
            hurried = any(isinstance(one, Arrival) for one in happened)
            self.maintenance.step(transaction, hurried=hurried)
            # What is on disk only is read before anything new is recorded, so that reading gets all.
            self.backlog.refill(transaction)
            self.cancels.turn_begins(transaction)
            self._outbox.refill(transaction)
            self.disk.check()
            if self.expiry.due(hurried=hurried):
                self.expiry.step(transaction)
                self.maintenance.tidy(transaction)
                self.alerts.step(disk_has_room=self.disk.has_room)
            recorded = self._apply_all(happened, transaction, again=again)
            self.cancels.step()
            self._continue()
            if rows.unit:
                self._intake.packets.note_acknowledged()
            rows.unit.write(transaction)
        self._held.commit()
        self.rules.commit()
        self.maintenance.commit()
        self.act(recorded)

    def act(self, recorded: Sequence[Arrival]) -> None:
        """Do what waited for the commit of the arrivals *recorded*; one fault must not stop the rest."""
        # POSTs first, for which somebody waits; the broker can wait for its PUBACKs.
        for effect in (*self._rows.urgent, *self._rows.effects):
            turn_parts.guarded(effect)
        messages = [one.message for one in recorded if one.message is not None and one.door != "rule"]
        for message in messages:
            turn_parts.guarded(self._acknowledge, message.packet_id, message.generation)
        self._intake.packets.acknowledged(messages)
        self.rules.refused_whole(recorded)
        turn_parts.guarded(self.rules.acknowledge, self._acknowledge_rule)
        self._outbox.add(self._rows.publications)
        turn_parts.guarded(self._outbox.publish)
        if not self._draining:
            # Last: begun beside the commit, such a read takes the time of the POST that waits for it.
            turn_parts.guarded(self.dispatcher.poll)
            turn_parts.guarded(self.resolver.renew)

    def reload(self, *, began: bool = False) -> None:
        """
        Read what is open from the journal, in place of what is in memory.

        Args:
            began: The process has just started.

        Raises:
            JournalError: The journal cannot be used.
        """
        with self._journal.transaction() as transaction:
            self._rows.begin()
            if began:
                clock.STEADY.begin(queries.newest_time(transaction))
                if held_requests.is_copy(transaction):
                    # Put in place by hand, without `requests restore`.
                    held_requests.hold(transaction, now_ms())
            self._rows.number_from(highest_ids(transaction))
            self._intake.load(transaction)
            self.alerts.load(transaction)
            self._recovery.load(transaction)
            self.rules.load(transaction)
            self.maintenance.load(transaction)
            if began:
                identity = self._rows.new_id(tables.process_starts)
                self._rows.unit.insert(
                    tables.process_starts, {"id": identity, "began_at": now_ms(), "version": __version__}
                )
            self._rows.unit.write(transaction)
        self._rows.publications = []  # the outbox reads them with the others
        with self._journal.transaction() as transaction:
            self._outbox.load(transaction)
        self.act(())

    def refuse(self, arrival: Arrival, error: RequestError) -> None:
        """
        Record an arrival as refused; `act` acknowledges it.

        Raises:
            JournalError: Nothing was recorded.
        """
        self._rows.begin()
        with self._journal.transaction() as transaction:
            self._intake.refuse(arrival, error)
            self._rows.unit.write(transaction)

    # ---- helpers

    def _apply_all(
        self, happened: Sequence[Arrival | Completion], transaction: Transaction, *, again: bool
    ) -> list[Arrival]:
        """Apply what happened, in order; return the arrivals that are recorded with this turn."""
        held = self._held
        held.begin()
        recorded: list[Arrival] = []
        posted = [one for one in happened if isinstance(one, Posted)]
        arrivals = held.release()

        def receive() -> None:
            self._receive(transaction, arrivals, again=again)
            recorded.extend(arrivals)
            arrivals.clear()

        self.rules.turn_begins(again=again)
        for one in happened:
            if isinstance(one, Arrival) and one.door == "rule":
                self.rules.add(one)
            elif isinstance(one, Arrival):
                if not held.holds(one, len(arrivals)):
                    arrivals.append(one)
            elif isinstance(one, (SessionBegan, AcknowledgementsRead)):
                # Messages of the connection before belong to the session before, and what came before a
                # proof is compared with what the proof makes superfluous.
                receive()
                self._connection_event(one)
            elif not isinstance(one, Posted):
                self._apply(one, transaction)
        requests = bool(arrivals or recorded) or self.dispatcher.runs.serve_doors(posted)
        if posted:
            self.dispatcher.posted(posted, transaction)
        receive()
        if not self._draining:
            self._judge(transaction, requests=requests, again=again)
        return recorded

    def _judge(self, transaction: Transaction, *, requests: bool, again: bool) -> None:
        """Judge messages for rules, behind the requests of the turn; record what they are made into."""
        outcomes = self.rules.step(transaction, requests=requests, again=again)
        self._receive(transaction, outcomes.made, again=again)
        for arrival, error in outcomes.refused:
            self._intake.refuse(arrival, error)

    def _connection_event(self, event: SessionBegan | AcknowledgementsRead) -> None:
        """Apply what the door reports of its connection."""
        if isinstance(event, SessionBegan):
            self._intake.packets.session_began(event.generation, event.present)
            self._held.session_began(event)
        elif not self._held:
            # What is held is not compared yet; the proof after its acknowledgement covers this one.
            self._intake.packets.acknowledgements_read(event.generation, event.count)

    def _apply(self, event: Completion, transaction: Transaction) -> None:
        match event:
            case Resolved():
                self.dispatcher.read(self.resolver.resolved(event), event.asked_at)
            case Polled():
                self.dispatcher.runs.polled(event, transaction)
            case ExecutionsPolled() | StopAsked() | CapacityRead():
                self.dispatcher.apply(event)
            case Reconfigured(settings):
                self.resolver.reconfigured(settings)
                self._intake.reconfigured(settings, transaction)
                self.rules.reconfigured(settings)
                self.alerts.reconfigured(settings.alerts, transaction)
            case RuleSessionBegan() | RuleAcknowledgementsRead() | RuleFilterAnswered():
                self.rules.apply(event)
            case AlertSent() | AlertNotSent() | AlertFactsRead():
                self.alerts.apply(event)
            case ParameterChange():
                self._ledger.parameters.apply(event)
            case _:
                turn_parts.published(self._outbox, event)

    def _continue(self) -> None:
        if self._draining:
            if not self.dispatcher.in_hand and not self._outbox:
                self.drained.set()
            return
        decided = self.resolver.turn(self.dispatcher.fresh)
        self.dispatcher.pending.add(decided)
        self.stages.turn()
        self.resolver.ask_stages()
        self.dispatcher.turn()

    def _receive(self, transaction: Transaction, arrivals: list[Arrival], *, again: bool) -> None:
        opened = self._intake.receive(transaction, arrivals, again=again) if arrivals else []
        cancels = [one for one in opened if one.request.cancel is not None]
        if cancels:
            opened = [one for one in opened if one.request.cancel is None]
        if opened:
            self.backlog.add(opened)
        if cancels:
            self.cancels.receive(cancels, transaction)

    def _has_room(self, coming: int = 0) -> bool:
        # A request with stages is kept in memory beyond its reply, for hours.
        if max(self.open_requests, self.staged_requests) + coming >= self._max_open:
            return False
        return self.disk.has_room

"""
The one loop: events of all threads are taken from a queue and carried out, a turn at a time.

`turns` has what one turn does, `failed_turns` what follows one that failed.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime

from butler_mqtt import logs
from butler_mqtt.domain.completions import Completion, Reconfigured
from butler_mqtt.domain.model import Arrival, Publication
from butler_mqtt.errors import JournalError
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.ledger.unit_of_work import Counting
from butler_mqtt.pipeline.backlog import MAX_IN_MEMORY
from butler_mqtt.pipeline.doorways import Acknowledging, RuleDoorway
from butler_mqtt.pipeline.event_queue import EventQueue
from butler_mqtt.pipeline.failed_turns import FailedTurns
from butler_mqtt.pipeline.loop_timings import LoopTimings
from butler_mqtt.pipeline.qlik_threads import QlikThreads
from butler_mqtt.pipeline.rule_windows import WindowClock
from butler_mqtt.pipeline.turns import Turns
from butler_mqtt.qlik_timings import QlikTimings
from butler_mqtt.settings import Settings


class Pipeline:
    """
    Takes requests from arrival to reply, in one thread.

    Args:
        settings: The whole configuration.
        journal: Not yet open.
        publish: Passes a message to the broker; False when there is no room.
        server_time: The Qlik server's clock as last read.
        counting: What is counted for monitoring.
        refusals: Bounds what is kept of refusals; by default as `journal.refusal_bounds` does.
        timings: Pauses that no operator configures.
        qlik_timings: Those of the work with the Qlik server.
        in_memory: Requests kept in memory while their tasks are not known.
        window_clock: The clock of coalesced messages; by default that of the machine since it was started.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        *,
        publish: Callable[[Publication], bool],
        server_time: Callable[[], datetime | None],
        counting: Counting | None = None,
        refusals: Refusals | None = None,
        timings: LoopTimings | None = None,
        qlik_timings: QlikTimings | None = None,
        in_memory: int = MAX_IN_MEMORY,
        window_clock: WindowClock | None = None,
    ) -> None:
        self._journal = journal
        self._max_open = settings.start_task.max_open_requests
        self._timings = timings or LoopTimings()
        self._event_queue = EventQueue()
        self._stop = threading.Event()
        #: What one turn does.
        self.turns = Turns(
            settings,
            journal,
            emit=self._event_queue.put,
            publish=publish,
            server_time=server_time,
            counting=counting,
            refusals=refusals or Refusals(least=settings.mqtt.receive_maximum),
            timings=self._timings,
            qlik_timings=qlik_timings or QlikTimings(),
            in_memory=in_memory,
            window_clock=window_clock,
        )
        self.resolver = self.turns.resolver
        self.dispatcher = self.turns.dispatcher
        self.alerts = self.turns.alerts
        self.qlik_threads = QlikThreads(
            self.resolver, self.dispatcher, settings.start_task.max_concurrent_starts
        )
        self._failed = FailedTurns(
            self.turns,
            journal,
            self._stop,
            pause_seconds=self._timings.repair_seconds,
            on_attempt=self._note_progress,
        )
        #: Monotonic time of the last finished turn, for the watchdog.
        self.progress = time.monotonic()

    @property
    def fault(self) -> str | None:
        """Return why nothing can be recorded, None while it can."""
        return self._failed.fault

    @property
    def open_requests(self) -> int:
        """Count the requests without a reply."""
        return self.turns.open_requests

    @property
    def held_requests(self) -> int:
        """Count the requests held since a backup was restored."""
        return self.turns.backlog.held

    @property
    def rule_problems(self) -> Mapping[str, str]:
        """Return what is wrong with the filters of rules, by filter."""
        return self.turns.rules.problems

    @property
    def obstacle(self) -> str | None:
        """Return why requests are not accepted now, None while they are."""
        problem = self._failed.fault or self.turns.disk.obstacle
        if problem is None and max(self.turns.open_requests, self.turns.staged_requests) >= self._max_open:
            return (
                f"{self._max_open} requests are open, or have stages to come, which is "
                "startTask.maxOpenRequests: nothing is acknowledged"
            )
        return problem

    @property
    def accepting(self) -> bool:
        """Return whether a request submitted now would be recorded soon."""
        return not self.turns.draining and self.obstacle is None

    # ---- called from other threads

    def emit(self, happened: Arrival | Completion) -> None:
        """Submit an arrival or event; never blocks and never fails."""
        if isinstance(happened, Arrival) and happened.message is None and happened.request_id is None:
            # Fixed before it is recorded, so that a repeated turn finds what the first one may have written.
            happened = happened._replace(request_id=str(uuid.uuid4()))
        elif isinstance(happened, Reconfigured):
            # At once: nothing more may be published on topics that are subscribed to after this.
            self.turns.topics.reconfigured(happened.settings.mqtt)
        self._event_queue.put(happened)

    def drain(self, timeout: float) -> bool:
        """
        Start nothing new, and wait for what is in hand.

        Args:
            timeout: Seconds.

        Returns:
            Whether every POST has its outcome on disk and every reply is with the broker.
        """
        self.turns.drain()
        self._event_queue.wake()
        return self.turns.drained.wait(timeout)

    def stop(self) -> None:
        """Let `run` end after the turn in hand; open requests continue after the next start."""
        self._stop.set()
        self._event_queue.wake()

    def close(self) -> None:
        """Close the journal, after `run` has ended."""
        self._journal.close()

    # ---- the loop

    def open(self, acknowledging: Acknowledging | None, rule_door: RuleDoorway | None = None) -> None:
        """
        Open the journal and read what is open.

        Args:
            acknowledging: Sends the acknowledgements; None without MQTT.
            rule_door: Sends those of messages for rules, and subscribes to their filters.

        Raises:
            JournalError: The journal cannot be used.
        """
        self.turns.begin(acknowledging, rule_door)

    def run(self) -> None:
        """
        Turn until `stop`.

        Raises:
            JournalError: The journal cannot be used and waiting cannot help.
        """
        while not self._stop.is_set():
            self.turn(self._timings.tidy_seconds)

    def turn(self, timeout: float) -> None:
        """Take events from the queue, waiting at most *timeout* seconds for the first, and carry them out."""
        due = self.turns.rules.next_due()
        wait = timeout if due is None else max(0.0, min(timeout, due))
        happened = self._event_queue.take(wait, linger=not self.turns.publishing)
        try:
            with logs.Together():
                self.turns.carry_out(happened)
        except JournalError as error:
            self._failed.repair(error, happened)
        except Exception:  # noqa: BLE001 -- a fault must not end the daemon while the journal is fine
            self._failed.one_by_one(happened)
        if self.turns.maintenance.requests_resumed():
            self._failed.reload()
        self._note_progress()

    def _note_progress(self) -> None:
        self.progress = time.monotonic()

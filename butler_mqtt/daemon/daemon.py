"""The daemon: builds the parts, joins them, watches over their threads, stops them in order."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from butler_mqtt import __version__, logs
from butler_mqtt.clock import now_ms
from butler_mqtt.daemon import qrs_probe, reload, status_line
from butler_mqtt.daemon.systemd import Notify
from butler_mqtt.daemon.watchdog import CallTimes, Progress
from butler_mqtt.domain.completions import (
    AcknowledgementsRead,
    PublicationConfirmed,
    PublicationRefused,
    PublicationsLost,
    PublisherReady,
    Reconfigured,
    SessionBegan,
)
from butler_mqtt.domain.model import Arrival, Message, Publication
from butler_mqtt.errors import ConfigError, JournalError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal import checkpoint
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.metrics import Metrics
from butler_mqtt.mqtt.door import Door, DoorState
from butler_mqtt.mqtt.publisher import ReplyPublisher
from butler_mqtt.pipeline.pipeline import Pipeline
from butler_mqtt.qrs.repository import RepositoryClient
from butler_mqtt.settings import Settings

if TYPE_CHECKING:
    from butler_mqtt.daemon.listeners import Listeners

#: Seconds for which a broker may refuse us before the process ends: an operator has to act.
REFUSED_SECONDS = 60.0
#: Seconds for work in hand when stopping, and for everything until the end; `TimeoutStopSec=` is longer.
DRAIN_SECONDS = 20.0
STOP_SECONDS = 35.0
#: Longest wait of the main thread, in seconds.
TICK_SECONDS = 1.0
#: Seconds without a turn after which the pipeline is taken for hung; a turn takes milliseconds.
PATIENCE_SECONDS = 60.0
#: As much for a connection to the broker, which may have to wait for name servers and addresses.
MQTT_PATIENCE_SECONDS = 180.0
#: Seconds asked for at a time while starting; a journal may have to be brought to a newer format.
OPENING_SECONDS = 600.0
EXTEND_SECONDS = 60.0
#: How long a thread that computes keeps one waiting that has come back from the network. A call comes back
#: four times; at Python's own 5 ms each, a POST took 23 ms beside a busy pipeline, of which 20 were waiting.
SWITCH_SECONDS = 0.001
#: Objects made before the collector of reference cycles looks; its default of 700 is for small programs.
COLLECT_AFTER = 10_000

_log = logging.getLogger("butler_mqtt.daemon")


class Daemon:
    """
    One running instance.

    Args:
        settings: The whole configuration.
        reread: Reads and checks it again, for SIGHUP; raises ConfigError.
        notify: The way to the service manager.
        patience: Seconds for which the pipeline may show no progress.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings] | None = None,
        notify: Notify | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._notify = notify or Notify(os.environ)
        self._stop = threading.Event()
        #: What the main thread is to look at: a signal's number, or None. A handler must not touch an Event,
        #: whose lock the main thread may be holding; this queue can be put to from anywhere.
        self._wake: SimpleQueue[int | None] = SimpleQueue()
        self._exit_code = ExitCode.OK
        self._ending = False
        #: Why it ends by itself, for the service manager to show.
        self._last_words = ""
        self._threads: list[threading.Thread] = []
        self._progress = Progress()
        self._stuck: tuple[str, ...] = ()
        self._fed = 0.0
        self._refused_since: float | None = None
        self._was_ready = False
        self._announced = False
        self._metrics = Metrics()
        self._qrs = RepositoryClient(settings.qrs, self._stop, on_call=self._metrics.qrs_call)
        self._door: Door | None = None
        self._replies: ReplyPublisher | None = None
        if settings.mqtt.enable:
            self._connect_mqtt()
        self._listeners: Listeners | None = None
        self._journal = Journal(settings.journal.url)
        self._pipeline = Pipeline(
            settings,
            self._journal,
            publish=self._replies.publish if self._replies else _nowhere,
            server_time=self._qrs.server_time,
            counting=self._metrics,
        )
        self._progress.watch("pipeline", lambda: self._pipeline.progress, patience)

    def run(self) -> ExitCode:
        """Run until a signal or a fault that cannot be mended; give the exit code."""
        settings = self._settings
        if settings.ignored:
            _log.info(
                "known to Butler and without meaning here: %s",
                ", ".join(settings.ignored),
                extra={"action": "config_ignored"},
            )
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._notify.extend(OPENING_SECONDS)
        self._notify.status(f"opening the journal {settings.journal.url.removeprefix('sqlite:///')}")
        try:
            self._pipeline.open(self._door)
        except JournalError as error:
            _log.critical("%s", error, extra={"action": "journal_failed"})
            self._notify.status(str(error))  # systemd shows it beside the failed unit
            return ExitCode.JOURNAL
        self._start_threads()
        self._start_listeners()
        # What is there now stays: the collector need not walk through it again and hold up every thread.
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        _log.info("butler-mqtt %s started", __version__, extra={"action": "started"})
        self._watch()
        self._stop_in_order()
        return self._exit_code

    # ---- parts

    def _connect_mqtt(self) -> None:
        mqtt = self._settings.mqtt
        self._door = Door(
            mqtt,
            version=__version__,
            on_message=self._on_message,
            on_session=lambda generation, present: self._pipeline.emit(SessionBegan(generation, present)),
            on_state=lambda _state: self._wake.put(None),
            on_read=lambda generation, count: self._pipeline.emit(AcknowledgementsRead(generation, count)),
            on_fatal=self._on_fatal,
        )
        self._replies = ReplyPublisher(
            mqtt,
            on_confirmed=lambda identity: self._pipeline.emit(PublicationConfirmed(identity)),
            on_refused=lambda identity, reason, final: self._pipeline.emit(
                PublicationRefused(identity, reason, final)
            ),
            on_lost=lambda identities, hung_up: self._pipeline.emit(
                PublicationsLost(tuple(identities), hung_up)
            ),
            on_room=lambda: self._pipeline.emit(PublisherReady()),
            on_fatal=self._on_fatal,
            instance=self._door.instance,
        )

    def _on_message(self, message: Message) -> None:
        self._pipeline.emit(Arrival("mqtt", message.payload, now_ms(), message))

    def _start_threads(self) -> None:
        pipeline = self._pipeline
        self._spawn("pipeline", pipeline.run)
        self._spawn("checkpoint", partial(checkpoint.work, self._journal, self._stop))
        self._worker("finder", pipeline.resolver.work)
        self._worker("settler", pipeline.dispatcher.reconciler.work)
        self._worker("follower", pipeline.dispatcher.poller.work)
        for number in range(self._settings.start_task.max_concurrent_starts):
            self._worker(f"starter-{number + 1}", pipeline.dispatcher.post_workers.work)
        self._worker("probe", lambda qlik: qrs_probe.work(self._qrs, qlik, self._stop))
        if self._replies is not None:
            self._replies.start()
            self._progress.watch("MQTT replies", self._replies.progress, MQTT_PATIENCE_SECONDS)
        if self._door is not None:
            self._door.start()
            self._progress.watch("MQTT door", self._door.progress, MQTT_PATIENCE_SECONDS)

    def _start_listeners(self) -> None:
        if not (self._settings.rest.enable or self._settings.monitoring.enable):
            return
        # Loaded here only: a web server costs a fifth of the daemon's memory.
        from butler_mqtt.daemon.listeners import Listeners, Sources  # noqa: PLC0415 -- as above
        from butler_mqtt.http.server.listener import ListenerError  # noqa: PLC0415

        sources = Sources(
            emit=self._pipeline.emit,
            stuck=self._progress.stuck,
            fault=lambda: self._pipeline.fault,
            accepting=lambda: not self._ending and self._pipeline.accepting,
            progress=lambda: self._pipeline.progress,
            broker_connected=lambda: None if self._replies is None else self._replies.connected,
            subscription=lambda: None if self._door is None else str(self._door.state),
            reachable=lambda: self._qrs.reachable,
            held=lambda: self._pipeline.held_requests,
            reached_at=lambda: self._qrs.reached_at,
        )
        try:
            self._listeners = Listeners(
                self._settings, sources, self._metrics, self._journal.path, self._on_fatal
            )
        except ListenerError as error:
            _log.critical("%s", error, extra={"action": "listener_failed"})
            self._end(ExitCode.UNAVAILABLE)
        else:
            self._listeners.start()

    def _worker(self, name: str, work: Callable[[Any], None]) -> None:
        """Run *work* in a thread that has a connection to Qlik of its own."""
        calls = CallTimes(self._qrs.connection())
        qrs = self._settings.qrs
        # One call may read several lists, each with its retries.
        one = qrs.retry.max_seconds + qrs.connect_timeout_seconds + qrs.read_timeout_seconds
        self._progress.watch(name, calls.since, max(600.0, 4 * one))
        self._spawn(name, partial(work, calls))

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        def supervised() -> None:
            try:
                work()
            except JournalError as error:
                # What is queued stands in a journal that nobody will read again, perhaps.
                self._pipeline.dispatcher.post_workers.abandon()
                _log.critical("%s", error, extra={"action": "journal_failed"})
                self._last_words = str(error)
                self._end(ExitCode.JOURNAL)
            except BaseException as error:  # noqa: BLE001 -- a thread that dies silently would leave us deaf
                self._on_fatal(error)
            else:
                if not self._stop.is_set():
                    self._on_fatal(RuntimeError(f"the thread {name} ended by itself"))

        thread = threading.Thread(target=supervised, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # ---- watching

    def _watch(self) -> None:
        tick = min(TICK_SECONDS, (self._notify.watchdog_seconds or 60.0) / 4)
        while not self._stop.is_set():
            try:
                number = self._wake.get(timeout=tick)
            except Empty:
                number = None
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._end(ExitCode.OK)
            elif number == signal.SIGHUP:
                self._reload()
            self._supervise_door()
            self._supervise_threads()
            self._report()

    def _supervise_door(self) -> None:
        door = self._door
        if door is None:
            return
        if door.ready and not self._was_ready:
            _log.info(
                "ready: requests are taken from %s on %s:%s",
                self._settings.mqtt.task_start_topic,
                self._settings.mqtt.broker_host,
                self._settings.mqtt.broker_port,
                extra={"action": "ready"},
            )
        self._was_ready = door.ready
        if door.state is DoorState.GIVEN_UP:
            _log.critical("ending: %s", door.reason, extra={"action": "mqtt_given_up"})
            self._end(ExitCode.CLIENT_ID_IN_USE)
        if door.state is not DoorState.REFUSED:
            self._refused_since = None if door.ready else self._refused_since
            return
        self._refused_since = self._refused_since or time.monotonic()
        if time.monotonic() - self._refused_since >= REFUSED_SECONDS:
            _log.critical(
                "ending: the broker has refused us for %.0f s: %s",
                REFUSED_SECONDS,
                door.reason,
                extra={"action": "mqtt_refused"},
            )
            self._end(ExitCode.UNAVAILABLE)

    def _supervise_threads(self) -> None:
        """Feed the watchdog as long as every thread gets on."""
        stuck = self._progress.stuck()
        if stuck and not self._stuck:
            _log.critical(
                "hung: %s; the watchdog is not fed any more, systemd ends and restarts the process",
                ", ".join(stuck),
                extra={"action": "hung"},
            )
        elif self._stuck and not stuck:
            _log.warning("all threads get on again", extra={"action": "hung"})
        self._stuck = stuck
        seconds = self._notify.watchdog_seconds
        if seconds is not None and not stuck and time.monotonic() - self._fed >= seconds / 4:
            self._fed = time.monotonic()
            self._notify.alive()

    def _report(self) -> None:
        """Tell the service manager what we do, and that we are ready once we are."""
        if self._stop.is_set():
            return
        if not self._announced:
            if self._door is None or self._door.ready:
                self._announced = True
                self._notify.ready()
            else:
                self._notify.extend(EXTEND_SECONDS)
        self._notify.status(self.status())

    def status(self) -> str:
        """Say in one line what the daemon does now, what it waits for first."""
        mqtt, door = self._settings.mqtt, self._door
        broker = None
        if door is not None and not door.ready:
            broker = (
                f"{door.state.replace('_', ' ')}, broker {mqtt.broker_host}:{mqtt.broker_port}: {door.reason}"
            )
        qrs = self._qrs
        return status_line.compose(
            self._stuck,
            self._pipeline.obstacle,
            broker,
            self._pipeline.open_requests,
            qrs.place,
            qrs.unreachable_since,
            self._pipeline.held_requests,
        )

    # ---- signals

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._ending and number != signal.SIGHUP:
            os._exit(ExitCode.FAILED)  # the second one: whoever sends it does not want to wait
        self._ending = self._ending or number != signal.SIGHUP
        self._wake.put(number)

    def _reload(self) -> None:
        """Read the configuration again and use what can be used without a restart."""
        if self._reread is None:
            return
        if self._announced:
            self._notify.reloading()
        try:
            self._apply(self._reread())
        except ConfigError as error:
            _log.error(
                "the configuration is not reloaded, everything stays as it was: %s",
                error,
                extra={"action": "reload_refused"},
            )
        if self._announced:
            self._notify.ready()

    def _apply(self, read: Settings) -> None:
        running = reload.live(self._settings, read)
        changed = list(reload.differences(self._settings, running))
        waiting = list(reload.differences(running, read))
        logs.set_level(running.log_level)
        if running.start_task_filter != self._settings.start_task_filter:
            self._pipeline.emit(Reconfigured(running))
        if self._listeners is not None:
            self._listeners.reconfigured(running)
        self._settings = running
        _log.info(
            "configuration reloaded; changed: %s; certificates are read at each new connection",
            ", ".join(changed) or "nothing",
            extra={"action": "reloaded"},
        )
        if waiting:
            _log.warning(
                "these changes wait for a restart: %s", ", ".join(waiting), extra={"action": "restart_needed"}
            )

    def _on_fatal(self, error: BaseException) -> None:
        _log.critical("ending after a fault: %s", error, exc_info=error, extra={"action": "bug"})
        self._end(ExitCode.BUG)

    def _end(self, code: ExitCode) -> None:
        if not self._stop.is_set():
            self._exit_code = code
        self._stop.set()
        self._wake.put(None)

    # ---- stopping

    def _stop_in_order(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        self._ending = True
        self._notify.stopping()
        self._notify.status(self._last_words or f"stopping, {self._pipeline.open_requests} open requests")
        _log.info("stopping: nothing new is started", extra={"action": "stopping"})
        if self._exit_code is ExitCode.OK and not self._drained():
            _log.warning(
                "work in hand did not end in %.0f s; it is in the journal and goes on after the next start",
                DRAIN_SECONDS,
                extra={"action": "stopping"},
            )
        # Nobody would record the outcome of what is posted from now on.
        self._pipeline.dispatcher.post_workers.abandon()
        if self._door is not None:
            self._door.stop()
        if self._replies is not None:
            self._replies.stop()
        if self._listeners is not None:
            self._listeners.stop(5.0)
        self._pipeline.stop()
        self._pipeline.resolver.stop()
        self._pipeline.dispatcher.reconciler.stop()
        self._pipeline.dispatcher.poller.stop()
        for _ in range(self._settings.start_task.max_concurrent_starts):
            self._pipeline.dispatcher.post_workers.stop()
        for thread in self._threads:
            thread.join(max(0.1, min(2.0, deadline - time.monotonic())))
        self._pipeline.close()
        _log.info("stopped", extra={"action": "stopped"})

    def _drained(self) -> bool:
        """Wait for work in hand, in short steps: a signal may come by another thread and wake nobody."""
        until = time.monotonic() + DRAIN_SECONDS
        while not self._pipeline.drain(TICK_SECONDS):
            if time.monotonic() >= until:
                return False
        return True


def _nowhere(_publication: Publication) -> bool:
    """Stand in for the broker where MQTT is switched off: nothing is addressed there."""
    return False

"""The daemon: builds the parts, joins them, watches over them, stops them in order."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from butler_mqtt import __version__
from butler_mqtt.daemon import qrs_probe
from butler_mqtt.daemon.alert_parts import AlertParts
from butler_mqtt.daemon.broker_connections import BrokerConnections
from butler_mqtt.daemon.broker_watch import BrokerWatch
from butler_mqtt.daemon.daemon_timings import DaemonTimings
from butler_mqtt.daemon.ending import Ending
from butler_mqtt.daemon.reload import Reload
from butler_mqtt.daemon.service_status import ServiceStatus
from butler_mqtt.daemon.supervisor import Supervisor
from butler_mqtt.daemon.systemd import Notify
from butler_mqtt.daemon.token_watch import TokenWatch
from butler_mqtt.domain.completions import Completion, Reconfigured
from butler_mqtt.domain.model import Arrival, Publication
from butler_mqtt.domain.senders import Senders
from butler_mqtt.errors import JournalError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal import checkpoint
from butler_mqtt.journal.sqlite import Journal
from butler_mqtt.pipeline.pipeline import Pipeline
from butler_mqtt.printable import counted
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.settings import Settings

if TYPE_CHECKING:
    from butler_mqtt.daemon.listeners import Listeners
    from butler_mqtt.http.metrics import Metrics

#: For how long a thread that computes keeps the interpreter from one that has come back from the network. A
#: call comes back four times; at Python's own 5 ms each, a POST took 23 ms beside a busy pipeline, of which
#: 20 were waiting.
SWITCH_SECONDS = 0.001
#: Objects made before the collector of reference cycles runs; its default of 700 is for small programs.
COLLECT_AFTER = 10_000

_log = logging.getLogger("butler_mqtt.daemon")


class Daemon:
    """
    One running instance.

    Args:
        settings: The whole configuration.
        reread: Reads and checks it again, for SIGHUP; raises ConfigError.
        notify: The connection to the service manager.
        timings: Durations that no operator configures.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reread: Callable[[], Settings] | None = None,
        notify: Notify | None = None,
        timings: DaemonTimings | None = None,
    ) -> None:
        self._settings = settings
        self._timings = timings or DaemonTimings()
        self._notify = notify or Notify(os.environ)
        self._ending = Ending()
        self._supervisor = Supervisor(
            self._ending.stop, on_fatal=self._ending.fatal, on_journal_failed=self._journal_failed
        )
        self._metrics = _metrics(settings)
        self._qrs = RepositoryClient(
            settings.qrs, self._ending.stop, on_call=self._metrics.qrs_call if self._metrics else None
        )
        self._broker = self._connections() if settings.mqtt.enable else None
        self._listeners: Listeners | None = None
        self._journal = Journal(settings.journal.url)
        self.pipeline = Pipeline(
            settings,
            self._journal,
            publish=self._broker.publisher.publish if self._broker else _nowhere,
            server_time=self._qrs.server_time,
            counting=self._metrics,
        )
        self._supervisor.progress.watch(
            "pipeline", lambda: self.pipeline.progress, self._timings.patience_seconds
        )
        self._broker_watch = watch = (
            None
            if self._broker is None
            else BrokerWatch(self._broker.door, settings, self._timings.refused_seconds)
        )
        self._alerts = AlertParts(
            self.pipeline,
            self._qrs,
            lambda: watch.obstacle if watch is not None else None,
            self._ending.stop,
            self._call_qlik,
        )
        self._status = ServiceStatus(
            self._notify,
            self._supervisor,
            self.pipeline,
            self._broker_watch,
            self._qrs,
            self._timings.extend_seconds,
        )
        self._token_watch = TokenWatch(settings.rest)
        self._reload = Reload(settings, reread, self._apply) if reread is not None else None

    def run(self) -> ExitCode:
        """Run until a signal or a fault that waiting cannot fix; return the exit code."""
        settings = self._settings
        if settings.older:
            _log.info(
                "the file was written for an older Butler; read here: %s",
                "; ".join(settings.older),
                extra={"action": "config_older_butler"},
            )
        if settings.ignored:
            _log.info(
                "known to Butler and without meaning here: %s",
                ", ".join(settings.ignored),
                extra={"action": "config_ignored"},
            )
        self._ending.handle_signals()
        self._notify.extend(self._timings.opening_seconds)
        self._notify.status(f"opening the journal {settings.journal.url.removeprefix('sqlite:///')}")
        try:
            if self._broker is None:
                self.pipeline.open(None)
            else:
                self.pipeline.open(self._broker.door, self._broker.rule_door)
        except JournalError as error:
            _log.critical("%s", error, extra={"action": "journal_failed"})
            self._notify.status(str(error))  # systemd shows it beside the failed unit
            return ExitCode.JOURNAL
        self._start_threads()
        self._start_listeners()
        # What exists now stays: the collector need not walk through it again and hold up every thread.
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        _log.info("butler-mqtt %s started", __version__, extra={"action": "started"})
        self._watch()
        self._stop_in_order()
        return self._ending.code

    # ---- parts

    def _connections(self) -> BrokerConnections:
        return BrokerConnections(
            self._settings.mqtt,
            self._emit,
            on_state=self._ending.wake,
            on_fatal=self._ending.fatal,
            qrs_unreachable=lambda: self._qrs.unreachable_since is not None,
            stay_away_seconds=self._timings.stay_away_seconds,
        )

    def _emit(self, happened: Arrival | Completion) -> None:
        self.pipeline.emit(happened)  # made after the connections, whose publisher it has

    def _start_threads(self) -> None:
        pipeline = self.pipeline
        self._supervisor.spawn("pipeline", pipeline.run)
        self._supervisor.spawn("checkpoint", partial(checkpoint.work, self._journal, self._ending.stop))
        for name, work in pipeline.qlik_threads.works():
            self._call_qlik(name, work)
        self._call_qlik("probe", lambda qlik: qrs_probe.work(self._qrs, qlik, self._ending.stop))
        self._alerts.use(self._settings)
        if self._broker is not None:
            self._broker.start(self._supervisor.progress, self._timings.mqtt_patience_seconds)

    def _start_listeners(self) -> None:
        if self._metrics is None:
            return
        # Loaded here only: a web server costs a fifth of the daemon's memory.
        from butler_mqtt.daemon.listeners import Listeners  # noqa: PLC0415 -- as above
        from butler_mqtt.daemon.readiness import Sources  # noqa: PLC0415 -- as above
        from butler_mqtt.http.server.listener import ListenerError  # noqa: PLC0415 -- as above

        sources = Sources(
            emit=self.pipeline.emit,
            stuck=self._supervisor.progress.stuck,
            fault=lambda: self.pipeline.fault,
            accepting=lambda: not self._ending.begun and self.pipeline.accepting,
            progress=lambda: self.pipeline.progress,
            broker_connected=lambda: None if self._broker is None else self._broker.publisher.connected,
            subscription=lambda: None if self._broker is None else str(self._broker.door.state),
            reachable=lambda: self._qrs.reachable,
            held=lambda: self.pipeline.held_requests,
            places=lambda: self.pipeline.dispatcher.places,
            reached_at=lambda: self._qrs.reached_at,
            alert_faults=self.pipeline.alerts.faults,
            rules=self._rules_problem,
        )
        try:
            self._listeners = Listeners(
                self._settings, sources, self._metrics, self._journal.path, self._ending.fatal
            )
        except ListenerError as error:
            _log.critical("%s", error, extra={"action": "listener_failed"})
            self._ending.end(ExitCode.UNAVAILABLE)
        else:
            self._listeners.start()

    def _rules_problem(self) -> str | None:
        """Return which messages for rules do not arrive, None when all do."""
        if self._broker is None or self._broker.rule_door.connected is False:
            return "not connected"
        refused = sorted(self.pipeline.rule_problems)
        return f"not subscribed: {', '.join(refused)}" if refused else None

    def _call_qlik(self, name: str, work: Callable[[RepositoryConnection], None]) -> None:
        """Run *work* in a thread that has a connection to Qlik of its own."""
        qrs = self._settings.qrs
        # One call may read several lists, each with its retries.
        one = qrs.retry.max_seconds + qrs.connect_timeout_seconds + qrs.read_timeout_seconds
        self._supervisor.spawn_caller(name, work, self._qrs.connection(), max(600.0, 4 * one))

    # ---- watching

    def _watch(self) -> None:
        tick = min(self._timings.tick_seconds, (self._notify.watchdog_seconds or 60.0) / 4)
        while not self._ending.stop.is_set():
            number = self._ending.next_signal(tick)
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._ending.end(ExitCode.OK)
            elif number == signal.SIGHUP:
                self._reread()
            if self._broker_watch is not None and (code := self._broker_watch.check()) is not None:
                self._ending.end(code)
            self._token_watch.check()
            self._supervisor.check()
            self._status.feed_watchdog()
            if not self._ending.stop.is_set():
                self._status.report()

    def _reread(self) -> None:
        """Read the configuration again, and keep the service manager informed."""
        if self._reload is None:
            return
        if self._status.announced:
            self._notify.reloading()
        self._reload.run()
        if self._status.announced:
            self._notify.ready()

    def _apply(self, before: Settings, settings: Settings) -> None:
        if self._metrics is not None:
            self._metrics.know_rules(rule.name for rule in settings.rules)
            self._metrics.alert_targets(one.name for one in settings.alerts.targets)
        judged = ("start_task_filter", "senders", "unknown_senders", "rules", "alerts")
        if any(getattr(settings, name) != getattr(before, name) for name in judged):
            # Before the door subscribes to topics of which the pipeline has to know.
            self.pipeline.emit(Reconfigured(settings))
        if self._broker is not None:
            self._broker.reconfigured(settings.mqtt)
        if self._broker_watch is not None:
            self._broker_watch.reconfigured(settings)
        self._token_watch.reconfigured(settings.rest)
        if self._listeners is not None:
            self._listeners.reconfigured(settings)
        self._settings = settings
        self._alerts.use(settings)

    def _journal_failed(self, error: JournalError) -> None:
        # What is queued is in a journal that perhaps nobody will read again.
        self.pipeline.qlik_threads.abandon_posts()
        self._ending.journal_failed(error)

    # ---- stopping

    def _stop_in_order(self) -> None:
        deadline = time.monotonic() + self._timings.stop_seconds
        self._ending.begun = True
        self._notify.stopping()
        self._notify.status(
            self._ending.reason or f"stopping, {counted(self.pipeline.open_requests, 'open request')}"
        )
        _log.info("stopping: nothing new is started", extra={"action": "stopping"})
        if self._ending.code is ExitCode.OK and not self._drained():
            _log.warning(
                "work in hand did not end in %.0f s; it is in the journal and continues after the next start",
                self._timings.drain_seconds,
                extra={"action": "stopping"},
            )
        # Nobody would record the outcome of a POST from now on.
        self.pipeline.qlik_threads.abandon_posts()
        if self._broker is not None:
            self._broker.stop()
        if self._listeners is not None:
            self._listeners.stop(5.0)
        self.pipeline.stop()
        self.pipeline.alerts.stop()
        self.pipeline.qlik_threads.stop()
        self._supervisor.join(deadline)
        self.pipeline.close()
        _log.info("stopped", extra={"action": "stopped"})

    def _drained(self) -> bool:
        """Wait for work in hand, in short steps: a signal may reach another thread and wake nobody."""
        until = time.monotonic() + self._timings.drain_seconds
        while not self.pipeline.drain(self._timings.tick_seconds):
            if time.monotonic() >= until:
                return False
        return True


def _nowhere(_publication: Publication) -> bool:
    """Publish nothing: MQTT is switched off, and nothing is addressed to the broker."""
    return False


def _metrics(settings: Settings) -> Metrics | None:
    """Return what is counted; None where no listener is on, and nobody could read it."""
    if not (settings.rest.enable or settings.monitoring.enable):
        return None
    from butler_mqtt.http.metrics import Metrics  # noqa: PLC0415 -- loaded only where it is used

    metrics = Metrics((rule.name for rule in settings.rules), Senders(settings).names)
    if settings.alerts.enable:
        metrics.alert_targets(one.name for one in settings.alerts.targets)
    return metrics

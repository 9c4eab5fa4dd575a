"""The daemon: builds the parts, joins them, watches over their threads, stops them in order."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from butler_mqtt import __version__
from butler_mqtt.clock import now_ms
from butler_mqtt.errors import JournalError
from butler_mqtt.events import Confirmed, Lost, Refused, Room, SessionBegan
from butler_mqtt.exitcodes import ExitCode
from butler_mqtt.journal import Journal
from butler_mqtt.model import Arrival, Message, Publication
from butler_mqtt.mqtt import Door, DoorState, Replies
from butler_mqtt.pipeline import Pipeline
from butler_mqtt.qrs import Qrs
from butler_mqtt.settings import Settings

#: Seconds for which a broker may refuse us before the process ends: an operator has to act.
REFUSED_SECONDS = 60.0
#: Seconds for work in hand when stopping.
STOP_SECONDS = 20.0

_log = logging.getLogger("butler_mqtt.daemon")


class Daemon:
    """
    One running instance.

    Args:
        settings: The whole configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._exit_code = ExitCode.OK
        self._threads: list[threading.Thread] = []
        self._refused_since: float | None = None
        self._was_ready = False
        self._qrs = Qrs(settings.qrs, self._stop)
        self._door: Door | None = None
        self._replies: Replies | None = None
        if settings.mqtt.enable:
            self._connect_mqtt()
        self._pipeline = Pipeline(
            settings,
            Journal(settings.journal.url),
            publish=self._replies.publish if self._replies else _nowhere,
            server_time=self._qrs.server_time,
        )

    def run(self) -> ExitCode:
        """Run until a signal or a fault that cannot be mended; give the exit code."""
        settings = self._settings
        if settings.ignored:
            _log.info(
                "known to Butler and without meaning here: %s",
                ", ".join(settings.ignored),
                extra={"action": "config_ignored"},
            )
        try:
            self._pipeline.open(self._door)
        except JournalError as error:
            _log.critical("%s", error, extra={"action": "journal_failed"})
            return ExitCode.JOURNAL
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._start_threads()
        _log.info("butler-mqtt %s started", __version__, extra={"action": "started"})
        while not self._stop.is_set():
            self._wake.wait(1.0)
            self._wake.clear()
            self._look_after_door()
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
            on_state=lambda _state: self._wake.set(),
            on_fatal=self._on_fatal,
        )
        self._replies = Replies(
            mqtt,
            on_confirmed=lambda identity: self._pipeline.emit(Confirmed(identity)),
            on_refused=lambda identity, reason, final: self._pipeline.emit(Refused(identity, reason, final)),
            on_lost=lambda identities: self._pipeline.emit(Lost(tuple(identities))),
            on_room=lambda: self._pipeline.emit(Room()),
            on_fatal=self._on_fatal,
            instance=self._door.instance,
        )

    def _on_message(self, message: Message) -> None:
        self._pipeline.emit(Arrival("mqtt", message.payload, now_ms(), message))

    def _start_threads(self) -> None:
        pipeline, qrs = self._pipeline, self._qrs
        self._spawn("pipeline", pipeline.run)
        self._spawn("finder", lambda: pipeline.finder.work(qrs.connection()))
        self._spawn("settler", lambda: pipeline.starter.settler.work(qrs.connection()))
        for number in range(self._settings.start_task.max_concurrent_starts):
            self._spawn(f"starter-{number + 1}", lambda: pipeline.starter.work(qrs.connection()))
        if self._replies is not None:
            self._replies.start()
        if self._door is not None:
            self._door.start()

    def _spawn(self, name: str, work: Callable[[], None]) -> None:
        def supervised() -> None:
            try:
                work()
            except JournalError as error:
                _log.critical("%s", error, extra={"action": "journal_failed"})
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

    def _look_after_door(self) -> None:
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

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._stop.is_set():
            os._exit(ExitCode.FAILED)  # the second one: whoever sends it does not want to wait
        self._end(ExitCode.OK)

    def _on_fatal(self, error: BaseException) -> None:
        _log.critical("ending after a fault: %s", error, exc_info=error, extra={"action": "bug"})
        self._end(ExitCode.BUG)

    def _end(self, code: ExitCode) -> None:
        if not self._stop.is_set():
            self._exit_code = code
        self._stop.set()
        self._wake.set()

    # ---- stopping

    def _stop_in_order(self) -> None:
        _log.info("stopping: nothing new is started", extra={"action": "stopping"})
        if self._exit_code is ExitCode.OK and not self._pipeline.drain(STOP_SECONDS):
            _log.warning(
                "work in hand did not end in %.0f s; it is in the journal and goes on after the next start",
                STOP_SECONDS,
                extra={"action": "stopping"},
            )
        if self._door is not None:
            self._door.stop()
        if self._replies is not None:
            self._replies.stop()
        self._pipeline.stop()
        self._pipeline.finder.stop()
        self._pipeline.starter.settler.stop()
        for _ in range(self._settings.start_task.max_concurrent_starts):
            self._pipeline.starter.stop()
        for thread in self._threads:
            thread.join(2.0)
        self._pipeline.close()
        _log.info("stopped", extra={"action": "stopped"})


def _nowhere(_publication: Publication) -> bool:
    """Stand in for the broker where MQTT is switched off: nothing is addressed there."""
    return False

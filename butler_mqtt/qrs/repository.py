"""`RepositoryClient`, shared by all threads, and `RepositoryConnection`, one for each thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import tenacity

from butler_mqtt.domain.model import Execution, Selector, Task, TaskSnapshot, TaskType
from butler_mqtt.errors import OutcomeUnknown, QlikRefused, QlikUnavailable
from butler_mqtt.qrs import json_fields, script_log
from butler_mqtt.qrs.answer_errors import PassingOutage, execution_of, quoted, text_of, value_of
from butler_mqtt.qrs.answer_limits import Limits
from butler_mqtt.qrs.app_executions import AppExecutions
from butler_mqtt.qrs.execution_lists import ExecutionLists
from butler_mqtt.qrs.proxy_session import Exchange, ProxySession, ProxyTransport
from butler_mqtt.qrs.retry_pauses import FIRST_PAUSE, Pause
from butler_mqtt.qrs.server_state import ServerState
from butler_mqtt.qrs.snapshots import Snapshots
from butler_mqtt.qrs.task_lists import Form, TaskLists
from butler_mqtt.qrs.transport import ExchangeFailed, HttpAnswer, OnCall, Transport
from butler_mqtt.qrs.user_sync_start import start_asynchronously
from butler_mqtt.settings import QrsSettings as Settings

log = logging.getLogger("butler_mqtt.qrs")


class RepositoryClient(ServerState):
    """
    What all connections share: settings, the server's clock, whether it is reached.

    `stop` ends the pauses between retries. `first_pause` is in seconds. `on_call` is called after each call.
    *limits* bound each answer in time and size, those of the settings if None.
    """

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        *,
        first_pause: float = FIRST_PAUSE,
        monotonic: Callable[[], float] = time.monotonic,
        on_call: OnCall | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(f"{settings.host}:{settings.port}", monotonic)
        self.settings = settings
        self.stop = stop
        self.first_pause = first_pause
        self.on_call = on_call
        self.limits = limits
        self.form = Form()
        self._session = ProxySession(settings) if settings.through_proxy else None
        if settings.use_ssl and not settings.reject_unauthorized:
            log.warning(
                "configQRS.rejectUnauthorized is false: the certificate of %s is not checked,"
                " anyone in between can read and start tasks",
                settings.host,
                extra={"action": "qrs_unverified"},
            )

    def transport(self) -> Exchange:
        """Make what sends calls for one thread; through a proxy all share one session."""
        transport = Transport(self.settings, self.monotonic, self.on_call, self.limits)
        return transport if self._session is None else ProxyTransport(transport, self._session)

    def connection(self) -> RepositoryConnection:
        """Make a connection for one thread; it connects at its first call."""
        return RepositoryConnection(self)


class RepositoryConnection:
    """The calls, for one thread: its own keep-alive connection."""

    def __init__(self, qrs: RepositoryClient) -> None:
        settings = qrs.settings
        self._qrs = qrs
        self._transport = qrs.transport()
        self._lists = TaskLists(self._read, qrs.form)
        self._snapshots = Snapshots(self._read, self._lists)
        self._executions = ExecutionLists(self._read)
        self._of_app = AppExecutions(self._read, self._executions)
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(PassingOutage),
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(settings.retry.attempts),
                tenacity.stop_before_delay(settings.retry.max_seconds),
                tenacity.stop_when_event_set(qrs.stop),
            ),
            wait=Pause(qrs.first_pause),
            sleep=tenacity.sleep_using_event(qrs.stop),
            reraise=True,
        )

    def find(self, selectors: Sequence[Selector]) -> dict[Selector, tuple[Task, ...] | QlikRefused]:
        """
        Resolve each selector to its tasks; an empty tuple is the server's own "no such task".

        A selector whose query the server refuses (400) gets that error as its
        value and does not harm the others. An empty answer can also mean that
        the user in X-Qlik-User may not read the task: the server does not tell them apart.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses every question (401, 403, no such endpoint).
        """
        return self._lists.find(selectors)

    def all_tasks(self) -> tuple[Task, ...] | None:
        """
        Read all tasks that the user sees; None where one list cannot be known to hold them whole.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses to answer.
        """
        return self._lists.whole()

    def start(self, task: Task) -> str | None:
        """
        Ask the server to run *task* once, now; one attempt.

        Kinds without execution sessions (distribute, preload, unknown) are
        started without asking for an id, the others through
        `start/synchronous`, which does not wait for the run either. A user
        synchronisation for which that is refused (400) is started without
        asking once, if the server shows that nothing began.

        Returns:
            The execution id in lower case, `model.EMPTY_GUID` when the server
            did not start the task, None when the kind has no id.

        Raises:
            QlikUnavailable: Nothing was started: nothing was sent, or 429.
            QlikRefused: The server answered 4xx, not 429; nothing was started.
            OutcomeUnknown: The task may be running.
        """
        path = f"/task/{task.id}/start"
        if not task.has_sessions:
            return self._post(path)
        try:
            return self._post(f"{path}/synchronous")
        except QlikRefused as refusal:
            if refusal.status != 400 or task.task_type != TaskType.USER_SYNC:
                raise
            return start_asynchronously(task, refusal, self.snapshot, lambda: self._post(path))

    def snapshot(self, task: Task) -> TaskSnapshot:
        """
        Read all that the server shows about *task*: itself, its sessions, its results.

        For distribute, preload and unknown kinds sessions are asked for too, but none
        proves nothing: `sessions_readable` is False then.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses to answer.
        """
        snapshot = self._snapshots.snapshot([task])[task.id]
        if isinstance(snapshot, QlikRefused):
            raise snapshot
        return snapshot

    def read_snapshots(self, tasks: Iterable[Task]) -> dict[str, TaskSnapshot | QlikRefused]:
        """Read the snapshots of many tasks at once, by their ids; raises like `snapshot`."""
        return self._snapshots.snapshot(tasks)

    def stop_task(self, task: Task) -> None:
        """
        Ask the server to stop whatever runs of *task*; one attempt, and 204 also where nothing runs.

        Raises:
            QlikUnavailable: Nothing was sent, or 429.
            QlikRefused: The server answered 4xx, not 429.
            OutcomeUnknown: It may be stopped or not.
        """
        self._post(f"/task/{task.id}/stop")

    def app_executions(self, app_id: str) -> tuple[Execution, ...]:
        """
        Read what runs of an app, whichever of its tasks; where nothing does, what ran last.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses to answer.
        """
        return self._of_app.of_app(app_id)

    def executions(self, ids: Sequence[str]) -> dict[str, Execution | None]:
        """
        Read executions by id; None for one the server does not show.

        One call for each 50, and one more for those of them whose results show
        that they ended, or that have none: with its session an execution may be
        retried, without it it is over. Now and then the sessions of all are
        read, since a result stays active when the server loses its execution.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses to answer.
        """
        return self._executions.read_by_id(ids)

    def script_log(self, task_id: str, execution: Execution, lines: int = 50) -> list[str] | None:
        """
        Read the last *lines* of the script log of a reload; None while the server has none.

        A log can appear some seconds after the end of its reload: when to ask
        again is left to the caller.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses to answer (401, 403).
        """
        if execution.result_id is None:
            return None
        return script_log.last_lines(self._read, self._read_text, task_id, execution.result_id, lines)

    def capacity(self) -> int:
        """
        Read how many reloads the site runs at one time, by its scheduler nodes; 0 if it does not show them.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses to answer.
        """
        services = json_fields.objects(self._read("/schedulerservice/full"))
        return sum(
            json_fields.number(json_fields.part(one, "settings", "maxConcurrentEngines")) or 0
            for one in services
        )

    def about(self) -> dict[str, object]:
        """
        Read the server's description of itself, e.g. `buildVersion`.

        Raises:
            QlikUnavailable: The server could not be asked, retries included.
            QlikRefused: The server refuses to answer.
        """
        about = self._read("/about")
        return about if isinstance(about, dict) else {}

    def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        self._transport.close()

    def _post(self, path: str) -> str | None:
        call = self._call("POST", path)
        try:
            answer = self._transport.exchange("POST", path)
        except ExchangeFailed as error:
            self._qrs.note_failure(str(error))
            if error.sent:
                raise OutcomeUnknown(f"{call}: {error}; the task may have been started") from error
            raise QlikUnavailable(f"{call}: {error}") from error
        self._qrs.note_answer(answer)
        try:
            return execution_of(answer, call)
        except (OutcomeUnknown, QlikUnavailable):
            self._transport.close()
            raise

    def _read(self, path: str, query: str = "") -> object:
        return self._retrying(self._read_once, path, query, value_of)

    def _read_text(self, path: str, query: str = "") -> object:
        return self._retrying(self._read_once, path, query, text_of)

    def _read_once(self, path: str, query: str, parse: Callable[[HttpAnswer, str], object]) -> object:
        call = self._call("GET", path)
        try:
            answer = self._transport.exchange("GET", path, query)
        except ExchangeFailed as error:
            self._qrs.note_failure(str(error))
            raise PassingOutage(f"{call}: {error}") from error
        self._qrs.note_answer(answer)
        try:
            value = parse(answer, call)
            if path.endswith("/full") and not isinstance(value, list):
                raise PassingOutage(f"{call}: {answer.status} with {quoted(answer)} instead of a list")
        except QlikUnavailable:
            # Whoever answered so may not be the repository: ask over a new connection next time.
            self._transport.close()
            raise
        return value

    def _call(self, method: str, path: str) -> str:
        """Name the call for an error, without its query: that holds what senders wrote."""
        settings = self._qrs.settings
        return f"{method} {settings.host}:{settings.port}{settings.root}{path}"

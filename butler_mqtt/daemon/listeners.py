"""The listeners of the daemon, joined to its parts; loaded only when one of them is enabled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from butler_mqtt.clock import now_ms
from butler_mqtt.contract.request_status import request_status
from butler_mqtt.contract.task_status import task_status
from butler_mqtt.daemon import open_files, readiness, token_watch
from butler_mqtt.daemon.readiness import Sources
from butler_mqtt.domain.senders import ANYBODY, Caller, Senders
from butler_mqtt.errors import JournalError
from butler_mqtt.http import application
from butler_mqtt.http.backend import Backend, KeyValueBackend, ListQuery, TaskQuery
from butler_mqtt.http.certificate_expiry import files_of, remaining
from butler_mqtt.http.exposition import Levels, exposition
from butler_mqtt.http.guard import Guard, Page
from butler_mqtt.http.metrics import Metrics
from butler_mqtt.http.server.listener import Listener
from butler_mqtt.http.server.protocol import HttpLimits
from butler_mqtt.journal import task_rows
from butler_mqtt.journal.parameter_rows import ParameterReader
from butler_mqtt.journal.search import GOING_ON, OPEN, Filters
from butler_mqtt.journal.status_rows import StatusReader
from butler_mqtt.settings import Settings, Webhook

#: What the states of a list mean in the journal: of the request, or of one of its starts.
STATES: Mapping[str, tuple[str, ...]] = {
    "open": (*OPEN, *GOING_ON),
    "succeeded": ("succeeded",),
    "failed": ("failed", "aborted", "skippedByQlik", "notStarted", "unknown"),
    "refused": ("refused",),
    "cancelled": ("cancelled",),
}
#: Connections of the monitoring listener; a few scrapers and supervisors.
MONITORING_CONNECTIONS = 50


class Listeners:
    """
    REST and monitoring, each where it is enabled.

    Args:
        settings: The whole configuration.
        sources: The daemon's parts.
        metrics: What is counted.
        journal: The journal's file.
        on_fatal: Called when a listener's thread ends by a fault.

    Raises:
        ListenerError: An address or a certificate cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        sources: Sources,
        metrics: Metrics,
        journal: Path,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._metrics = metrics
        self._status = StatusReader(journal)
        self._senders = Senders(settings)
        self._journal = journal
        core = Backend(
            emit=sources.emit,
            obstacle=self._obstacle,
            inquire=self._inquire,
            refused=lambda code: metrics.refused("rest", code),
            health=lambda: readiness.health(sources),
            readiness=lambda: readiness.readiness(sources, self._settings),
            exposition=self._exposition,
            listing=self._listing,
            tasks=self._tasks,
            key_values=_key_values(settings, sources, journal),
            senders=lambda: self._senders,
            webhook=self._webhook,
        )
        self._listeners: list[Listener] = []
        self._guard: Guard | None = None
        try:
            self._listen(core, on_fatal)
        except BaseException:
            self.stop(0)
            raise

    def start(self) -> None:
        """Serve."""
        for listener in self._listeners:
            listener.start()

    def reconfigured(self, settings: Settings) -> None:
        """Judge callers by other tokens and senders; certificates are read again anyway."""
        self._settings = settings  # for an application that is still to be made
        self._senders = Senders(settings)
        self._metrics.know(self._senders.names)
        if self._guard is not None:
            self._guard.reconfigured(settings.rest)

    def stop(self, timeout: float) -> None:
        """End; answers in progress have *timeout* seconds."""
        for listener in self._listeners:
            listener.stop(timeout)

    def _listen(self, core: Backend, on_fatal: Callable[[BaseException], None]) -> None:
        settings = self._settings
        rest, monitoring = settings.rest, settings.monitoring
        wanted = {
            **({"REST": HttpLimits().connections} if rest.enable else {}),
            **({"monitoring": MONITORING_CONNECTIONS} if monitoring.enable else {}),
        }
        given = open_files.connections(wanted)
        if rest.enable:

            def door(ending: asyncio.Event) -> Guard:
                # As it was at the start: that decides whether it asks for tokens.
                page = self._page(core, ending) if settings.web_page.enable else None
                guard = self._guard = application.rest(core, rest, ending, page=page)
                guard.reconfigured(self._settings.rest)
                return guard

            self._listeners.append(
                Listener(
                    "REST",
                    door,
                    rest.server_host,
                    rest.server_port,
                    on_fatal=on_fatal,
                    tls=rest.tls,
                    limits=HttpLimits(connections=given["REST"]),
                )
            )
        if monitoring.enable:
            self._listeners.append(
                Listener(
                    "monitoring",
                    lambda _ending: application.monitoring(core, monitoring, rest.max_body_bytes),
                    monitoring.host,
                    monitoring.port,
                    on_fatal=on_fatal,
                    limits=HttpLimits(connections=given["monitoring"]),
                )
            )

    def _page(self, core: Backend, ending: asyncio.Event) -> Page:
        """Make the page for operators; what it needs is loaded only where it is on."""
        from butler_mqtt.daemon.page_sources.page_sources import page_backend  # noqa: PLC0415 -- as above
        from butler_mqtt.http.page.web_page import WebPage  # noqa: PLC0415 -- as above

        backend = page_backend(
            self._journal,
            filters=_filters,
            tasks=self._tasks,
            levels=self._levels,
            subscription=self._sources.subscription,
            alert_faults=self._sources.alert_faults,
            rules=lambda: self._settings.rules,
            senders=lambda: self._senders,
        )
        return WebPage(core, backend, self._settings, ending)

    def _webhook(self, rule: str) -> Webhook | None:
        """Return the webhook of an enabled rule, None without one."""
        return next((one.webhook for one in self._settings.rules if one.name == rule and one.enable), None)

    # ---- what the pages show

    def _obstacle(self) -> str | None:
        fault = self._sources.fault()
        if fault is not None:
            return "the journal cannot be written"
        return None if self._sources.accepting() else "the disk is nearly full, or too many requests are open"

    def _inquire(self, request_id: str, caller: Caller = ANYBODY, /) -> Mapping[str, object] | None:
        rows = self._status.request(request_id, _owner(caller))
        if rows is None:
            return None
        return request_status(
            rows.request,
            rows.deliveries,
            rows.starts,
            rows.stages,
            held=rows.held,
            places=self._sources.places(),
        )

    def _listing(self, query: ListQuery) -> list[tuple[tuple[int, int], Mapping[str, object]]]:
        places = self._sources.places()
        return [
            (
                (rows.request["received_at"], rows.request["id"]),
                request_status(rows.request, rows.deliveries, rows.starts, held=rows.held, places=places),
            )
            for rows in self._status.page(_filters(query), query.limit + 1, query.before)
        ]

    def _tasks(self, query: TaskQuery) -> list[tuple[str, Mapping[str, object]]] | None:
        found = task_rows.page(
            self._journal,
            query.limit + 1,
            tag=query.tag,
            after=query.after,
            owner=_owner(query.caller),
        )
        if found is None:
            return None
        return [(one.task_id, task_status(one.task_id, one.name, one.starts)) for one in found]

    def _exposition(self) -> bytes:
        return exposition(self._metrics, self._levels())

    def _levels(self) -> Levels:
        sources, settings = self._sources, self._settings
        now = time.monotonic()
        subscription = sources.subscription()
        reached_at = sources.reached_at()
        numbers: dict[str, float | None] = {
            "last_turn_age_seconds": now - sources.progress(),
            "qrs_last_answer_age_seconds": None if reached_at is None else now - reached_at,
        }
        numbers["held_requests"] = sources.held()
        outbox: dict[str, int] = {}
        try:
            backlog = self._status.backlog()
        except JournalError:
            pass  # journal_writable shows it; the other numbers are still worth having
        else:
            oldest = backlog.oldest_open
            numbers["open_requests"] = backlog.open_requests
            numbers["oldest_open_request_age_seconds"] = (
                0.0 if oldest is None else max(0.0, (now_ms() - oldest) / 1000)
            )
            numbers["executions_followed"] = backlog.executing
            outbox = {"waiting": backlog.outbox, "quarantined": backlog.dead_letters}
        return Levels(
            states={
                "broker_connected": sources.broker_connected(),
                "subscribed": None if subscription is None else subscription == "ready",
                "qrs_reachable": sources.reachable(),
                "journal_writable": sources.fault() is None,
                "accepting_requests": sources.accepting(),
                "healthy": all(one.passed for one in readiness.health(sources)),
                "ready": all(one.passed for one in readiness.readiness(sources, settings)),
            },
            numbers=numbers,
            outbox=outbox,
            tokens=token_watch.remaining(settings.rest.tokens if settings.rest.enable else ()),
            certificates=remaining(files_of(settings)),
        )


def _filters(query: ListQuery) -> Filters:
    return Filters(
        states=STATES.get(query.state or "", ()),
        task=query.task,
        tag=query.tag,
        since=query.since,
        sender=query.sender,
        code=query.code,
        owner=_owner(query.caller),
    )


def _owner(caller: Caller) -> str | None:
    """Return the identity whose requests alone a caller is shown, None for one that is shown all."""
    return None if caller.sees_everything else caller.identity


def _key_values(settings: Settings, sources: Sources, journal: Path) -> KeyValueBackend | None:
    store = settings.key_value_store
    if not store.enable:
        return None
    reader = ParameterReader(journal)
    return KeyValueBackend(
        namespaces=reader.namespaces,
        keys=reader.keys,
        value=reader.value,
        change=sources.emit,
        max_keys=store.max_keys_per_namespace,
        endpoints=store.endpoints,
    )

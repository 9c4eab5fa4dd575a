"""Joins the page to the journal and to the parts of the daemon."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from butler_mqtt.audit import requests_again
from butler_mqtt.audit.requests_choice import Declined
from butler_mqtt.daemon.page_sources import going_on, health_facts, request_pages, rule_lines
from butler_mqtt.domain.senders import Senders
from butler_mqtt.http.backend import ListQuery, TaskListing
from butler_mqtt.http.exposition import Levels
from butler_mqtt.http.page.page_backend import ActionDeclined, PageBackend, Place, RequestLine
from butler_mqtt.journal.search import Filters, Search
from butler_mqtt.pipeline.command_submission import CommandLimits, submit
from butler_mqtt.pipeline.operator_commands import Action, Command
from butler_mqtt.settings import RuleSettings, Settings


def page_backend(
    journal: Path,
    *,
    filters: Callable[[ListQuery], Filters],
    tasks: TaskListing,
    levels: Callable[[], Levels],
    subscription: Callable[[], str | None],
    alert_faults: Callable[[], Mapping[str, str]] = dict,
    rules: Callable[[], Sequence[RuleSettings]] = tuple,
    senders: Callable[[], Senders] = lambda: Senders(Settings()),
) -> PageBackend:
    """
    Return what stands behind the page.

    Args:
        journal: Its file.
        filters: What a query of a list means in the journal.
        tasks: Reads tasks.
        levels: The state of the daemon, as the metrics show it.
        subscription: The state of the MQTT door, None without MQTT.
        alert_faults: The targets that do not take alerts, each with the reason.
        rules: Those of the configuration.
        senders: Those of the configuration.
    """

    def lines(query: ListQuery) -> list[tuple[Place, RequestLine]]:
        return request_pages.lines(journal, filters(query), query.limit + 1, query.before)

    return PageBackend(
        version=_Version(journal),
        going_on=lambda: going_on.read(journal),
        requests=lines,
        request=lambda request_id: request_pages.whole(journal, request_id, senders()),
        tasks=tasks,
        failures=lambda limit, before: request_pages.failures(journal, limit + 1, before, senders()),
        health=lambda: health_facts.facts(levels(), journal, subscription(), alert_faults()),
        rules=lambda: rule_lines.read(journal, rules()),
        again=lambda request_id, task_id: _again(journal, request_id, task_id, senders()),
        owner=lambda request_id: requests_again.owner(journal, request_id),
        discard=lambda request_id: _discard(journal, request_id),
        sessions=Path(f"{journal}.sessions"),
    )


class _Version:
    """
    A number that changes whenever the journal was written, read on a connection that stays open.

    Raises JournalError when it cannot be read; the next call opens it again.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._search: Search | None = None

    def __call__(self) -> int:
        with self._lock:
            if self._search is None:
                self._search = Search(self._journal).__enter__()
            try:
                return self._search.version()
            except BaseException:
                self._search.__exit__(None, None, None)
                self._search = None
                raise


def _again(journal: Path, request_id: str, task_id: str | None, senders: Senders) -> Mapping[str, object]:
    try:
        document = requests_again.retried(journal, request_id, task_id=task_id)
        barred = senders.bars_again(requests_again.owner(journal, request_id))
    except Declined as error:
        raise ActionDeclined(str(error)) from None
    if barred is not None:
        raise ActionDeclined(f"request {request_id}: {barred}")
    return document


def _discard(journal: Path, request_id: str) -> int:
    """Leave the command as `butler-mqtt requests discard` does; return how many dead letters are gone."""
    with Search(journal) as search:
        rows = [
            row["id"] for one in search.requests_rows(search.named(request_id)) for row in one.dead_letters
        ]
        limits = CommandLimits()
        for first in range(0, len(rows), limits.messages):
            command = Command(Action.DISCARD, tuple(rows[first : first + limits.messages]))
            if not submit(journal, command, limits):
                raise ActionDeclined(
                    "the daemon did not accept the command in time; nothing has changed, see its log"
                )
        return len(rows) - (search.still_dead_letters(rows) if rows else 0)

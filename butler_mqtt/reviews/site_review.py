"""The review: the usage of the journal, held against the tasks of the Qlik server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from butler_mqtt.domain.model import Selector, SelectorKind
from butler_mqtt.errors import QlikError
from butler_mqtt.journal.usage import Usage, UsageReader
from butler_mqtt.qrs.repository import RepositoryClient
from butler_mqtt.reviews import configured_entries, selectors_in_use, site_tasks, tasks_and_senders
from butler_mqtt.reviews.remark import Remark, Review, Topic
from butler_mqtt.reviews.site_tasks import SiteTasks
from butler_mqtt.settings import Retry, Settings

#: Lines of one topic that are kept; selectors of one sort that are asked for one by one.
MOST = 1000
#: Short, since an operator waits for the result.
_RETRY = Retry(attempts=2, max_seconds=10.0)


def review(settings: Settings, reader: UsageReader, since: int, until: int) -> Review:
    """
    Review the requests from *since* to *until*, which is now (milliseconds since 1970).

    Raises:
        JournalError: The journal cannot be read.
    """
    usage = reader.usage(since)
    missing = [one.selector.value for one in usage.not_found if one.selector.kind is SelectorKind.TASK_ID]
    names = reader.last_names(missing)
    site, not_asked = _ask(settings, usage, names)
    kept: list[Remark] = []
    counts: Counter[Topic] = Counter()
    for remark in _remarks(usage, site, names, settings, until):
        counts[remark.topic] += 1
        if counts[remark.topic] <= MOST:
            kept.append(remark)
    last = reader.last_uses([one.row for one in kept if one.row])
    return Review(
        since=since,
        until=until,
        requests=usage.requests,
        tasks=site.count if site is not None and site.whole else None,
        not_asked=not_asked,
        remarks=[replace(one, last=last.get(one.row)) for one in kept],
        left_out={topic: count - MOST for topic, count in counts.items() if count > MOST},
    )


def _remarks(
    usage: Usage, site: SiteTasks | None, names: dict[str, str], settings: Settings, until: int
) -> Iterator[Remark]:
    yield from selectors_in_use.not_found(usage, site, names)
    yield from selectors_in_use.gone(usage, site, names)
    yield from selectors_in_use.asked(usage, site, settings)
    yield from tasks_and_senders.failing(usage)
    if site is not None:
        yield from configured_entries.without_task(settings, site)
    yield from configured_entries.unmatched(settings, usage, until)
    yield from tasks_and_senders.silent(usage, until, [one.name for one in settings.senders])


def _ask(settings: Settings, usage: Usage, names: dict[str, str]) -> tuple[SiteTasks | None, str | None]:
    """Read the tasks of the server; else return why it could not be asked."""
    qrs = RepositoryClient(replace(settings.qrs, retry=_RETRY), threading.Event())
    try:
        with closing(qrs.connection()) as connection:
            return site_tasks.read(
                connection, _wanted(settings, usage), lambda site: _names(usage, site, names)
            ), None
    except QlikError as error:
        return None, str(error)


def _wanted(settings: Settings, usage: Usage) -> list[Selector]:
    """Return what is looked up, for a server that does not list its tasks whole."""
    by_id = [Selector(SelectorKind.TASK_ID, task) for task, use in usage.tasks.items() if use.by_id]
    return [
        *(use.selector for use in usage.not_found[:MOST]),
        *(use.selector for use in usage.asked[:MOST]),
        *by_id,
        *(selector for _, selector in configured_entries.entries(settings)),
    ]


def _names(usage: Usage, site: SiteTasks, names: dict[str, str]) -> Sequence[Selector]:
    """Return the names of the tasks that are gone, among which others may be."""
    known = names | {task: use.name for task, use in usage.tasks.items() if use.by_id}
    missing = [name for task, name in known.items() if not site.means(Selector(SelectorKind.TASK_ID, task))]
    return [Selector(SelectorKind.TASK_NAME, name) for name in dict.fromkeys(missing[:MOST])]

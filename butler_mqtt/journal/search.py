"""
Finds requests in a journal, in use or a copy, and reads whole ones; never writes.

Every search is answered from indexes (`requests_open` and `requests_search` have
all that lists are filtered by), so that it takes less than a second among a
million requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    TextClause,
    and_,
    func,
    or_,
    select,
    text,
    tuple_,
    union,
    union_all,
)

from butler_mqtt.journal import task_rows
from butler_mqtt.journal.held_requests import is_dead_letter, is_held
from butler_mqtt.journal.queries import BY_ID, IS_OPEN, NOT_PLANNED, has_id, owned_by, planned
from butler_mqtt.journal.read_only import ReadOnlyJournal
from butler_mqtt.journal.request_rows import RequestRows, read
from butler_mqtt.journal.tables import outbox, requests, runs, starts

OPEN = ("received", "decided")
REQUEST_STATES = (*OPEN, "closed", "refused")
#: Shortest beginning of an id that stands for it, and how many ids with it are read.
MIN_BEGIN = 4
MAX_BEGUN = 5
#: States of starts that still go on; the partial index `starts_ended` has all others.
GOING_ON = ("planned", "waiting", "running")
ENDED = (
    "succeeded",
    "failed",
    "aborted",
    "skippedByQlik",
    "denied",
    "skipped",
    "notStarted",
    "expired",
    "cancelled",
    "unknown",
    "wouldStart",
)
#: States of starts whose tasks did not begin, as far as is known.
BEGAN_NOTHING = ("denied", "notStarted", "expired", "cancelled", "unknown")

#: Distinct values by jumping from one to the next in an index, which reads one entry for each.
_TAGS = text(
    "WITH RECURSIVE each(tags) AS (SELECT min(tags) FROM requests WHERE tags IS NOT NULL UNION ALL "
    "SELECT (SELECT min(tags) FROM requests WHERE tags > each.tags) FROM each WHERE tags IS NOT NULL) "
    "SELECT tags FROM each WHERE tags IS NOT NULL"
)
#: As the partial index has it; bound parameters would not be known to be the same.
_HAS_ENDED = text("state NOT IN ('planned', 'waiting', 'running')")
#: The two indexes that searches go through, and states for which the first is enough.
_PARTS = (IS_OPEN, requests.c.closed_at.isnot(None))
_OPEN_ONLY = frozenset({*OPEN, "planned"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """
    Which requests are meant; all that is given must hold.

    `states` are those of requests or of starts; `failed` also means requests for
    which nothing began. `task` is an id or a name
    without regard to case, `tag` one the sender asked for. `since` (inclusive)
    and `until` (exclusive) are milliseconds since 1970 of the arrival. `code`
    is that of the request or of one of its starts. `sender` is where it came from, or
    what its body says where nobody was told apart; `stated` is what its body says in any
    case. `owner` is the identity whose requests alone are shown. `rule` made the request.
    """

    states: tuple[str, ...] = ()
    task: str | None = None
    tag: str | None = None
    since: int | None = None
    until: int | None = None
    sender: str | None = None
    door: str | None = None
    code: str | None = None
    dead_letters: bool = False
    held: bool = False
    stated: str | None = None
    owner: str | None = None
    rule: str | None = None


class Search(ReadOnlyJournal):
    """
    Finds requests, and reads whole ones.

    All methods raise JournalError when the file cannot be read.
    """

    def find(
        self,
        filters: Filters,
        limit: int,
        *,
        among: Sequence[int] | None = None,
        before: tuple[int, int] | None = None,
    ) -> list[int]:
        """
        Return the rows of the newest requests that fit, newest first.

        Args:
            filters: What they have to fulfil.
            limit: How many at most.
            among: Only these.
            before: Only those after this place in the list, the time of arrival and row of its last one.
        """
        with self.reading() as connection:
            conditions = _conditions(connection, filters)
            if conditions is None:
                return []
            if among is not None:
                conditions.append(requests.c.id.in_(among))
            if before is not None:
                conditions.append(tuple_(requests.c.received_at, requests.c.id) < before)
            parts = _PARTS[:1] if filters.states and _OPEN_ONLY.issuperset(filters.states) else _PARTS
            query = _in_order(*conditions, parts=parts, newest_first=True)
            return [row.id for row in connection.execute(query.limit(limit))]

    def after(self, row: int, limit: int) -> list[int]:
        """Return the next rows of requests that came after that one, oldest first."""
        with self.reading() as connection:
            query = select(requests.c.id).where(requests.c.id > row).order_by(requests.c.id).limit(limit)
            return list(connection.execute(query).scalars())

    def named(self, request_id: str) -> list[int]:
        """Return the rows of all requests with that id, oldest first."""
        with self.reading() as connection:
            query = select(requests.c.id).where(has_id(request_id))
            return list(connection.execute(query.order_by(requests.c.id)).scalars())

    def ids(self, begin: str) -> list[str]:
        """Return *begin* if it is the id of a request, else the first few ids that begin with it."""
        begin = begin.rstrip("…")
        with self.reading() as connection:
            if connection.execute(select(requests.c.id).where(has_id(begin)).limit(1)).first():
                return [begin]
            if len(begin) < MIN_BEGIN:
                return []
            # Two conditions, since each of the two indexes is for one of them.
            found = union(
                *(
                    select(requests.c.request_id).where(
                        requests.c.holds_id.is_(holds),
                        requests.c.request_id.between(begin, begin + "\U0010ffff"),
                    )
                    for holds in (True, False)
                )
            )
            return list(connection.execute(found.limit(MAX_BEGUN)).scalars())

    def requests_rows(self, rows: Sequence[int]) -> list[RequestRows]:
        """Read whole requests, in the order of their ids."""
        with self.reading() as connection:
            return read(connection, rows)

    def dead_letters(self) -> list[int]:
        """Return the rows of the outbox that the broker does not take, oldest first."""
        query = select(outbox.c.id).where(is_dead_letter()).order_by(outbox.c.id)
        with self.reading() as connection:
            return list(connection.execute(query).scalars())

    def held(self) -> list[int]:
        """Return the rows of the requests held since a backup was restored, oldest first."""
        with self.reading() as connection:
            query = select(requests.c.id).where(is_held()).order_by(requests.c.id)
            return list(connection.execute(query).scalars())

    def still_dead_letters(self, rows: Sequence[int]) -> int:
        """Count those of these rows of the outbox that are still dead letters."""
        query = select(func.count()).where(outbox.c.id.in_(rows), outbox.c.quarantined_at.isnot(None))
        with self.reading() as connection:
            return connection.execute(query).scalar_one()

    def each(self, since: int | None, until: int | None, *, batch: int = 200) -> Iterator[RequestRows]:
        """
        Read all requests in order of arrival, a few at a time.

        No transaction is held between them: what is pruned in between is
        left out, what arrives in between comes at the end.
        """
        place = (since if since is not None else -1, -1)
        while True:
            with self.reading() as connection:
                query = _in_order(tuple_(requests.c.received_at, requests.c.id) > place)
                found = connection.execute(query.limit(batch)).all()
                rows = [row.id for row in found if until is None or row.received_at < until]
                requests_rows = {one.request["id"]: one for one in read(connection, rows)}
            yield from (requests_rows[row] for row in rows)
            if len(rows) < batch:
                return
            place = (found[-1].received_at, found[-1].id)

    def version(self) -> int:
        """Return a number that changes whenever another process has written."""
        with self.reading(whole=False) as connection:
            return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())


# ---- searching


def _in_order(
    *conditions: ColumnElement[bool] | TextClause,
    parts: Sequence[ColumnElement[bool]] = _PARTS,
    newest_first: bool = False,
) -> CompoundSelect[Any]:
    """Select arrival and id of requests in the order of these, open ones and others from an index each."""
    found = union_all(
        *(select(requests.c.received_at, requests.c.id).where(part, *conditions) for part in parts)
    )
    order = (found.selected_columns.received_at, found.selected_columns.id)
    return found.order_by(*(column.desc() if newest_first else column for column in order))


def _conditions(connection: Connection, filters: Filters) -> list[ColumnElement[bool] | TextClause] | None:
    """Return what requests that fit fulfil; None when there is no such task or tag at all."""
    conditions = _of_the_request(filters)
    if filters.states:
        conditions.append(_in_states(filters.states))
    if filters.code is not None:
        of_starts = select(starts.c.request).where(
            _HAS_ENDED, starts.c.state.in_(ENDED), starts.c.code == filters.code
        )
        conditions.append(or_(requests.c.code == filters.code, BY_ID.in_(of_starts)))
    if filters.task is not None:
        tasks = _tasks(connection, filters.task)
        if not tasks:
            return None
        of_tasks = starts.c.task_id.in_(tasks)
        begun = select(starts.c.request).where(of_tasks, NOT_PLANNED)
        conditions.append(or_(BY_ID.in_(begun), BY_ID.in_(select(starts.c.request).where(planned(of_tasks)))))
    if filters.tag is not None:
        tags = _tags(connection, filters.tag)
        if not tags:
            return None
        tagged = requests.alias("tagged")
        conditions.append(BY_ID.in_(select(tagged.c.id).where(tagged.c.tags.in_(tags))))
    if filters.dead_letters:
        conditions.append(BY_ID.in_(select(outbox.c.request).where(is_dead_letter())))
    if filters.held:
        conditions.append(is_held())
    return conditions


def _of_the_request(filters: Filters) -> list[ColumnElement[bool] | TextClause]:
    conditions: list[ColumnElement[bool] | TextClause] = []
    if filters.since is not None:
        conditions.append(requests.c.received_at >= filters.since)
    if filters.until is not None:
        conditions.append(requests.c.received_at < filters.until)
    if filters.sender is not None:
        stated = and_(requests.c.identity.is_(None), requests.c.sender == filters.sender)
        conditions.append(or_(requests.c.identity == filters.sender, stated))
    if filters.stated is not None:
        conditions.append(requests.c.sender == filters.stated)
    if filters.owner is not None:
        conditions.append(owned_by(filters.owner))
    if filters.door is not None:
        conditions.append(requests.c.door == filters.door)
    if filters.rule is not None:
        ruled = requests.alias("ruled")
        conditions.append(BY_ID.in_(select(ruled.c.id).where(ruled.c.rule == filters.rule)))
    return conditions


def _in_states(states: Sequence[str]) -> ColumnElement[bool]:
    ways: list[ColumnElement[bool] | TextClause] = []
    of_requests = [state for state in states if state in REQUEST_STATES]
    ended = [state for state in states if state in ENDED]
    if of_requests:
        ways.append(requests.c.state.in_(of_requests))
    if "failed" in states:
        ways.append(_began_nothing())
    if ended:
        ways.append(BY_ID.in_(select(starts.c.request).where(_HAS_ENDED, starts.c.state.in_(ended))))
    if "waiting" in states:
        ways.append(BY_ID.in_(select(starts.c.request).where(text("state = 'waiting'"))))
    if "running" in states:
        executing = select(runs.c.id).where(text("state = 'executing'"))
        running = starts.c.state == "running"
        served = select(starts.c.request).where(NOT_PLANNED, starts.c.run.in_(executing), running)
        ways.append(BY_ID.in_(served))
    if "planned" in states:
        ways.append(BY_ID.in_(select(starts.c.request).where(planned())))
    return or_(*ways)


def _began_nothing() -> ColumnElement[bool]:
    """Return the condition that a request, no cancel, is closed and none of its starts began anything."""
    others = select(starts.c.id).where(
        starts.c.request == requests.c.id, starts.c.state.not_in(BEGAN_NOTHING)
    )
    some = select(starts.c.request).where(_HAS_ENDED, starts.c.state.in_(BEGAN_NOTHING))
    # Apart, since the document is in no index: it is read where a request has no starts.
    whole = requests.alias("whole")
    cancel = select(whole.c.id).where(
        whole.c.id == requests.c.id, func.json_extract(whole.c.document, "$.cancel").isnot(None)
    )
    without = and_(
        ~select(starts.c.id).where(starts.c.request == requests.c.id).exists(),
        ~cancel.exists(),
    )
    return and_(requests.c.state == "closed", or_(without, and_(BY_ID.in_(some), ~others.exists())))


def _tasks(connection: Connection, wanted: str) -> list[str]:
    """Return the ids of tasks with that id, or with that name when it was seen last."""
    wanted = wanted.casefold()
    names: dict[str, str] = dict(connection.execute(task_rows.NAMES).all())
    names |= dict(connection.execute(select(starts.c.task_id, starts.c.task_name).where(planned())).all())
    return [task for task, name in names.items() if wanted in {task, name.casefold()}]


def _tags(connection: Connection, wanted: str) -> list[str]:
    """Return the lists of tags asked for that hold that tag."""
    wanted = wanted.casefold()
    lists = connection.execute(_TAGS).scalars()
    return [tags for tags in lists if any(tag.casefold() == wanted for tag in json.loads(tags))]

"""Which requests asked again for others: a retry names the old one as its sender."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import select, union_all

from butler_mqtt.journal.queries import IS_OPEN
from butler_mqtt.journal.sqlite import reading
from butler_mqtt.journal.tables import requests


def by_sender(path: Path, senders: Collection[str], since: int) -> dict[str, list[str]]:
    """
    Return the ids of the requests that named each of these senders, the newest first.

    One pass through the indexes of all that arrived since a time (milliseconds since 1970), however
    many senders there are; raises JournalError.
    """
    those = (requests.c.received_at >= since, requests.c.sender.in_(senders))
    found = union_all(
        *(
            select(requests.c.received_at, requests.c.id, requests.c.sender, requests.c.request_id).where(
                part, *those
            )
            for part in (IS_OPEN, requests.c.closed_at.isnot(None))
        )
    )
    ids: defaultdict[str, list[str]] = defaultdict(list)
    with reading(path) as connection:
        for row in sorted(connection.execute(found), reverse=True):
            ids[row.sender].append(row.request_id)
    return dict(ids)

"""What is kept of refusals and repetitions is bounded; what is open, or to be published, stays."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from butler_mqtt.journal import refusal_bounds, tables
from butler_mqtt.journal.deletion import forget
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.journal.sqlite import Journal
from tests.pipeline.fixtures import MakeHarness, harness, make_harness
from tests.pipeline.harness import Harness

#: Fixtures are found here as well.
__all__ = ["MakeHarness", "harness", "make_harness"]


def add(journal: Journal, row: int, *, holds: bool = False, state: str = "refused", **fields: Any) -> None:
    """Write a refused request with its delivery, as the ledger does."""
    with journal.transaction() as connection:
        request = {"id": row, "request_id": f"r-{row}", "holds_id": holds, "door": "mqtt", "state": state}
        request |= {"received_at": row, "closed_at": row, "reply": "{}"}
        connection.execute(tables.requests.insert().values({**request, **fields}))
        delivery = {"id": row, "request": row, "door": "mqtt", "received_at": row, "payload": b"x" * 100}
        delivery |= {"wait": "started", "answered_at": row}
        connection.execute(tables.deliveries.insert().values(**delivery))


def message(journal: Journal, row: int, *, dead: bool) -> None:
    """Write a reply that is to be published, or that the broker does not take."""
    with journal.transaction() as connection:
        values = {"id": row, "request": row, "delivery": row, "kind": "reply", "topic": "t", "payload": b"{}"}
        values |= {"request_id": f"r-{row}", "created_at": row, "refusals": 0}
        values |= {"quarantined_at": row if dead else None}
        connection.execute(tables.outbox.insert().values(**values))


def kept(journal: Journal) -> list[int]:
    with journal.transaction() as connection:
        return list(connection.execute(select(tables.requests.c.id).order_by(tables.requests.c.id)).scalars())


def steps(journal: Journal, bound: Refusals, count: int = 10) -> None:
    for _ in range(count):
        with journal.transaction() as connection:
            bound.step(connection)


def loaded(journal: Journal, bound: Refusals) -> Refusals:
    with journal.transaction() as connection:
        bound.load(connection)
    return bound


def test_the_newest_are_kept_by_count(journal: Journal) -> None:
    bound = Refusals(least=0, most=5)
    for row in range(1, 13):
        add(journal, row)
        bound.recorded(row, 100)
    steps(journal, bound)
    assert kept(journal) == [8, 9, 10, 11, 12]
    with journal.transaction() as connection:
        assert len(connection.execute(select(tables.deliveries.c.id)).all()) == 5


def test_the_newest_are_kept_by_size_but_for_those_the_broker_may_deliver_again(journal: Journal) -> None:
    few = Refusals(least=2, most=100, most_bytes=50_000)
    for row in range(1, 11):
        add(journal, row)
        few.recorded(row, 9_000)
    steps(journal, few)
    assert kept(journal) == [6, 7, 8, 9, 10]
    for row in range(11, 14):
        add(journal, row)
        few.recorded(row, 60_000)
    steps(journal, few)
    assert kept(journal) == [12, 13]


@pytest.mark.parametrize("known_before", [0, 4, 30])
def test_after_a_start_what_was_kept_before_counts_too(journal: Journal, known_before: int) -> None:
    for row in range(1, known_before + 1):
        add(journal, row)
    bound = loaded(journal, Refusals(least=0, most=5))
    for row in range(101, 104):
        add(journal, row)
        bound.recorded(row, 100)
    steps(journal, bound)
    assert kept(journal) == [*range(1, known_before + 1), 101, 102, 103][-5:]


def test_requests_that_hold_their_ids_are_never_touched(journal: Journal) -> None:
    for row in range(1, 11):
        add(journal, row, holds=True)
    for row in range(11, 21):
        add(journal, row, holds=row % 2 == 0, state="closed")
    bound = loaded(journal, Refusals(least=0, most=1))
    for row in (21, 22):
        add(journal, row)
        bound.recorded(row, 100)
    steps(journal, bound)
    assert kept(journal) == [*range(1, 21), 22]


def test_a_reply_that_is_still_to_be_published_keeps_its_refusal_until_it_is(journal: Journal) -> None:
    bound = Refusals(least=0, most=1, pause_seconds=0.0)
    for row in (1, 2, 3):
        add(journal, row)
        bound.recorded(row, 100)
    message(journal, 1, dead=False)
    steps(journal, bound)
    assert kept(journal) == [1, 3]
    with journal.transaction() as connection:
        connection.execute(tables.outbox.delete())
    steps(journal, bound)
    assert kept(journal) == [3]


def test_a_reply_that_the_broker_does_not_take_goes_with_its_refusal(journal: Journal) -> None:
    bound = Refusals(least=0, most=1)
    for row in (1, 2):
        add(journal, row)
        message(journal, row, dead=True)
        bound.recorded(row, 100)
    steps(journal, bound)
    assert kept(journal) == [2]
    with journal.transaction() as connection:
        assert list(connection.execute(select(tables.outbox.c.request)).scalars()) == [2]


@pytest.mark.parametrize("state", ["planned", "waiting", "executing"])
def test_what_goes_on_is_not_forgotten(journal: Journal, state: str) -> None:
    add(journal, 1, state="closed")
    add(journal, 2, state="closed")
    with journal.transaction() as connection:
        run = {"id": 1, "task_id": "t", "state": "executing", "intended_at": 1, "attempts": 1}
        connection.execute(tables.runs.insert().values(**run))
        start = {"id": 1, "request": 1, "task_id": "t", "task_name": "T", "kinds": "", "changed_at": 1}
        start |= {"adopted": False, "state": "running" if state == "executing" else state}
        start |= {"run": 1 if state == "executing" else None}
        connection.execute(tables.starts.insert().values(**start))
    with journal.transaction() as connection:
        done = forget(connection.connection.cursor(), [1, 2], with_dead_letters=True)
    assert (done.gone, set(done.stays)) == (1, {1})
    assert kept(journal) == [1]


# ---- through the daemon's core


def test_a_large_body_that_is_refused_is_cut_and_its_length_is_noted(harness: Harness) -> None:
    harness.ask(b"{" + b"x" * 100_000)
    (delivery,) = harness.rows(tables.deliveries)
    assert len(delivery["payload"]) == refusal_bounds.BODY_BYTES
    (note,) = harness.rows(tables.notes)
    assert note["kind"] == "cut"
    assert note["text"] == "the body had 100001 bytes; as it was refused, the first 2048 are kept"


def test_a_small_body_that_is_refused_and_a_large_one_that_is_not_are_kept_as_sent(harness: Harness) -> None:
    small = b"{no json"
    harness.ask(small)
    large = json.dumps({"taskId": harness.site.add("Sales")}).encode() + b" " * 100_000
    harness.ask(large)
    assert [row["payload"] for row in harness.rows(tables.deliveries)] == [small, large]
    assert harness.rows(tables.notes) == []


def test_a_conflict_keeps_neither_the_large_body_nor_what_was_parsed_of_it(harness: Harness) -> None:
    harness.ask({"requestId": "erp-1", "taskId": harness.site.add("Sales")})
    body = json.dumps({"requestId": "erp-1", "tag": "other"}).encode() + b" " * 5000
    harness.ask(body)
    *_, large = harness.rows(tables.requests)
    assert (large["code"], large["document"]) == ("request_id_conflict", None)
    assert harness.replies()[-1]["code"] == "request_id_conflict"


def test_a_flood_of_refusals_leaves_a_file_that_does_not_grow(make_harness: MakeHarness) -> None:
    harness = make_harness(refusals=Refusals(least=200, most=200))
    sizes = []
    for _ in range(6):
        for _ in range(10):
            for _ in range(20):
                harness.send(b"{" + b"x" * 3000)
            harness.until(lambda: all_published(harness))
        sizes.append(pages(harness.path))
    # One turn's worth above, at most.
    assert len(harness.rows(tables.requests)) <= 200 + 2 * 20
    assert sizes[-1] <= sizes[1] * 1.2


def test_one_id_that_is_sent_for_ever_keeps_the_first_and_the_newest_arrivals(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(refusals=Refusals(least=0, arrivals=10))
    body = json.dumps({"requestId": "erp-1", "taskId": harness.site.add("Sales")}).encode() + b" " * 5000
    for _ in range(40):
        harness.ask(body)
        harness.broker.confirm()
    harness.until(lambda: not harness.rows(tables.outbox))
    harness.ask(body)
    harness.broker.confirm()
    harness.until(lambda: len(harness.rows(tables.deliveries)) <= 12)
    rows = harness.rows(tables.deliveries)
    assert rows[0]["id"] == 1
    assert rows[0]["payload"] == body
    assert {len(row["payload"]) for row in rows[1:]} == {refusal_bounds.BODY_BYTES}
    assert [row["id"] for row in rows[-5:]] == list(range(37, 42))


def test_the_brokers_redelivery_of_a_refusal_is_recognised_after_a_start(harness: Harness) -> None:
    sent = [harness.send(b"{bad %d" % number) for number in range(30)]
    harness.until(lambda: len(harness.replies()) == 30)
    harness.restart()
    for one in sent:
        harness.deliver(one._replace(dup=True))
    harness.until(lambda: len(harness.rows(tables.notes)) == 30)
    assert len(harness.rows(tables.requests)) == 30


def all_published(harness: Harness) -> bool:
    """Confirm what is in flight, and return whether nothing is left."""
    harness.broker.confirm()
    return not harness.rows(tables.outbox)


def pages(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])

"""What a storm must keep to besides its books: order, turns, pace."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.account import Account

#: Starts of others beyond one for each task: those in hand when a task becomes ready.
SLACK = 50


def order(journal: Path) -> Iterator[str]:
    """Name the tasks whose requests were served in another order than they came."""
    last: dict[str, int] = {}
    for task, run in _rows(
        journal, "SELECT task_id, run FROM starts WHERE run IS NOT NULL ORDER BY request, id"
    ):
        if run < last.get(task, 0):
            yield f"task {task}: a later request was served before an earlier one"
        last[task] = run


def turns(journal: Path, tasks: int, account: Account) -> Iterator[str]:
    """
    Say so when a task starved.

    A start whose turn it is within its task, which is from when it is decided
    and the one before it has its outcome, may see each other task started once.
    """
    query = """
        SELECT starts.task_id, requests.decided_at, runs.intended_at, runs.answered_at FROM starts
        JOIN requests ON requests.id = starts.request JOIN runs ON runs.id = starts.run
        ORDER BY starts.request, starts.id
    """
    intended = [moment for (moment,) in _rows(journal, "SELECT intended_at FROM runs ORDER BY 1")]
    before: dict[str, int] = {}
    most = 0
    for task, decided, started, answered in _rows(journal, query):
        ready = max(decided, before.get(task, 0))
        before[task] = answered
        most = max(most, bisect_left(intended, started) - bisect_right(intended, ready))
    account.numbers["starts of others while a task had its turn to come"] = most
    if most > tasks + SLACK:
        yield f"{most} starts of others came before a task's turn, though there are {tasks} tasks"


def pace(moments: Sequence[float], seconds: float, at_a_time: int, account: Account) -> Iterator[str]:
    """Say so when of POSTs that took *seconds* each more were on their way than configured."""
    account.numbers["POSTs watched for how many go at a time"] = len(moments)
    for first, later in zip(moments, moments[at_a_time:], strict=False):
        if later - first < seconds * 0.9:
            yield f"{at_a_time + 1} POSTs within {later - first:.3f} s, each of which took {seconds} s"
            return


def _rows(journal: Path, query: str) -> Iterator[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        yield from connection.execute(query)

"""The books after a run: what was sent, answered, started, and what does not add up."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.deliveries import Delivery
from tests.acceptance import reply_shape

OUR_USER = "sa_repository"
#: Faults named in full.
SHOWN = 12


@dataclass
class Account:
    """The numbers of a run, and its faults; none: it adds up."""

    numbers: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Give it as lines."""
        lines = [f"  {name:<44} {value:>8}" for name, value in self.numbers.items()]
        lines += [f"  FAULT: {fault}" for fault in self.faults[:SHOWN]]
        if len(self.faults) > SHOWN:
            lines.append(f"  … and {len(self.faults) - SHOWN} more")
        return "\n".join(lines)


def balance(
    deliveries: Sequence[Delivery], journal: Path, ledger: Path, *, shared: bool, repeated: bool
) -> Account:
    """
    Add everything up.

    Args:
        deliveries: All that was sent, with what came back.
        journal: The daemon's, at rest.
        ledger: The Qlik stand-in's: one line per execution.
        shared: Requests share tasks, so that executions may serve several.
        repeated: The sender had reason to repeat: a broker that was killed may lose messages.
    """
    account = Account()
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        account.faults += _answers(deliveries, account, shared=shared, repeated=repeated)
        account.faults += _at_rest(connection, account)
        executions = [json.loads(line) for line in ledger.read_text().splitlines()]
        account.faults += _executions(connection, executions, deliveries, account, shared=shared)
    return account


def _answers(
    deliveries: Sequence[Delivery], account: Account, *, shared: bool, repeated: bool
) -> Iterator[str]:
    by_request: dict[int, set[bytes]] = defaultdict(set)
    replies = 0
    for one in deliveries:
        replies += sum(one.replies.values())
        by_request[one.request] |= set(one.replies)
        if not one.replies:
            yield f"delivery {one.correlation!r} of {one.body} has no reply"
        if one.repeats and not repeated:
            yield f"delivery {one.correlation!r} had to be repeated though no broker was killed"
    account.numbers["requests"] = len(by_request)
    account.numbers["deliveries sent, each with its correlation data"] = len(deliveries)
    account.numbers["deliveries answered"] = sum(bool(one.replies) for one in deliveries)
    account.numbers["replies (a reply may come twice)"] = replies
    account.numbers["repeated by the sender (broker lost it)"] = sum(one.repeats for one in deliveries)
    for request, payloads in by_request.items():
        if len(payloads) > 1:
            yield f"request {request} has different replies: {payloads}"
        for payload in payloads:
            answer = json.loads(payload)
            try:
                reply_shape.check(answer)
            except AssertionError as error:
                yield f"request {request}: reply of a wrong shape: {error}"
            if not (answer.get("totalTasksStarted") == 1 or (shared and "tasksQueued" in answer)):
                yield f"request {request} did not start its task: {answer}"


def _at_rest(connection: sqlite3.Connection, account: Account) -> Iterator[str]:
    def count(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    account.numbers["requests in the journal"] = count("SELECT count(*) FROM requests")
    account.numbers["runs that were in doubt or posted again"] = count(
        "SELECT count(*) FROM runs WHERE attempts > 1 OR details IS NOT NULL"
    )
    account.numbers["starts adopted after looking at the server"] = count(
        "SELECT count(*) FROM starts WHERE adopted"
    )
    for what, query in {
        "starts are unknown": "SELECT count(*) FROM starts WHERE state = 'unknown'",
        "runs are unknown": "SELECT count(*) FROM runs WHERE state = 'unknown'",
        "requests are open": "SELECT count(*) FROM requests WHERE closed_at IS NULL",
        "messages are in the outbox": "SELECT count(*) FROM outbox",
        "runs are not over": "SELECT count(*) FROM runs WHERE state NOT IN ('ended', 'none', 'unknown')",
        "starts are not over": (
            "SELECT count(*) FROM starts WHERE state IN ('planned', 'waiting', 'running')"
        ),
        "deliveries are unanswered": "SELECT count(*) FROM deliveries WHERE answered_at IS NULL",
    }.items():
        found = count(query)
        if found:
            yield f"{found} {what}"
    [(verdict,)] = connection.execute("PRAGMA integrity_check").fetchall()
    if verdict != "ok":
        yield f"the journal is damaged: {verdict}"


def _executions(
    connection: sqlite3.Connection,
    executions: list[dict[str, Any]],
    deliveries: Iterable[Delivery],
    account: Account,
    *,
    shared: bool,
) -> Iterator[str]:
    claims = Counter(
        row["execution_id"]
        for row in connection.execute("SELECT execution_id FROM runs WHERE execution_id IS NOT NULL")
    )
    account.numbers["executions on the server"] = len(executions)
    account.numbers["runs with an execution"] = sum(claims.values())
    began = {one["executionId"]: one for one in executions}
    for one in executions:
        if claims[one["executionId"]] != 1 and not one["foreign"]:
            count = claims[one["executionId"]]
            yield f"execution {one['executionId']} of {one['taskName']} is claimed by {count} runs"
    for execution_id in claims:
        if execution_id not in began:
            yield f"a run claims execution {execution_id}, which the server never began"
    per_task = Counter(one["taskId"] for one in executions)
    asked = Counter({task: len(requests) for task, requests in _requests_of(deliveries).items()})
    for task, count in asked.items():
        if not shared and per_task[task] != 1:
            yield f"task {task} was asked for by {count} request and started {per_task[task]} times"
        if not 1 <= per_task[task] <= count:
            yield f"task {task} was asked for by {count} requests and started {per_task[task]} times"
    # G9: what serves a request began after it was received.
    query = """
        SELECT starts.execution_id, requests.received_at, requests.request_id FROM starts
        JOIN requests ON requests.id = starts.request WHERE starts.execution_id IS NOT NULL
    """
    for row in connection.execute(query):
        execution = began.get(row["execution_id"])
        if execution is not None and _ms(execution["time"]) < row["received_at"] - 1:
            yield f"request {row['request_id']} is served by an execution that began before it came"


def _requests_of(deliveries: Iterable[Delivery]) -> dict[str, set[int]]:
    requests: dict[str, set[int]] = defaultdict(set)
    for one in deliveries:
        requests[one.task].add(one.request)
    return requests


def _ms(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * 1000)

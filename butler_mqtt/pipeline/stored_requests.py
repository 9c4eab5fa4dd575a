"""Requests, starts and runs as the journal has them, read back into memory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping

from butler_mqtt.clock import from_ms, now_ms, seconds_since, to_ms
from butler_mqtt.contract import validation
from butler_mqtt.domain.model import Execution, Task
from butler_mqtt.domain.open_stages import OpenStage, StagedRequest
from butler_mqtt.domain.open_work import Delivery, OpenRequest, OpenStart, Run
from butler_mqtt.domain.reconciliation import Baseline
from butler_mqtt.domain.states import RequestState, RunState, StageState, StartState
from butler_mqtt.journal import queries, stage_rows
from butler_mqtt.journal.queries import Row
from butler_mqtt.journal.transaction import Transaction


class StoredRequests:
    """
    Makes open requests and starts from rows.

    Args:
        if_running: `queue` or `skip`: what a request means that does not name it.
    """

    def __init__(self, if_running: str) -> None:
        self._if_running = if_running

    def requests(self, transaction: Transaction, rows: Iterable[Row]) -> dict[int, OpenRequest]:
        """Return the requests of *rows* by their ids, with the deliveries that have no reply."""
        opened = {row["id"]: _request(row) for row in rows}
        for row in queries.unanswered(transaction, list(opened)) if opened else ():
            opened[row["request"]].deliveries.append(
                Delivery(
                    row["id"],
                    row["door"],
                    row["received_at"],
                    row["wait"],
                    row["reply_topic"],
                    row["correlation"],
                )
            )
        return opened

    def starts(self, transaction: Transaction, opened: Mapping[int, OpenRequest]) -> dict[int, OpenStart]:
        """Return the starts of the requests *opened*, which get them too, by their ids."""
        rows = queries.starts_of(transaction, list(opened)) if opened else ()
        runs = {row["run"] for row in rows if row["run"] is not None}
        ended = {row["id"]: row for row in queries.runs_by_ids(transaction, runs)} if runs else {}
        starts = {}
        for row in rows:
            owner = opened[row["request"]]
            start = self.start({**row, **_of_request(owner)}, owner)
            start.outcome = _outcome(ended.get(row["run"]))
            owner.starts.append(start)
            starts[start.id] = start
        return starts

    def staged(
        self, transaction: Transaction, opened: Mapping[int, OpenRequest], starts: dict[int, OpenStart]
    ) -> list[StagedRequest]:
        """
        Return the requests with stages: those of *opened*, and all others of which a stage is not over.

        *starts* has the starts of *opened*, by their ids, and gets those of the others.
        """
        found = {one.id: _staged_of(one) for one in opened.values() if one.request.stages}
        for row in stage_rows.with_open_stages(transaction):
            if row["id"] not in found:
                found[row["id"]] = _staged(row)
        if not found:
            return []
        for row in stage_rows.starts_of(transaction, found.keys() - opened.keys()):
            starts[row["id"]] = self.start(row, None)
        for row in stage_rows.of_requests(transaction, list(found)):
            staged = found[row["request"]]
            plan = staged.request.stages[row["number"] - 1]
            stage = OpenStage(row["id"], row["number"], plan, StageState(row["state"]), staged)
            stage.not_found = json.loads(row["not_found"] or "[]")
            staged.stages.append(stage)
        for row in stage_rows.numbers(transaction, list(found)):
            start, stage = starts[row["id"]], found[row["request"]].stages[row["stage"] - 1]
            start.stage = stage
            stage.starts.append(start)
        return list(found.values())

    def start(self, row: Row, owner: OpenRequest | None) -> OpenStart:
        """Return the start of *row*; *owner* is its request if that is in memory."""
        request = owner.request if owner is not None else validation.reread(row["document"])
        return OpenStart(
            row["id"],
            owner,
            row["request"],
            row["request_id"],
            Task(row["task_id"], row["task_name"], row["task_type"]),
            StartState(row["state"]),
            expires_at=row["expires_at"],
            not_before=to_ms(request.not_before),
            skip_if_running=(request.if_running or self._if_running) == "skip",
            run=row["run"],
            execution_id=row["execution_id"],
            adopted=row["adopted"],
            code=row["code"],
            details=row["details"],
            reason=row["reason"],
            behind=row["behind"],
            running_task=row["running_task"],
            cancelled_by=row["cancelled_by"],
            # Only its names are in the journal: what ran last is read again before it is started.
            unread=True,
            door=row["door"],
            sender=row["identity"] or request.sender,
            identity=row["identity"],
            skipped_result=row["skipped_result"],
            rule=row["rule"],
        )


def _of_request(opened: OpenRequest) -> dict[str, object]:
    return {
        "request_id": opened.request_id,
        "expires_at": opened.expires_at,
        "door": opened.door,
        "identity": opened.identity,
        "rule": opened.rule,
    }


def _staged_of(opened: OpenRequest) -> StagedRequest:
    opened.staged = StagedRequest(
        opened.id,
        opened.request_id,
        opened.request,
        opened,
        opened.door,
        opened.expires_at,
        to_ms(opened.request.not_before),
        identity=opened.identity,
        rule=opened.rule,
    )
    return opened.staged


def _staged(row: Row) -> StagedRequest:
    request = validation.reread(row["document"])
    not_before = to_ms(request.not_before)
    return StagedRequest(
        row["id"],
        row["request_id"],
        request,
        None,
        row["door"],
        row["expires_at"],
        not_before,
        identity=row["identity"],
        rule=row["rule"],
    )


def _request(row: Row) -> OpenRequest:
    request = validation.reread(row["document"])
    return OpenRequest(
        row["id"],
        row["request_id"],
        request,
        RequestState(row["state"]),
        row["received_at"],
        _monotonic(row["received_at"]),
        row["expires_at"],
        row["reply"],
        door=row["door"],
        not_found=json.loads(row["not_found"] or "[]"),
        identity=row["identity"],
        rule=row["rule"],
    )


def _outcome(run: Row | None) -> Execution | None:
    if run is None or run["state"] != RunState.ENDED:
        return None
    return Execution(
        run["execution_id"],
        None,
        None,
        0,
        node=run["node"] or "",
        started=from_ms(run["started_at"]),
        stopped=from_ms(run["stopped_at"]),
        duration_ms=run["duration_ms"],
        message=run["message"] or "",
    )


def run(row: Row, starts: list[OpenStart]) -> Run:
    """Return the run of *row*, which serves *starts*."""
    return Run(
        row["id"],
        starts[0].task,
        starts,
        RunState(row["state"]),
        Baseline(row["baseline_result"], from_ms(row["baseline_began"]), from_ms(row["server_date"])),
        row["intended_at"],
        time.monotonic(),
        row["attempts"],
        # Not by the clock, which may have been set since.
        nothing_since=(
            None if row["nothing_at"] is None else time.monotonic() - seconds_since(row["nothing_at"])
        ),
    )


def _monotonic(ms: int) -> float:
    """Return the monotonic time of a moment of the clock; one in the future is now."""
    return time.monotonic() - max(0, now_ms() - ms) / 1000

"""Which request holds a request id: one id has its effect once, a repetition gets the first reply."""

from __future__ import annotations

from dataclasses import dataclass, replace

from butler_mqtt.contract import validation
from butler_mqtt.domain.open_work import OpenRequest
from butler_mqtt.errors import RequestError
from butler_mqtt.journal import queries, tables
from butler_mqtt.journal.transaction import Transaction
from butler_mqtt.ledger.unit_of_work import UnitOfWork


def conflict(request_id: str) -> RequestError:
    """Return the refusal of a request whose id another one holds, of another content or sender."""
    return RequestError(
        "request_id_conflict",
        "Request id already used",
        f"requestId '{request_id}' was used for a different request; use a new one",
    )


@dataclass(frozen=True, slots=True)
class Holder:
    """
    The request that holds an id.

    Attributes:
        row: Its row in the journal.
        fingerprint: Of its content; another content under the same id is a conflict.
        waits: Whether it asked for a reply at the end of the executions.
        answer: Its reply, None while there is none.
        final_answer: Its reply at the end, None while there is none.
        identity: Whose request it is; None: nobody was told apart when it came.
    """

    row: int
    fingerprint: str
    waits: bool
    answer: str | None = None
    final_answer: str | None = None
    identity: str | None = None


class Holders:
    """
    The requests that hold the ids of one turn: those on disk and those recorded in this turn.

    Args:
        transaction: That of the turn.
        request_ids: The ids that came with requests of this turn.
        turn: What this turn has changed so far.
        new: The requests recorded in this turn, by their ids; `add` adds to it.
    """

    def __init__(
        self,
        transaction: Transaction,
        request_ids: set[str],
        turn: UnitOfWork,
        new: dict[str, tuple[OpenRequest, str]],
    ) -> None:
        self._turn = turn
        self._rows = queries.holders(transaction, request_ids) if request_ids else {}
        self._new = new

    def of(self, request_id: str) -> Holder | None:
        """Return the request that holds *request_id*, None if there is none."""
        if request_id in self._new:
            opened, fingerprint = self._new[request_id]
            waits = opened.request.wait == "finished"
            holder = Holder(opened.id, fingerprint, waits, identity=opened.identity)
        elif request_id in self._rows:
            row = self._rows[request_id]
            final = row["reply"] if row["state"] == "refused" else row["final_reply"]
            waits = validation.reread(row["document"]).wait == "finished"
            holder = Holder(row["id"], row["fingerprint"], waits, row["reply"], final, row["identity"])
        else:
            return None
        # It may have been answered, or have released its id, earlier in this turn.
        changed = self._turn.unit.changed(tables.requests, holder.row)
        if not changed.get("holds_id", True):
            return None
        answer = changed.get("reply", holder.answer)
        last = "reply" if changed.get("state") == "refused" else "final_reply"
        final = changed.get(last, holder.final_answer)
        return replace(
            holder,
            answer=answer if isinstance(answer, str) else None,
            final_answer=final if isinstance(final, str) else None,
        )

    def add(self, opened: OpenRequest, fingerprint: str) -> None:
        """Add a request recorded in this turn."""
        self._new[opened.request_id] = (opened, fingerprint)

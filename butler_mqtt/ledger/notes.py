"""Notes: what happens seldom to a request or a run, for its timeline."""

from __future__ import annotations

from collections.abc import Sequence

from butler_mqtt.clock import now_ms
from butler_mqtt.domain.open_work import Run
from butler_mqtt.journal import tables
from butler_mqtt.ledger.unit_of_work import UnitOfWork

#: POSTs of a run of which notes are written: where a proxy answers instead of Qlik there can be hundreds.
MOST_NOTED = 3


class Notes:
    """Writes notes; each *kind* is a step of docs/audit.md, each *text* is for people."""

    def __init__(self, turn: UnitOfWork) -> None:
        self._turn = turn

    def of_run(self, run: Run, kind: str, text: str) -> None:
        """Record something about a run, shown with each of its requests; not for ever."""
        if run.attempts <= MOST_NOTED:
            self._note(kind, text, run=run.id)

    def script_log(self, run: int, lines: Sequence[str]) -> None:
        """Record the last lines of the script log of a run's execution, one a line."""
        self._note("scriptLog", "\n".join(lines), run=run)

    def cut(self, request: int, size: int, kept: int) -> None:
        """Record that of a refused body of *size* bytes only the first *kept* are in the journal."""
        text = f"the body had {size} bytes; as it was refused, the first {kept} are kept"
        self._note("cut", text, request=request)

    def redelivered(self, request: int | None, packet_id: int) -> None:
        """Record that the broker delivered again what is recorded already; None: no longer in the journal."""
        if request is not None:
            text = f"delivered again by the broker as packet {packet_id}: it was recorded already"
            self._note("redelivered", text, request=request)

    def _note(self, kind: str, text: str, **about: int) -> None:
        identity = self._turn.new_id(tables.notes)
        self._turn.unit.insert(
            tables.notes, {"id": identity, **about, "noted_at": now_ms(), "kind": kind, "text": text}
        )

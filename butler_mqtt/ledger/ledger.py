"""The ledger: every change of state (requests, stages, starts, runs, deliveries) is written through it."""

from __future__ import annotations

from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.ledger.callers import Callers
from butler_mqtt.ledger.deliveries import Deliveries
from butler_mqtt.ledger.events import Events
from butler_mqtt.ledger.incident_log import Incidents
from butler_mqtt.ledger.new_starts import NewStarts
from butler_mqtt.ledger.notes import Notes
from butler_mqtt.ledger.open_requests import OpenRequests
from butler_mqtt.ledger.parameters import Parameters
from butler_mqtt.ledger.rule_records import RuleRecords
from butler_mqtt.ledger.runs import Runs
from butler_mqtt.ledger.stage_records import StageRecords
from butler_mqtt.ledger.starts import Starts
from butler_mqtt.ledger.unit_of_work import UnitOfWork


class Ledger:
    """
    The writers of one unit of work, each of one kind of rows.

    Args:
        turn: Gathers the rows.
        event_topic: Above the topics of events; None publishes none.
        if_running: `queue` or `skip`: what a request means that does not say.
        max_keys: Keys that one namespace of parameters may have.
        refusals: Bounds what is kept of refusals and repetitions; None keeps all.
        caller_seconds: For which an HTTP caller waits for a reply at most.
    """

    def __init__(
        self,
        turn: UnitOfWork,
        *,
        event_topic: str | None = None,
        if_running: str = "queue",
        max_keys: int = 1000,
        refusals: Refusals | None = None,
        caller_seconds: float = 30.0,
    ) -> None:
        self.deliveries = Deliveries(turn, Callers(caller_seconds))
        self.notes = Notes(turn)
        self.parameters = Parameters(turn, max_keys)
        self.rules = RuleRecords(turn)
        incidents = Incidents(turn)
        events = Events(self.deliveries, event_topic)
        new_starts = NewStarts(turn, if_running)
        self.stages = StageRecords(turn, events, new_starts)
        self.requests = OpenRequests(
            turn,
            self.deliveries,
            self.notes,
            incidents,
            new_starts,
            self.stages,
            refusals=refusals or Refusals(least=0),
        )
        self.starts = Starts(turn, self.requests, self.stages, events, incidents)
        self.runs = Runs(turn, self.starts, events, self.notes, incidents)

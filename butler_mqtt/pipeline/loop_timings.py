"""The pauses of the pipeline that no operator configures."""

from __future__ import annotations

from dataclasses import dataclass, field

from butler_mqtt.alerting.alert_timings import AlertTimings
from butler_mqtt.journal.retention import PruningPace
from butler_mqtt.outbox.hangup_suspects import QUIET_SECONDS
from butler_mqtt.outbox.outbox import FIRST_PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class LoopTimings:
    """Durations in seconds."""

    #: Between two checks for what is too late, and at most while requests arrive: they go before it.
    tidy_seconds: float = 0.2
    latest_tidy_seconds: float = 1.0
    #: Without such a check, after which the process is taken to have been stopped.
    paused_seconds: float = 5.0
    #: Between two attempts to write the journal again.
    repair_seconds: float = 1.0
    #: Between two checks for a command of an operator.
    command_seconds: float = 0.5
    #: Between the first two attempts to publish a message that the broker refuses.
    publish_pause_seconds: float = FIRST_PAUSE_SECONDS
    #: For which a connection must have lasted before a message is sent on it that a broker may hang up on.
    quiet_seconds: float = QUIET_SECONDS
    #: Of what is old in the journal.
    pruning: PruningPace = field(default_factory=PruningPace)
    #: Of alerts.
    alerts: AlertTimings = field(default_factory=AlertTimings)

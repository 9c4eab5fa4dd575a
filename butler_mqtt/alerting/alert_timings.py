"""The pauses of alerts that no operator configures."""

from __future__ import annotations

from dataclasses import dataclass

from butler_mqtt.domain import days_left


@dataclass(frozen=True, slots=True)
class AlertTimings:
    """Durations in seconds; tests pass other values."""

    #: To the second attempt at a target that failed, doubled for each further one up to the second.
    first_pause: float = 5.0
    most_pause: float = 300.0
    #: After which an alert that its target does not take is set aside.
    give_up: float = 3600.0
    #: Without Qlik server or broker, after which that is alerted.
    unreachable: float = 60.0
    #: Between two readings of what must succeed regularly, at least and at most.
    least_overdue_poll: float = 15.0
    most_overdue_poll: float = 300.0
    #: Between two readings of the certificates, and before whose end one is alerted.
    certificates: float = 3600.0
    certificate_left: float = float(days_left.CERTIFICATE_ALERT * days_left.DAY)
    #: For which a target may be silent until its health says so.
    patience: float = 60.0

"""The durations of the process that no operator configures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DaemonTimings:
    """Durations in seconds."""

    #: For which a broker may refuse us before the process ends: an operator has to act.
    refused_seconds: float = 60.0
    #: For which we stay away from the broker when another daemon uses our client id, before the process ends.
    stay_away_seconds: float = 60.0
    #: For work in hand when stopping, and for everything until the end; `TimeoutStopSec=` is longer.
    drain_seconds: float = 20.0
    stop_seconds: float = 35.0
    #: Longest wait of the main thread.
    tick_seconds: float = 1.0
    #: Without a turn, after which the pipeline is taken to be hung; a turn takes milliseconds.
    patience_seconds: float = 60.0
    #: As much for a connection to the broker, which may have to wait for name servers and addresses.
    mqtt_patience_seconds: float = 180.0
    #: Asked of systemd at a time while starting; a journal may have to be upgraded first.
    opening_seconds: float = 600.0
    extend_seconds: float = 60.0

"""What the listeners need of the rest of the program, as narrow callables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from butler_mqtt.domain.model import Arrival


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be well; `fault` says in a few words, without names of hosts, what is not."""

    name: str
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Dependencies:
    """
    The way into the pipeline and the journal; all callables may be called from any thread.

    `emit` hands in an arrival and never blocks. `obstacle` says why nothing is
    taken in now, None while it is. `inquire` reads the present state of a
    request from the journal (it may block for milliseconds), None when it is
    unknown; raises JournalError. `refused` counts a request that the door
    turned down itself, by code. `health` and `readiness` give their checks,
    `exposition` the metrics as text in Prometheus' format (it may block).
    """

    emit: Callable[[Arrival], None]
    obstacle: Callable[[], str | None]
    inquire: Callable[[str], Mapping[str, object] | None]
    refused: Callable[[str], None]
    health: Callable[[], Sequence[Check]]
    readiness: Callable[[], Sequence[Check]]
    exposition: Callable[[], bytes]

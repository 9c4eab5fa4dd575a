"""Whether the daemon is healthy, and whether it is ready: `/healthz` and `/readyz`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from butler_mqtt.domain.completions import ParameterChange
from butler_mqtt.domain.model import Arrival
from butler_mqtt.http.backend import Check
from butler_mqtt.settings import Settings

#: Seconds without an answer of Qlik after which readiness is lost; after one minute it is probed.
QLIK_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Sources:
    """
    What the daemon's parts show of themselves; called from the listeners' threads.

    `stuck` names threads without progress. `fault` is why the journal
    cannot be written, `accepting` whether new requests are accepted, `progress`
    is the monotonic time of the last turn. `broker_connected` and `subscription`
    are None without MQTT; the latter is `ready` or the
    state that the door is in instead. `reached_at` is the
    monotonic time at which Qlik answered last, `reachable` whether it answered
    the last call. `held` counts requests held since a backup was restored, `places` has those
    in the queue for capacity by the ids of starts. `alert_faults`
    names the targets that do not take alerts. `rules` says which messages for rules do not
    arrive, None when all do.
    """

    emit: Callable[[Arrival | ParameterChange], None]
    stuck: Callable[[], tuple[str, ...]]
    fault: Callable[[], str | None]
    accepting: Callable[[], bool]
    progress: Callable[[], float]
    broker_connected: Callable[[], bool | None]
    subscription: Callable[[], str | None]
    reachable: Callable[[], bool]
    reached_at: Callable[[], float | None]
    held: Callable[[], int] = lambda: 0
    places: Callable[[], Mapping[int, int]] = dict
    alert_faults: Callable[[], Mapping[str, str]] = dict
    rules: Callable[[], str | None] = lambda: None


def health(sources: Sources) -> list[Check]:
    """Return what a supervisor restarts the daemon for."""
    checks = [
        Check("threads", "hung: " + ", ".join(stuck) if (stuck := sources.stuck()) else None),
        Check("journal", "cannot be written" if sources.fault() is not None else None),
    ]
    subscription = sources.subscription()
    if subscription is not None:
        refused = subscription in {"refused", "taken_over", "given_up"}
        checks.append(Check("subscription", subscription.replace("_", " ") if refused else None))
    # Their reasons may name hosts, and a daemon that works must not be restarted for them.
    if failing := ", ".join(sources.alert_faults()):
        checks.append(Check("alerts", f"not taken by: {failing}", advisory=True))
    return checks


def readiness(sources: Sources, settings: Settings) -> list[Check]:
    """Return what requests need to be taken and carried out."""
    checks = [one for one in health(sources) if one.name != "subscription"]
    if not sources.accepting():
        checks.append(Check("intake", "no room for new requests"))
    subscription = sources.subscription()
    if subscription is not None:
        checks.append(
            Check("subscription", None if subscription == "ready" else subscription.replace("_", " "))
        )
    checks.append(Check("qlik", _qlik_fault(sources)))
    if any(one.enable and one.topics for one in settings.rules):
        # No fault: requests arrive all the same.
        checks.append(Check("rules", sources.rules(), advisory=True))
    return checks


def _qlik_fault(sources: Sources) -> str | None:
    reached_at = sources.reached_at()
    if reached_at is None:
        return "not reached yet"
    if not sources.reachable() or time.monotonic() - reached_at > QLIK_SECONDS:
        return f"not reached for {time.monotonic() - reached_at:.0f} s"
    return None

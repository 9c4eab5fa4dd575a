"""The metrics in Prometheus' text format."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from butler_mqtt import __version__
from butler_mqtt.http.metrics import Metrics

_PREFIX = "butler_mqtt"


@dataclass(frozen=True, slots=True)
class Levels:
    """
    The present values of gauges; None where a value is not known or does not apply.

    `states` are yes or no, by metric name; `numbers` are by metric name.
    `certificates` holds the seconds until each expires, by the key of the
    configuration that names it. `outbox` counts messages by state. `tokens` holds those until
    bearer tokens end, by their names.
    """

    states: Mapping[str, bool | None] = field(default_factory=dict)
    numbers: Mapping[str, float | None] = field(default_factory=dict)
    outbox: Mapping[str, int] = field(default_factory=dict)
    certificates: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, float] = field(default_factory=dict)


#: The help text of each yes-or-no gauge, by metric name.
STATES: Mapping[str, str] = {
    "broker_connected": "Whether the MQTT broker has accepted the connection.",
    "subscribed": "Whether requests arrive from the broker.",
    "qrs_reachable": "Whether the Qlik server answered the last call.",
    "journal_writable": "Whether requests can be recorded.",
    "accepting_requests": "Whether new requests are accepted.",
    "healthy": "Whether /healthz says ok.",
    "ready": "Whether /readyz says ok.",
}
NUMBERS: Mapping[str, str] = {
    "open_requests": "Requests that have no reply yet.",
    "held_requests": "Requests held since a backup was restored; they are not among the open ones.",
    "oldest_open_request_age_seconds": "Age of the oldest request without a reply; 0 when there is none.",
    "executions_followed": "Executions that are tracked to their end.",
    "last_turn_age_seconds": "Time since the last turn of the pipeline.",
    "qrs_last_answer_age_seconds": "Time since the Qlik server last answered.",
}


def exposition(metrics: Metrics, levels: Levels) -> bytes:
    """Return all metrics as text."""
    registry = CollectorRegistry()
    registry.register(_Fixed([*_levels(levels), *metrics.collect()]))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Fixed(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _levels(levels: Levels) -> Iterator[Metric]:
    build = {"version": __version__, "python": platform.python_version()}
    yield InfoMetricFamily(f"{_PREFIX}_build", "The running version.", build)
    for name, meaning in STATES.items():
        state = levels.states.get(name)
        if state is not None:
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", meaning, float(state))
    for name, meaning in NUMBERS.items():
        number = levels.numbers.get(name)
        if number is not None:
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", meaning, number)
    outbox = GaugeMetricFamily(
        f"{_PREFIX}_outbox_messages",
        "Messages still to be published: waiting, or quarantined (dead letters).",
        labels=["state"],
    )
    for state_name, number in levels.outbox.items():
        outbox.add_metric([state_name], number)
    yield outbox
    certificates = GaugeMetricFamily(
        f"{_PREFIX}_certificate_remaining_seconds",
        "Time until a certificate expires, by the key of the configuration that names it.",
        labels=["certificate"],
    )
    for key, seconds in levels.certificates.items():
        certificates.add_metric([key], seconds)
    yield certificates
    tokens = GaugeMetricFamily(
        f"{_PREFIX}_token_remaining_seconds",
        "Time until a bearer token with expiresAt ends, by its name.",
        labels=["token"],
    )
    for name, seconds in levels.tokens.items():
        tokens.add_metric([name], seconds)
    yield tokens

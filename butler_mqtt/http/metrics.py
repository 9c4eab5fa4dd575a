"""
What the daemon counts about itself, as counters and histograms of prometheus-client.

Names and meanings are in `docs/monitoring.md`. All values of a label that are known
beforehand are there from the start, at zero: a series that begins at 1 has no increase
that a rule could see (https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics).
Loaded only when a listener is on, since nobody could read it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.registry import Collector

from butler_mqtt.contract.task_events import ENDS
from butler_mqtt.domain.senders import UNKNOWN
from butler_mqtt.domain.states import StartState
from butler_mqtt.http.error_responses import STATUS

#: Upper bounds of the histograms' buckets, in seconds: from a burst's milliseconds to an outage's half hour.
BOUNDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)
#: The values of each label; `code` has also the statuses of replies.
DOORS = ("mqtt", "rest", "rule")
REPLIES = ("ok", "partial", "failed")
#: Codes that the REST door gives by itself; no request of MQTT is answered with one.
ONLY_REST = frozenset(
    {
        "headers_too_large",
        "method_not_allowed",
        "not_found",
        "not_recorded",
        "request_timeout",
        "shutting_down",
        "unauthorized",
        "unsupported_media_type",
    }
)
OUTCOMES = (
    "adopted",
    "started",
    *sorted(
        {
            StartState.WAITING,
            StartState.DENIED,
            StartState.SKIPPED,
            StartState.NOT_STARTED,
            StartState.EXPIRED,
            StartState.CANCELLED,
            StartState.UNKNOWN,
            StartState.WOULD_START,
        }
    ),
)
#: What becomes of a request of a sender as it comes.
ASKED = ("accepted", "repeated", "rate_limited", "forbidden", "refused")
#: What may become of a message that a rule judges.
RULE_OUTCOMES = ("started", "unmatched", "coalesced", "failed", "error")
RESULTS = tuple(sorted({state for state, _ in ENDS.values()} | {StartState.UNKNOWN}))
#: What becomes of an attempt to send an alert: it is set aside when no further one follows.
ALERT_OUTCOMES = ("sent", "failed", "set_aside")

_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: As bounds were always written: `1`, where prometheus-client writes `1.0`, which is another series.
_EDGES = {str(bound): f"{bound:g}" for bound in BOUNDS}


class Metrics:
    """
    Counts, from any thread; no method raises or blocks for longer than a few assignments.

    Args:
        rules: The names of the rules.
        senders: The senders there are, by the identities that the journal keeps.
    """

    def __init__(self, rules: Iterable[str] = (), senders: Iterable[str] = (UNKNOWN,)) -> None:
        self._rule_messages = _counter("rule_messages", "Messages that a rule judged.", ["rule", "outcome"])
        self.know_rules(rules)
        self._stale_messages = _counter(
            "rule_messages_stale",
            "Messages acknowledged and not judged, for filters that no rule has any more.",
        )
        self._received = _counter("deliveries_received", "Deliveries recorded.", ["door"])
        self._answered = _counter(
            "deliveries_answered",
            "Deliveries answered: ok, partial, failed, or the code of the refusal.",
            ["door", "code"],
        )
        self._starts = _counter("starts", "Starts by their outcome.", ["outcome"])
        self._ended = _counter("executions_ended", "Executions tracked to their end.", ["result"])
        self._to_post = Histogram(
            _name("receipt_to_post_seconds"),
            "Time from the receipt of a request to the POST that starts its task.",
            buckets=BOUNDS,
            registry=None,
        )
        self._to_reply = Histogram(
            _name("receipt_to_reply_seconds"),
            "Time from the receipt of a delivery to its reply.",
            ["door"],
            buckets=BOUNDS,
            registry=None,
        )
        #: Without zeros: which calls there are, and with which statuses, only the calls show.
        self._calls = Histogram(
            _name("qrs_call_duration_seconds"),
            "Time of one call of the Qlik server; status none: no answer.",
            ["method", "endpoint", "status"],
            buckets=BOUNDS,
            registry=None,
        )
        self._alerts = _counter(
            "alerts", "Alerts by their target and what became of them.", ["target", "outcome"]
        )
        self._asked = _counter(
            "sender_requests",
            "Requests of each sender as they came: accepted, repeated, rate_limited, forbidden or refused.",
            ["sender", "outcome"],
        )
        self._denied = _counter(
            "denied", "Tasks that requests of each sender named and may not start.", ["sender"]
        )
        self.know(senders)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Make the series whose labels are known beforehand."""
        for door in DOORS:
            self._received.labels(door)
            self._to_reply.labels(door)
        for door, code in product(DOORS, (*REPLIES, *STATUS)):
            if door == "rest" or code not in ONLY_REST:
                self._answered.labels(door, code)
        for outcome in OUTCOMES:
            self._starts.labels(outcome)
        for result in RESULTS:
            self._ended.labels(result)

    def received(self, door: str) -> None:
        """Count a delivery that was recorded."""
        self._received.labels(door).inc()

    def answered(self, door: str, code: str, seconds: float) -> None:
        """Count a delivery answered with a code, or with `ok`, `partial`, `failed`; seconds since receipt."""
        self._answered.labels(door, code).inc()
        self._to_reply.labels(door).observe(_positive(seconds))

    def refused(self, door: str, code: str) -> None:
        """Count a request that a door turned down before it was recorded."""
        self._answered.labels(door, code).inc()

    def start(self, outcome: str) -> None:
        """Count a start whose outcome is decided."""
        self._starts.labels(outcome).inc()

    def know_rules(self, rules: Iterable[str]) -> None:
        """Begin the series of these rules, by name, as far as they have not begun."""
        for rule, outcome in product(rules, RULE_OUTCOMES):
            self._rule_messages.labels(rule, outcome)

    def rule_message(self, rule: str, outcome: str) -> None:
        """Count a message that a rule judged."""
        self._rule_messages.labels(rule, outcome).inc()

    def stale_rule_message(self) -> None:
        """Count a message for a filter that no rule has any more."""
        self._stale_messages.inc()

    def ended(self, result: str) -> None:
        """Count an execution that was tracked to its end."""
        self._ended.labels(result).inc()

    def posted(self, seconds: float) -> None:
        """Count a POST about to leave, *seconds* after the receipt of the oldest request behind it."""
        self._to_post.observe(_positive(seconds))

    def know(self, senders: Iterable[str]) -> None:
        """Begin to count at zero for *senders* that are new."""
        for sender in senders:
            self._denied.labels(sender)
            for outcome in ASKED:
                self._asked.labels(sender, outcome)

    def asked(self, sender: str | None, outcome: str) -> None:
        """Count a request of a sender; *outcome* is one of `ASKED`, or the code of a refusal."""
        self._asked.labels(sender or UNKNOWN, outcome if outcome in ASKED else "refused").inc()

    def denied(self, sender: str | None) -> None:
        """Count a task that a request of a sender may not start."""
        self._denied.labels(sender or UNKNOWN).inc()

    def alert(self, target: str, outcome: str) -> None:
        """Count an attempt to send an alert to a target."""
        self._alerts.labels(target, outcome).inc()

    def alert_targets(self, names: Iterable[str]) -> None:
        """Show the series of these targets from now on."""
        for name, outcome in product(names, ALERT_OUTCOMES):
            self._alerts.labels(name, outcome)

    def qrs_call(self, method: str, path: str, status: str, seconds: float) -> None:
        """Count a call of the Qlik server; *status* is its HTTP status, or `none` when no answer came."""
        self._calls.labels(method, _ID.sub("{id}", path), status).observe(_positive(seconds))

    def collect(self) -> Iterable[Metric]:
        """Return the numbers as they are now, series in order of their labels."""
        counted: tuple[Collector, ...] = (
            self._received,
            self._answered,
            self._starts,
            self._ended,
            self._alerts,
            self._to_post,
            self._to_reply,
            self._calls,
            self._asked,
            self._denied,
            self._rule_messages,
            self._stale_messages,
        )
        for metric in (metric for one in counted for metric in one.collect()):
            metric.samples = sorted(
                (
                    one._replace(labels={**one.labels, "le": _EDGES.get(one.labels["le"], one.labels["le"])})
                    if "le" in one.labels
                    else one
                    for one in metric.samples
                    # The time since when a series counts is no number of ours.
                    if not one.name.endswith("_created")
                ),
                key=lambda one: [value for name, value in one.labels.items() if name != "le"],
            )
            yield metric


def _name(name: str) -> str:
    return f"butler_mqtt_{name}"


def _counter(name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
    """Make a counter outside of the library's registry of the whole process."""
    return Counter(_name(name), documentation, labels, registry=None)


def _positive(seconds: float) -> float:
    """Return a duration; below zero (a clock was set back) it is zero."""
    return max(0.0, seconds)

"""What is counted: which series there are from the start, and where a value falls."""

from __future__ import annotations

import pytest

from butler_mqtt.http.metrics import BOUNDS, Metrics

Series = tuple[str, tuple[str, ...]]

#: As rules and dashboards of operators name the buckets.
EDGES = (
    *("0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5"),
    *("1", "2.5", "5", "10", "30", "60", "300", "1800", "+Inf"),
)


def series(metrics: Metrics) -> dict[Series, float]:
    """Return each series by its name and the values of its labels."""
    return {
        (sample.name.removeprefix("butler_mqtt_"), tuple(sample.labels.values())): sample.value
        for metric in metrics.collect()
        for sample in metric.samples
    }


@pytest.mark.parametrize(
    "expected",
    [
        ("deliveries_received_total", ("mqtt",)),
        ("deliveries_received_total", ("rest",)),
        ("deliveries_answered_total", ("mqtt", "failed")),
        ("deliveries_answered_total", ("mqtt", "qrs_unavailable")),
        ("deliveries_answered_total", ("rest", "unauthorized")),
        ("starts_total", ("unknown",)),
        ("starts_total", ("notStarted",)),
        ("executions_ended_total", ("failed",)),
        ("executions_ended_total", ("skippedByQlik",)),
        ("receipt_to_post_seconds_count", ()),
        ("receipt_to_reply_seconds_count", ("rest",)),
    ],
    ids=str,
)
def test_a_series_is_there_before_anything_is_counted(expected: Series) -> None:
    assert series(Metrics())[expected] == 0


def test_no_request_of_mqtt_is_shown_with_a_code_of_the_rest_door() -> None:
    assert ("deliveries_answered_total", ("mqtt", "unauthorized")) not in series(Metrics())


def test_counting_what_is_known_makes_no_new_series() -> None:
    metrics = Metrics()
    before = set(series(metrics))
    metrics.received("mqtt")
    metrics.answered("rest", "partial", 0.2)
    metrics.refused("rest", "rate_limited")
    metrics.start("adopted")
    metrics.ended("unknown")
    metrics.posted(0.1)
    after = series(metrics)
    assert set(after) == before
    assert sum(value for (name, _), value in after.items() if name.endswith("_total")) == 5


@pytest.mark.parametrize(
    ("value", "edge"),
    [
        (0.0, "0.001"),
        (0.001, "0.001"),
        (0.0011, "0.0025"),
        (1800.0, "1800"),
        (1801.0, "+Inf"),
        (-5.0, "0.001"),
    ],
)
def test_a_value_falls_under_the_first_bound_that_is_not_below_it(value: float, edge: str) -> None:
    metrics = Metrics()
    metrics.posted(value)
    found = series(metrics)
    filled = [one for one in EDGES if found["receipt_to_post_seconds_bucket", (one,)]]
    assert filled[0] == edge
    assert found["receipt_to_post_seconds_sum", ()] == max(0.0, value)


def test_buckets_keep_their_names_and_grow_to_the_count() -> None:
    metrics = Metrics()
    metrics.answered("mqtt", "ok", 0.7)
    metrics.answered("mqtt", "ok", 7.0)
    buckets = {
        labels[1]: value
        for (name, labels), value in series(metrics).items()
        if name == "receipt_to_reply_seconds_bucket" and labels[0] == "mqtt"
    }
    assert tuple(buckets) == EDGES
    assert len(EDGES) == len(BOUNDS) + 1
    assert [buckets[edge] for edge in ("0.5", "1", "5", "10", "+Inf")] == [0, 1, 1, 2, 2]


def test_series_are_in_order_whatever_came_first() -> None:
    metrics = Metrics()
    metrics.qrs_call("POST", "/start", "201", 0.1)
    metrics.qrs_call("GET", "/task/full", "none", 0.1)
    metrics.qrs_call("GET", "/task/full", "200", 0.1)
    counts = [labels for name, labels in series(metrics) if name == "qrs_call_duration_seconds_count"]
    assert counts == [
        ("GET", "/task/full", "200"),
        ("GET", "/task/full", "none"),
        ("POST", "/start", "201"),
    ]


def test_only_what_operators_were_told_of_is_exposed() -> None:
    assert not [name for name, _ in series(Metrics()) if name.endswith("_created")]

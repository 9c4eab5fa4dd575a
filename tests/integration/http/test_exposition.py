"""What is counted, how it is written, and the rules and pictures made of it."""

from __future__ import annotations

import json
import re
import subprocess
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from butler_mqtt.http.exposition import NUMBERS, STATES, Levels, exposition
from butler_mqtt.http.metrics import Metrics
from tests.integration.http.daemon_with_listeners import ListeningDaemon
from tests.integration.http.grafana_schema import problems
from tests.project import ROOT

RULES = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"


def full() -> Metrics:
    """Return metrics that have seen everything."""
    metrics = Metrics()
    metrics.received("mqtt")
    metrics.answered("mqtt", "ok", 0.02)
    metrics.answered("rest", "all_denied", 0.2)
    metrics.refused("rest", "unauthorized")
    metrics.start("started")
    metrics.ended("succeeded")
    metrics.posted(0.004)
    metrics.alert("bi-team", "sent")
    metrics.rule_message("orders-closed", "started")
    metrics.stale_rule_message()
    metrics.asked("erp", "accepted")
    metrics.denied("erp")
    metrics.qrs_call("POST", "/task/a8b4c123-DEF4-5678-9abc-def012345678/start/synchronous", "201", 0.01)
    metrics.qrs_call("GET", "/task/full", "none", 5)
    metrics.alert("bi-team", "sent")
    metrics.rule_message("orders-closed", "started")
    return metrics


def text() -> str:
    levels = Levels(
        states=dict.fromkeys(STATES, True),
        numbers=dict.fromkeys(NUMBERS, 1.0),
        outbox={"waiting": 1, "quarantined": 0},
        certificates={"cert.clientCert": 86400.0},
        tokens={"erp": 86400.0},
    )
    return exposition(full(), levels).decode()


def names() -> set[str]:
    """Return the names of all samples."""
    return {sample.name for family in text_string_to_metric_families(text()) for sample in family.samples}


def values(exposed: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposed)
        for sample in family.samples
    }


def promtool(*arguments: str, given: str | None = None) -> str:
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_what_was_counted_is_written() -> None:
    found = values(text())
    prefix = "butler_mqtt_"
    assert found[prefix + "deliveries_received_total", ("mqtt",)] == 1
    assert found[prefix + "deliveries_answered_total", ("all_denied", "rest")] == 1 or (
        found[prefix + "deliveries_answered_total", ("rest", "all_denied")] == 1
    )
    assert found[prefix + "starts_total", ("started",)] == 1
    assert found[prefix + "receipt_to_post_seconds_count", ()] == 1
    assert found[prefix + "certificate_remaining_seconds", ("cert.clientCert",)] == 86400


def test_ids_in_paths_of_calls_do_not_become_labels() -> None:
    assert 'endpoint="/task/{id}/start/synchronous"' in text()
    assert "a8b4c123" not in text().lower()


def test_promtool_finds_nothing_wrong() -> None:
    assert promtool("check", "metrics", given=text()).strip() == ""


def test_promtool_finds_nothing_wrong_with_the_running_daemon(listening: ListeningDaemon) -> None:
    listening.post({"tag": "hourly-reload"})
    exposed = requests.get(listening.monitoring + "/metrics", timeout=10)
    assert exposed.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert promtool("check", "metrics", given=exposed.text).strip() == ""
    found = values(exposed.text)
    assert found["butler_mqtt_subscribed", ()] == 1
    assert (
        sum(value for key, value in found.items() if key[0] == "butler_mqtt_deliveries_answered_total") >= 1
    )
    assert (
        sum(value for key, value in found.items() if key[0] == "butler_mqtt_qrs_call_duration_seconds_count")
        > 1
    )


def test_the_alert_rules_pass_their_tests() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULES.with_name("alerts.test.yml")))


def test_every_rule_is_tested_both_ways() -> None:
    tests = RULES.with_name("alerts.test.yml").read_text()
    for alert in re.findall(r"alert: (\w+)", RULES.read_text()):
        assert f"alertname: {alert}, exp_alerts: []" in tests
        assert re.search(rf"alertname: {alert}\n\s+exp_alerts:\n", tests)


def test_every_rule_is_documented_with_its_severity_and_no_other() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    rules = re.findall(r"alert: (\w+)\n(?:.*\n)*?\s+labels: \{ severity: (\w+) \}", RULES.read_text())
    assert len(rules) == RULES.read_text().count("alert: ")
    assert re.findall(r"^\| `(ButlerMqtt\w+)` \| (\w+) \|", page, re.MULTILINE) == rules


def test_rules_and_dashboard_use_metrics_that_exist(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    shown = expressions(dashboard)
    used = set(re.findall(r"butler_mqtt_\w+", RULES.read_text() + " ".join(shown)))
    assert used <= names()
    assert len(shown) > 15
    rules = [
        {"record": "checked", "expr": one.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for one in shown
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    # The names are all one, which is of no matter: the expressions are to be read.
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=none", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def expressions(dashboard: dict[str, Any]) -> list[str]:
    """Return what the panels of a dashboard show."""
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(expressions(json.loads(DASHBOARD.read_text())))
    families = {
        family.name for family in text_string_to_metric_families(text()) if family.name.startswith("butler")
    }
    assert [name for name in sorted(families) if not re.search(rf"\b{name}(_total|_bucket)?\b", shown)] == []


def test_no_two_panels_of_the_dashboard_have_one_id_or_one_place() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [
        (column, row)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(places)) == len(places)
    assert max(column for column, _ in places) < 24


def test_grafana_knows_everything_of_the_dashboard() -> None:
    assert problems(json.loads(DASHBOARD.read_text())) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("panels", 1, "titel"), "x"),
        (("panels", 1, "title"), 7),
        (("panels", 1, "options", "colorMode"), "bright"),
        (("panels", 1, "gridPos", "h"), "4"),
        (("panels", 1, "fieldConfig", "defaults", "thresholds", "mode"), "relative"),
        (("panels", 1, "targets", 0, "exp"), "up"),
    ],
    ids=lambda one: ".".join(map(str, one)) if isinstance(one, tuple) else str(one),
)
def test_a_mistake_in_a_dashboard_is_found(path: tuple[str | int, ...], value: object) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    *way, last = path
    reduce(getitem, way, dashboard)[last] = value
    assert len(problems(dashboard)) == 1


def test_every_metric_is_explained() -> None:
    page = (ROOT / "docs/monitoring.md").read_text()
    families = {
        family.name for family in text_string_to_metric_families(text()) if family.name.startswith("butler")
    }
    for name in families:
        assert f"`{name}" in page, name

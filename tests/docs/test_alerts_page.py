"""Alerts as docs/alerts.md shows them are what the code makes, and what a target really gets."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from butler_mqtt.alerting.alert_text import body, title
from butler_mqtt.alerting.apprise_target import AppriseTarget
from butler_mqtt.domain.alert import Alert
from butler_mqtt.settings import ALERT_KINDS
from tests.integration.alerting.targets import mailbox, webhook
from tests.project import ROOT

PAGE = (ROOT / "docs" / "alerts.md").read_text("utf-8")


def at(text: str) -> int:
    return round(1000 * datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


FAILED = Alert(
    kind="executionFailed",
    subject="7552d9fc-d1bb-4975-9a38-18357de531ea",
    title="task Daily sales failed",
    at=at("2026-11-30 05:12:44"),
    task="Daily sales",
    app="Sales dashboard",
    node="sense2.example.com",
    seconds=725,
    reason="Reload failed in engine. Check engine or script logs.",
    requests=(("night-4711", "erp, mqtt"),),
    in_a_row=3,
    since=at("2026-11-28 05:11:02"),
    script_log=("Connecting to ORDERS", "Error: Connector connect error: SQL##f - SqlState: 08001"),
)
SHOWN = {
    "alert": FAILED,
    "grouped": replace(
        FAILED,
        node="",
        seconds=None,
        requests=(("night-4711", "erp, mqtt"), ("night-4712", "erp, mqtt")),
        more_requests=3,
        in_a_row=7,
        script_log=(),
        count=4,
    ),
    "recovered": replace(
        FAILED,
        kind="recovered",
        title="task Daily sales recovered",
        at=at("2026-12-01 05:09:31"),
        seconds=520,
        reason="it succeeded after 3 failures since 2026-11-28T05:11:02.000Z",
        requests=(("night-4801", "erp, mqtt"),),
        in_a_row=0,
        since=None,
        script_log=(),
    ),
}


def block(mark: str) -> str:
    (found,) = re.findall(rf"^```\w+ {mark}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize("mark", SHOWN)
def test_an_alert_is_shown_as_it_is_written(mark: str) -> None:
    assert block(mark) == f"{title(SHOWN[mark])}\n\n{body(SHOWN[mark])}\n"


def test_a_mail_has_the_first_line_as_its_subject_and_the_rest_as_its_text() -> None:
    with mailbox() as box:
        AppriseTarget(box.url).send(title(FAILED), body(FAILED), good=False)
    (mail,) = box.came
    subject, _, text = block("alert").partition("\n\n")
    assert mail["Subject"] == subject
    plain = next(part for part in mail.walk() if part.get_content_type().startswith("text/"))
    content = plain.get_payload(decode=True)
    assert isinstance(content, bytes)
    shown = re.sub(r"<[^>]+>", "\n", content.decode())
    assert [" ".join(line.split()) for line in shown.splitlines() if line.strip()] == [
        " ".join(line.split()) for line in text.splitlines()
    ]


def test_a_webhook_gets_the_json_that_is_shown() -> None:
    alert = Alert(
        "qrsUnreachable",
        "qrs",
        "the Qlik server is not reached",
        at("2026-11-30 05:13:00"),
        reason="sense.example.com:4242: connection refused",
        since=at("2026-11-30 05:12:00"),
    )
    with webhook() as hook:
        AppriseTarget(hook.url).send(title(alert), body(alert), good=False)
    assert hook.came == [json.loads(block("webhook"))]


def test_every_kind_is_explained_in_the_order_of_the_code() -> None:
    assert tuple(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == ALERT_KINDS

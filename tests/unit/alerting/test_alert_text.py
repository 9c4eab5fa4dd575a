"""The text of an alert, whatever stands in the names and reasons that it tells."""

from __future__ import annotations

import pytest

from butler_mqtt.alerting.alert_text import MAX_TEXT, body, neutral, title
from butler_mqtt.domain.alert import Alert, decode
from butler_mqtt.printable import duration

WHOLE = Alert(
    kind="executionFailed",
    subject="7552d9fc-d1bb-4975-9a38-18357de531ea",
    title="task Sales failed",
    at=1_764_511_391_000,
    task="Sales",
    app="Sales dashboard",
    node="node-2",
    seconds=725,
    reason="Error: file not found",
    requests=(("erp-4711", "erp, mqtt"), ("erp-4712", "rest")),
    more_requests=3,
    in_a_row=3,
    since=1_764_425_000_000,
    script_log=("LOAD *", "Error: file not found"),
    count=2,
)


def test_an_alert_says_all_that_is_known() -> None:
    assert title(WHOLE) == "butler-mqtt: task Sales failed (2 times)"
    assert body(WHOLE).splitlines() == [
        "Task: Sales (7552d9fc-d1bb-4975-9a38-18357de531ea)",
        "App: Sales dashboard",
        "Node: node-2",
        "When: 2025-11-30 14:03:11 UTC",
        "How long: 12 min 5 s",
        "Reason: Error: file not found",
        "Requested by: erp-4711 (erp, mqtt), erp-4712 (rest), and 3 more",
        "In a row: 3rd failure since 2025-11-29 14:03:20 UTC",
        "Count: 2 times since the last alert about it",
        "Script log, last lines:",
        "  LOAD *",
        "  Error: file not found",
    ]


def test_what_is_not_known_has_no_line() -> None:
    assert body(Alert("diskLow", "disk", "disk low", 0)) == "When: 1970-01-01 00:00:00 UTC"


@pytest.mark.parametrize(
    "text",
    [
        "@here",
        "@channel look",
        "(@everyone)",
        "x@everyone",
        "x@everyone.com",
        "x@4711",
        "<!channel>",
        "<!here|here>",
        "<@U024BE7LH>",
        "<#C024BE7LR>",
        "<https://example.com|click>",
        "<at>Bo</at>",
    ],
)
def test_nobody_is_mentioned_and_nothing_is_a_link(text: str) -> None:
    shown = neutral(text)
    assert "@" not in shown
    assert "<" not in shown.replace("</", "")
    assert len(shown) == len(text)


@pytest.mark.parametrize("text", ["erp@example.com", "Sales & Orders 5 < 6", "C:\\Qlik\\a.qvf"])
def test_what_means_nothing_to_a_chat_stays_as_it_is(text: str) -> None:
    assert neutral(text) == text


def test_control_characters_and_line_ends_become_blanks() -> None:
    assert neutral("a\x00b\nc\u202ed\x9be") == "a b c d e"


def test_a_text_has_its_bound_and_a_script_log_loses_its_first_lines() -> None:
    log = tuple(f"line {number} {'x' * 5000}" for number in range(200))
    text = body(Alert("executionFailed", "a", "t" * 5000, 0, "n" * 5000, reason="r" * 5000, script_log=log))
    assert len(text) <= MAX_TEXT
    assert "line 199" in text
    assert "line 1 " not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.3, "0.3 s"), (59.6, "1 min"), (725, "12 min 5 s"), (7200, "2 h"), (93784, "1 d 2 h")],
)
def test_a_duration_is_written_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_alert_in_the_journal_is_read_as_it_was_written() -> None:
    assert decode(WHOLE.encode()) == WHOLE


def test_two_alerts_that_are_joined_count_together_and_tell_of_the_later() -> None:
    later = Alert("executionFailed", WHOLE.subject, "task Sales failed", 9, reason="later")
    assert (WHOLE.joined(later).count, WHOLE.joined(later).reason) == (3, "later")

"""Text of others cannot command a terminal, nor end a line of the log."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from butler_mqtt.checks.finding import wrong
from butler_mqtt.cli import check_report, printing
from butler_mqtt.logs import Formatter, LogFormat
from butler_mqtt.printable import counted, escaped, escaped_lines, json_text

ANY_TEXT = st.text(st.characters(codec=None), max_size=50)
CONTROLS = {
    "C0": "\x00\x07\x08\t\n\r\x1b",
    "DEL": "\x7f",
    "C1": "".join(map(chr, range(0x80, 0xA0))),
    "direction": "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "line ends": "\u2028\u2029",
    "invisible": "\u00ad\u200b\u2060\ufeff\U000e0041",
    "half characters": "\udfff\ud800",
}
EVIL = "a" + "".join(CONTROLS.values()) + "z"


@pytest.mark.parametrize("kind", CONTROLS)
def test_what_a_terminal_obeys_is_written_as_an_escape(kind: str) -> None:
    for sign in CONTROLS[kind]:
        assert escaped(sign) == sign.encode("unicode_escape", "surrogatepass").decode()
        assert escaped(sign).isascii()


def test_letters_of_all_languages_stay_as_they_are() -> None:
    for text in ("Söhne & Töchter", "日本語", "Продажи", "مبيعات", "😀", "a\\b"):
        assert escaped(text) == text
        assert json_text(text) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize("number", [0, 2, 11])
def test_one_thing_alone_has_a_noun_in_the_singular(number: int) -> None:
    assert (counted(1, "request"), counted(number, "request")) == ("1 request", f"{number} requests")
    assert (counted(1, "is", "are"), counted(number, "is", "are")) == ("1 is", f"{number} are")


@given(ANY_TEXT)
@example(EVIL)
def test_any_text_becomes_one_line_that_can_be_printed(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped_lines(text).replace("\n", "").isprintable()
    assert escaped_lines(text).count("\n") == text.count("\n")


@given(st.recursive(ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=5))
@example(EVIL)
def test_any_json_can_be_printed_and_reads_back_as_it_was(value: object) -> None:
    assert json_text(value).isprintable()
    assert json.loads(json_text(value)) == json.loads(json.dumps(value))
    assert json.loads(json_text(value, indent=2)) == json.loads(json.dumps(value))


@pytest.mark.parametrize("form", LogFormat)
@given(text=ANY_TEXT)
@example(text=EVIL)
def test_a_line_of_the_log_is_one_line_that_can_be_printed(form: LogFormat, text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "task %s", (text,), None)
    record.request_id = text
    assert Formatter(form, journal=False).format(record).isprintable()


REPLY = {
    "requestId": EVIL,
    "status": EVIL,
    "totalTasksStarted": 0,
    "tasksStarted": [{"taskName": EVIL, "taskId": EVIL, "status": EVIL, "details": EVIL, "code": EVIL}],
    "tasksNotFound": [{"tag": EVIL}, {"customProperty": {"name": EVIL, "value": EVIL}}],
}
REFUSAL = {"requestId": EVIL, "error": EVIL, "details": EVIL, "code": EVIL}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("answer", [REPLY, REFUSAL])
def test_a_reply_is_printed_without_what_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str], answer: dict[str, object], *, as_json: bool
) -> None:
    printing.show(answer, as_json=as_json)
    printing.print_error(f"{EVIL}\n{EVIL}")
    shown = capsys.readouterr()
    assert (shown.out + shown.err).replace("\n", "").isprintable()
    if as_json:
        assert json.loads(shown.out) == answer


def test_what_check_found_is_printed_without_what_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check_report.show(wrong("broker", EVIL, EVIL))
    assert capsys.readouterr().out.replace("\n", "").isprintable()

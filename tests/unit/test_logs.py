"""Log lines: priorities, fields, escapes, JSON."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from butler_mqtt.logs import Formatter, LogFormat
from tests.acceptance.service.process import service, write_config
from tests.brokers import free_port

#: Writes one line of each level, a traceback, a warning and an uncaught exception of a thread.
SPEAKS = """
import logging, sys, threading, warnings
from butler_mqtt import logs
logs.set_up("debug", logs.LogFormat(sys.argv[1]))
log = logging.getLogger("butler_mqtt.test")
for level in (10, 20, 30, 40, 50):
    log.log(level, "level %d", level)
try:
    raise ValueError("two\\n<0>lines")
except ValueError:
    log.exception("failed", extra={"action": "bug"})
logging.getLogger("urllib3").warning("foreign")
logging.getLogger("urllib3").info("foreign chatter")
warnings.warn("old", stacklevel=1)
def fail(): raise KeyError("in a thread")
thread = threading.Thread(target=fail, name="worker"); thread.start(); thread.join()
raise RuntimeError("at the end")
"""


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("butler_mqtt.test", logging.INFO, "", 0, message, arguments, None)
    made.__dict__.update(fields)
    return made


def spoken(tmp_path: Path, form: str, *, journal: bool) -> list[str]:
    """Run SPEAKS with standard error in a file, which `JOURNAL_STREAM` names or not."""
    file = tmp_path / "stderr"
    with file.open("wb") as stderr:
        status = os.fstat(stderr.fileno())
        stream = f"{status.st_dev}:{status.st_ino}" if journal else "1:1"
        done = subprocess.run(
            [sys.executable, "-c", SPEAKS, form],
            stderr=stderr,
            env={**os.environ, "JOURNAL_STREAM": stream},
            check=False,
            timeout=30,
        )
    assert done.returncode == 1
    return file.read_text().splitlines()


def test_every_line_for_the_journal_begins_with_its_priority(tmp_path: Path) -> None:
    lines = spoken(tmp_path, "text", journal=True)
    assert all(re.match(r"<[2-7]>", line) for line in lines), lines
    levels = [line[:3] for line in lines if "butler_mqtt.test: level" in line]
    assert levels == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert "<3>    ValueError: two" in lines
    assert "<3>    <0>lines" in lines


def test_without_a_journal_a_line_has_time_and_level_and_no_priority(tmp_path: Path) -> None:
    lines = spoken(tmp_path, "text", journal=False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z DEBUG butler_mqtt.test: level 10", lines[0])
    assert not any(line.startswith("<") for line in lines)


def test_nothing_ends_without_a_line(tmp_path: Path) -> None:
    text = "\n".join(spoken(tmp_path, "text", journal=True))
    assert "<4>urllib3: foreign\n" in text
    assert "chatter" not in text
    assert "UserWarning: old" in text
    assert "<2>butler_mqtt.logs: the thread worker ended by a fault [action=bug]" in text
    assert "<2>butler_mqtt.logs: ended by a fault: at the end [action=bug]" in text


@pytest.mark.parametrize("journal", [True, False])
def test_json_is_one_object_per_line(tmp_path: Path, journal: bool) -> None:
    lines = spoken(tmp_path, "json", journal=journal)
    objects = [json.loads(re.sub(r"^<\d>", "", line) if journal else line) for line in lines]
    assert [one["level"] for one in objects[:5]] == ["debug", "info", "warning", "error", "critical"]
    failed = objects[5]
    assert (failed["logger"], failed["action"]) == ("butler_mqtt.test", "bug")
    assert failed["traceback"].endswith("ValueError: two\n<0>lines")


def test_fields_stand_at_the_end_of_the_line() -> None:
    line = Formatter(LogFormat.TEXT, journal=True).format(
        record("asked by %s", "erp", action="request_answered", request_id="erp-1")
    )
    assert line == "<6>butler_mqtt.test: asked by erp [action=request_answered request_id=erp-1]"


@pytest.mark.parametrize(
    ("outside", "shown"),
    [
        ("a\n<0>butler_mqtt: forged", r"a\n<0>butler_mqtt: forged"),
        ("a\r\x1b[2Jb", r"a\r\x1b[2Jb"),
        ("a\u2028b\u202ec\x85", r"a\u2028b\u202ec\x85"),
        ("Umsätze 报表", "Umsätze 报表"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_comes_from_outside_cannot_end_a_line_or_move_a_terminal(outside: str, shown: str) -> None:
    formatter = Formatter(LogFormat.TEXT, journal=True)
    assert formatter.format(record("sender %s", outside)) == f"<6>butler_mqtt.test: sender {shown}"
    assert formatter.format(record("x", request_id=outside)).count("\n") == 0
    assert json.loads(Formatter(LogFormat.JSON, journal=False).format(record("%s", outside)))


def test_a_message_of_any_length_is_cut() -> None:
    assert len(Formatter(LogFormat.TEXT, journal=True).format(record("x" * 100_000))) < 9000


def test_the_daemon_logs_json_when_asked_to(tmp_path: Path) -> None:
    with service(write_config(tmp_path, port=free_port()), {}, "--log-format", "json") as daemon:
        daemon.waits_for_log('"action": "mqtt_unreachable"')
        for line in daemon.log().splitlines():
            assert {"time", "level", "logger", "message"} <= json.loads(line).keys()


#: Logs two lines together, another from another thread, and prints how much had been written.
TOGETHER = """
import logging, os, sys, threading
from butler_mqtt import logs
logs.set_up("info")
log = logging.getLogger("butler_mqtt.test")
size = lambda: print(os.fstat(2).st_size)
try:
    with logs.Together():
        log.info("first")
        log.warning("second %s")
        size()
        thread = threading.Thread(target=log.info, args=("other",)); thread.start(); thread.join()
        raise ValueError("the block failed")
except ValueError as error:
    log.error("%s", error)
size()
"""


def test_lines_of_a_block_are_written_in_one_piece_at_its_end(tmp_path: Path) -> None:
    file = tmp_path / "stderr"
    with file.open("wb") as stderr:
        done = subprocess.run(
            [sys.executable, "-c", TOGETHER], stdout=subprocess.PIPE, stderr=stderr, check=True, timeout=30
        )
    assert [line.partition("butler_mqtt.test: ")[2] for line in file.read_text().splitlines()] == [
        "other",
        "first",
        "second %s",
        "the block failed",
    ]
    assert done.stdout.split() == [b"0", str(file.stat().st_size).encode()]


CLOSED = """
import logging, sys
from butler_mqtt import logs
logs.set_up("info")
sys.stderr.close()
with logs.Together():
    logging.getLogger("butler_mqtt.test").info("first")
print("went on")
"""


def test_lines_that_cannot_be_written_do_not_fail_what_was_done_in_the_block() -> None:
    """The block is a turn, whose effects cannot be taken back: it would be repeated."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSED],
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.stdout == b"went on\n"

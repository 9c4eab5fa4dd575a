"""Tables and lines on terminals of any width, and in a pipe."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from butler_mqtt.cli import printing
from butler_mqtt.cli.result_table import Cell, ResultTable, cut_id
from butler_mqtt.printable import wrapped
from tests.terminals import on_terminal

GUID = "a8b4c123-def4-5678-9abc-def012345678"
NAME = "Finance nightly consolidation of all ledgers"


class Terminal(io.StringIO):
    """A stream that is one."""

    def isatty(self) -> bool:
        return True


def table() -> ResultTable:
    made = ResultTable(("task", "state", "execution", "task id"), wide_only=frozenset({"execution"}))
    made.add(Cell(NAME), Cell("failed", "red"), Cell(GUID), Cell(GUID, short=cut_id(GUID)))
    return made


def rendered(width: int, *, long: bool = False) -> str:
    stream = Terminal()
    console = Console(file=stream, width=width, color_system=None, force_terminal=True)
    console.print(table().for_console(console, long=long))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("whole", "cut"),
    [
        (GUID, "a8b4c123…"),
        ("cli-ed1652ff6c3c89bf", "cli-ed1652ff…"),
        ("erp-4711", "erp-4711"),
        ("orders-2026-11-30-0007-north", "orders-2026-11-30-0…"),
        ("deadbeef", "deadbeef"),
    ],
)
def test_a_long_id_is_cut_to_its_beginning(whole: str, cut: str) -> None:
    assert cut_id(whole) == cut
    assert whole.startswith(cut.rstrip("…"))


def test_a_wide_terminal_shows_all_of_a_table() -> None:
    assert rendered(160).count(GUID) == 2


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_word_of_a_table_is_broken_on_a_narrow_terminal(width: int) -> None:
    shown = rendered(width)
    assert max(map(len, shown.splitlines())) <= width
    assert {"a8b4c123…", *NAME.split()} <= set(shown.split())
    assert "execution" not in shown


def test_asked_for_all_of_it_a_narrow_terminal_shows_a_block_for_each_row() -> None:
    shown = rendered(60, long=True)
    assert shown.count(GUID) == 2
    assert max(map(len, shown.splitlines())) <= 60
    assert shown.splitlines()[:2] == [f"task       {NAME}", "state      failed"]


def test_lines_are_broken_at_blanks_below_their_own_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    long = "/a/path/that-is/longer-than-the/terminal"
    text = f"one line that is too long for it\n  {long} stays whole"
    assert wrapped(text, Terminal()).split("\n") == [
        "one line that is too long for",
        "it",
        f"  {long}",
        "  stays whole",
    ]
    assert wrapped(text, io.StringIO()) == text


def requests(journal: Path) -> list[str]:
    return [sys.executable, "-m", "butler_mqtt", "requests", "--journal", str(journal)]


def test_colours_are_for_terminals_only(tmp_path: Path) -> None:
    make_journal(tmp_path / "journal.sqlite")
    command = requests(tmp_path / "journal.sqlite")
    assert "\x1b[31m" in on_terminal(command)
    assert "\x1b" not in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_pipe_gets_each_row_on_a_line_of_its_own_whatever_the_width(tmp_path: Path) -> None:
    make_journal(tmp_path / "journal.sqlite")
    command = requests(tmp_path / "journal.sqlite")
    narrow = {**os.environ, "COLUMNS": "40"}
    done = subprocess.run(command, capture_output=True, text=True, env=narrow, check=True)
    (row,) = (line for line in done.stdout.splitlines() if GUID in line)
    assert row.rstrip().endswith("refused: invalid_json")


def make_journal(file: Path) -> None:
    """Make a journal with one refused request."""
    from butler_mqtt.journal import tables  # noqa: PLC0415 -- for two tests
    from butler_mqtt.journal.sqlite import Journal  # noqa: PLC0415 -- as above
    from butler_mqtt.journal.write_batch import Value, WriteBatch  # noqa: PLC0415 -- as above

    journal = Journal(f"sqlite:///{file}")
    journal.open()
    unit = WriteBatch()
    row: dict[str, Value] = {"id": 1, "request_id": GUID, "holds_id": False, "door": "mqtt"}
    row |= {"received_at": 1, "closed_at": 2}
    unit.insert(tables.requests, {**row, "state": "refused", "code": "invalid_json"})
    journal.write(unit)
    journal.close()


def test_a_line_with_characters_of_two_columns_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "tasks: " + ", ".join(["日報", "Täglich", "月次レポート", "Sales"] * 8)
    lines = wrapped(text, Terminal(), 2).split("\n")
    assert max(cell_len(line) for line in lines) <= 40
    assert " ".join(line.strip() for line in lines) == text


def test_the_id_of_a_task_that_was_not_found_is_cut_as_any_other() -> None:
    text = [printing.selector({"taskId": GUID}, way) for way in (str, cut_id)]
    assert text == [f"taskId {GUID}", "taskId a8b4c123…"]


def test_a_long_complaint_about_an_argument_is_broken_at_words() -> None:
    command = [sys.executable, "-m", "butler_mqtt", "requests", "--state", "nix", "--journal", "x"]
    shown = on_terminal(["sh", "-c", f"{shlex.join(command)} 2>&1"])
    assert "Error: Invalid value for --state: \n'nix' is none of received, decided" in shown
    assert max(map(len, shown.splitlines())) <= 80

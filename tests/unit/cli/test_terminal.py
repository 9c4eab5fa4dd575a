"""Commands on terminals and pipes that are not UTF-8."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest

from butler_mqtt.cli import terminal
from butler_mqtt.cli.printing import show

NAME = "Täglich → 日報"
REPLY = {"status": "started", "tasksStarted": [{"taskName": NAME, "taskId": "1", "status": "started"}]}


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")


def printed(encoding: str, *, as_json: bool) -> bytes:
    """Give the bytes of a reply printed to a standard output with *encoding*."""
    with redirect_stdout(stream(encoding)) as output, redirect_stderr(stream(encoding)):
        terminal.fit_streams()
        show(REPLY, as_json=as_json)
        output.flush()
    assert isinstance(output.buffer, io.BytesIO)
    return output.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1", "cp437", "koi8-r"])
def test_a_name_is_printed_with_what_the_terminal_lacks_replaced(encoding: str) -> None:
    text = printed(encoding, as_json=False).decode(encoding)
    assert NAME.encode(encoding, "replace").decode(encoding) in text


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1", "cp437"])
def test_json_is_ascii_where_the_terminal_is_not_utf_8(encoding: str) -> None:
    text = printed(encoding, as_json=True).decode("ascii")
    assert json.loads(text) == REPLY


def test_json_is_utf_8_where_the_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LC_ALL", raising=False)
    assert NAME.encode() in printed("utf-8", as_json=True)


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_json_is_ascii_where_the_locale_is_c_though_python_writes_utf_8(
    monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    assert json.loads(printed("utf-8", as_json=True).decode("ascii")) == REPLY

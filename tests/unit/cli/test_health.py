"""What is made of an answer, and of a place where none can come from."""

from __future__ import annotations

import pytest
import typer

from butler_mqtt.cli import health
from butler_mqtt.exit_codes import ExitCode


@pytest.mark.parametrize("host", ["a..b", ".x", "a" * 64], ids=["empty part", "no part", "long part"])
def test_a_name_that_cannot_be_one_is_not_reached(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        health.health(f"http://{host}:1", 1.0)
    assert ended.value.exit_code == ExitCode.UNAVAILABLE
    assert "not reached" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://h:x", "http://h h", "http://é"],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no URL"):
        health.health(url)

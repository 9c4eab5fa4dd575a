"""`butler-mqtt check`: its options; the checks run in `check_report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from butler_mqtt.cli.options import ConfigOption, JsonOption, end, read_settings


def check(
    as_json: JsonOption = False,
    save: Annotated[
        Path | None,
        typer.Option("--save", metavar="DIR", help="Also write the report and answers of Qlik there."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """
    Check journal, broker and Qlik server, and say what to do.

    It reports what is wrong and how to fix it, and starts nothing.
    """
    from butler_mqtt.cli import check_report  # noqa: PLC0415 -- the other commands need none of this

    report = check_report.print_problems if as_json else None
    end(check_report.check(read_settings(config, report=report), as_json=as_json, save=save))

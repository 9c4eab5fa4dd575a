"""`butler-mqtt review`: its options; the review is printed by `review_report`."""

from __future__ import annotations

from typing import Annotated

import typer

from butler_mqtt.cli.options import ConfigOption, JsonOption, read_settings
from butler_mqtt.cli.requests_options import CommonOptions, JournalOption, end_with


def review(
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="Back from now.")] = 30,
    as_json: JsonOption = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """
    Say what has gone stale, and what to do about it.

    Selectors that find nothing, tasks that are gone or fail, entries of the
    configuration without a task, rules that never match, senders that are
    silent. It reads the journal and asks the Qlik server, and starts nothing.
    """
    from butler_mqtt.cli import review_report  # noqa: PLC0415 -- the other commands need none of this

    common = CommonOptions(config, journal, as_json, follow=False)
    settings = read_settings(config, check_files=False, log_in=False)
    end_with(lambda file: review_report.review(settings, file, days=days, as_json=as_json), common.file())

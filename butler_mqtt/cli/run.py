"""`butler-mqtt run`: the daemon."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Annotated

import typer

from butler_mqtt import logs, posix
from butler_mqtt.cli import help_pages
from butler_mqtt.cli.options import load, read_settings
from butler_mqtt.cli.service_places import DEFAULT_CONFIG
from butler_mqtt.logs import LogFormat


def run(
    # Not that of the service where none is named: it would be a second daemon with a journal of its own.
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration file.", envvar="BUTLER_MQTT_CONFIG")
    ] = DEFAULT_CONFIG,
    log_format: Annotated[
        LogFormat,
        typer.Option(
            "--log-format", help="Log lines for people or for machines.", envvar="BUTLER_MQTT_LOG_FORMAT"
        ),
    ] = LogFormat.TEXT,
) -> None:
    """Run the daemon until it is stopped by a signal."""
    # What is loaded stays: looking for garbage in it as it grows is a tenth of the processor time of a start.
    gc.disable()
    try:
        from butler_mqtt.daemon.daemon import Daemon  # noqa: PLC0415 -- the other commands need none of this
        from butler_mqtt.journal.sqlite import Journal  # noqa: PLC0415 -- as above
    finally:
        gc.enable()

    settings = read_settings(config, service=None)
    logs.set_up(settings.log_level, log_format)
    cpu = posix.stay_on_one_cpu(Journal(settings.journal.url).path.parent)
    if cpu is not None:
        logging.getLogger("butler_mqtt.cli").info(
            "staying on CPU %s, where the journal's disk answers soonest", cpu, extra={"action": "one_cpu"}
        )
    code = Daemon(settings, reread=lambda: load(config)).run()
    line = help_pages.advice(code)
    if line is not None:
        # The last line of the log, and in its form.
        logging.getLogger("butler_mqtt.cli").error("code %d, %s", code, line, extra={"action": "read_more"})
    raise typer.Exit(code)

"""What the commands share: options, reading the configuration, ending with an exit code. Loads little."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from butler_mqtt.cli import help_pages
from butler_mqtt.cli.service_places import (
    DEFAULT_CONFIG,
    SERVICE,
    ServicePlaces,
    environ_for,
    found_config,
    is_there,
)
from butler_mqtt.cli.terminal import echo
from butler_mqtt.errors import ConfigError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import escaped_lines, wrapped
from butler_mqtt.settings import Settings

#: What to do where there is no configuration file.
NO_FILE = "Name one with -c FILE or BUTLER_MQTT_CONFIG, or write one: butler-mqtt init"

#: Without one `read_settings` looks where `found_config` says. Below `requests` it may stand before or
#: behind the command's name.
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help=f"The configuration file; else {DEFAULT_CONFIG} here, else {SERVICE.config}.",
        envvar="BUTLER_MQTT_CONFIG",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of a table.")]
LongOption = Annotated[bool, typer.Option("--long", "-l", help="Ids and times whole on any terminal.")]
OfSenderOption = Annotated[
    str | None,
    typer.Option(
        "--of-sender",
        metavar="NAME",
        help="On the topic of this one of `senders`; needed where unknownSenders is deny.",
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        min=0,
        help="Seconds to wait for the reply; without one it ends with 69, the request still holds.",
    ),
]


def read_settings(
    path: Path | None,
    *,
    check_files: bool = True,
    log_in: bool = True,
    report: Callable[[ConfigError], None] | None = None,
    instead: str = "",
    service: ServicePlaces | None = SERVICE,
) -> Settings:
    """
    Read the configuration at *path*, or the one that `found_config` finds.

    With *service* the variables of systemd need not be set for its configuration.
    One that cannot be used ends the program with code 78, every problem on
    standard error; *report* is called with the error first. Where there is no
    file, the last line says how to name or make one, or what else to name *instead*.
    """
    also = "" if path else f"Nor does that of a service, {SERVICE.config}.\n"
    path = path or found_config()
    environ = os.environ if service is None else environ_for(path, os.environ, service)
    try:
        return load(path, environ, check_files=check_files, log_in=log_in)
    except ConfigError as error:
        if report is not None:
            report(error)
        echo(wrapped(escaped_lines(str(error)), sys.stderr), err=True)
        if not is_there(path):
            echo(wrapped(f"{also}{NO_FILE}{instead}", sys.stderr), err=True)
        end(ExitCode.CONFIG)


def load(
    path: Path, environ: Mapping[str, str] = os.environ, *, check_files: bool = True, log_in: bool = True
) -> Settings:
    """Read the configuration, with the URLs of alerts judged as the daemon does; raises ConfigError."""
    from butler_mqtt.alerting.target_urls import url_fault  # noqa: PLC0415 -- only where needed
    from butler_mqtt.config import loader as files  # noqa: PLC0415 -- jsonschema and yaml only where needed

    return files.load(path, environ, check_files=check_files, log_in=log_in, url_fault=url_fault)


def end(code: int) -> NoReturn:
    """End with an exit code; standard error names the page that explains it."""
    help_pages.print_advice(code)
    raise typer.Exit(code)

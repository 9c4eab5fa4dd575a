"""The command line: arguments, logging, exit codes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from butler_mqtt import __version__, logs
from butler_mqtt.errors import ConfigError
from butler_mqtt.exitcodes import ExitCode
from butler_mqtt.logs import LogFormat
from butler_mqtt.settings import Settings

app = typer.Typer(
    name="butler-mqtt",
    help="Start Qlik Sense tasks when other systems ask over MQTT, once, and tell them what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", envvar="BUTLER_MQTT_CONFIG")
]


def main() -> None:
    """Run the program; the entry of the console script."""
    app()


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Start Qlik Sense tasks when other systems ask over MQTT, once, and tell them what happened."""
    if version:
        typer.echo(f"butler-mqtt {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


@app.command(epilog="Example: butler-mqtt run -c config.yaml")
def run(
    config: ConfigOption = Path("config.yaml"),
    log_format: Annotated[
        LogFormat,
        typer.Option(
            "--log-format", help="Log lines for people or for machines.", envvar="BUTLER_MQTT_LOG_FORMAT"
        ),
    ] = LogFormat.TEXT,
) -> None:
    """Run the daemon until it is told to stop."""
    from butler_mqtt import config as files  # noqa: PLC0415 -- the other commands need none of this
    from butler_mqtt.daemon import Daemon  # noqa: PLC0415 -- as above

    settings = read_settings(config)
    logs.set_up(settings.log_level, log_format)
    raise typer.Exit(Daemon(settings, reread=lambda: files.load(config, os.environ)).run())


def read_settings(path: Path) -> Settings:
    """Read the configuration, or end with exit code 78 and every problem on standard error."""
    from butler_mqtt import config as files  # noqa: PLC0415 -- jsonschema and yaml only where needed

    try:
        return files.load(path, os.environ)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(ExitCode.CONFIG) from error


if __name__ == "__main__":
    main()

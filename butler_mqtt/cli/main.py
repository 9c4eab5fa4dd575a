"""The program `butler-mqtt`: its commands, each in the module of its name."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from butler_mqtt import __version__
from butler_mqtt.cli import (
    alerts,
    cancel,
    check,
    demo,
    health,
    help_pages,
    init,
    requests_command,
    resolve,
    review,
    rules_command,
    run,
    simulate_qrs,
    start,
    tokens,
)
from butler_mqtt.cli.terminal import echo, explained, fit_streams
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import wrapped

#: Columns of a message behind "Error: ", on a terminal of 80.
MESSAGE_WIDTH = 72


class Commands(TyperGroup):
    """The commands; what is wrong with their arguments is broken at words on a terminal."""

    def invoke(self, ctx: Any) -> Any:
        """Run one."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            # Behind the name of the option it would fit no line.
            if sys.stderr.isatty() and len(error.format_message()) > MESSAGE_WIDTH:
                error.message = "\n" + wrapped(error.message, sys.stderr)
            raise


app = typer.Typer(
    name="butler-mqtt",
    cls=Commands,
    help="Start Qlik Sense tasks when other systems ask over MQTT, once, and report what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Example: butler-mqtt check -c config.yaml",
)
app.add_typer(
    requests_command.app, name="requests", epilog="Example: butler-mqtt requests --state failed --since 2h"
)
app.add_typer(
    rules_command.app,
    name="rules",
    epilog="Example: butler-mqtt rules test --topic plc/7/count --payload 1000",
)
app.add_typer(alerts.app, name="alerts", epilog="Example: butler-mqtt alerts test bi-team")
app.add_typer(tokens.app, name="token", epilog="Example: butler-mqtt token add erp")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Start Qlik Sense tasks when other systems ask over MQTT, once, and report what happened."""
    if version:
        echo(f"butler-mqtt {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        echo(context.get_help())
        raise typer.Exit(ExitCode.USAGE)


# In the order of `--help`.
app.command(epilog="Example: butler-mqtt run -c config.yaml")(run.run)
app.command(epilog="Example: butler-mqtt demo --broker embedded")(demo.demo)
app.command(epilog="Example: butler-mqtt start -c config.yaml --tag daily-reports --dry-run")(start.start)
app.command(epilog="Example: butler-mqtt cancel erp-4711 --stop-running")(cancel.cancel)
app.command(epilog="Example: butler-mqtt check -c config.yaml")(check.check)
app.command(epilog="Example: butler-mqtt health --url http://127.0.0.1:9464")(health.health)
app.command(
    epilog="\b\nExample: butler-mqtt init --qlik-host sense.example.com --certificates export\n"
    "Example: butler-mqtt init --from-butler production.yaml --output config.yaml"
)(init.init)
app.command(epilog="Example: butler-mqtt resolve -c config.yaml --custom-property taskGroup=nightly")(
    resolve.resolve
)
app.command(epilog="Example: butler-mqtt review -c config.yaml --days 90")(review.review)
app.command(
    "simulate-qrs",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(simulate_qrs.simulate_qrs)


def main() -> None:
    """Run the program; the entry of the console script."""
    fit_streams()
    command = typer.main.get_command(app)
    help_pages.add_to_help(command)
    try:
        command(prog_name="butler-mqtt")
    except OSError as error:
        explanation = explained(error)
        if explanation is None:
            raise
        echo(f"butler-mqtt: {explanation}", err=True)
        sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()

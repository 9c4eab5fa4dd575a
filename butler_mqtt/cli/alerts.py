"""`butler-mqtt alerts`: what is still to be sent, and a test of the targets."""

from __future__ import annotations

from typing import Annotated

import typer

from butler_mqtt.cli.options import ConfigOption, JsonOption, LongOption, end, read_settings
from butler_mqtt.cli.terminal import echo
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import escaped

app = typer.Typer(
    help="Alerts that wait or were set aside; a test of the targets.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    as_json: JsonOption = False,
    long: LongOption = False,
    config: ConfigOption = None,
) -> None:
    """
    Show the alerts that wait or were set aside, and test the targets.

    What was set aside is sent again with `butler-mqtt requests resend --all`.
    """
    if context.invoked_subcommand is not None:
        return
    from butler_mqtt.cli import alert_list  # noqa: PLC0415 -- as below

    settings = read_settings(config, check_files=False, log_in=False)
    end(alert_list.listing(settings, as_json=as_json, long=long))


@app.command("test", epilog="Example: butler-mqtt alerts test bi-team -c config.yaml")
def send_test(
    name: Annotated[str | None, typer.Argument(help="One target; else all.")] = None,
    config: ConfigOption = None,
) -> None:
    """
    Send a test alert to the targets, or to one of them.

    Exit codes: 0 sent, 1 not sent to all, 2 no such target.
    """
    settings = read_settings(config).alerts
    if not settings.enable:
        echo("alerts.enable is false: set it to true, targets are tried only then", err=True)
        end(ExitCode.FAILED)
    targets = [one for one in settings.targets if name in {None, one.name}]
    if not targets:
        known = ", ".join(one.name for one in settings.targets)
        raise typer.BadParameter(
            f"'{escaped(str(name))}' is no target; configured: {known}", param_hint="NAME"
        )
    # Loaded here only: it knows a hundred services.
    from butler_mqtt.alerting.alert_sender import TargetRefused  # noqa: PLC0415 -- as above
    from butler_mqtt.alerting.alert_text import body, example, title  # noqa: PLC0415 -- as above
    from butler_mqtt.alerting.apprise_target import AppriseTarget  # noqa: PLC0415 -- as above

    failed = False
    for target in targets:
        alert = example()
        try:
            AppriseTarget(target.url).send(title(alert), body(alert), good=True)
        except TargetRefused as error:
            failed = True
            echo(f"{target.name}: not sent: {error}", err=True)
        else:
            echo(f"{target.name}: sent")
    if failed:
        end(ExitCode.FAILED)

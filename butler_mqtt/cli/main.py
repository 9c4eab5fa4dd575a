"""The command line: arguments, logging, exit codes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from butler_mqtt import __version__, logs, posix
from butler_mqtt.cli import help_pages, requests_command, tokens
from butler_mqtt.errors import ConfigError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.logs import LogFormat
from butler_mqtt.printable import escaped_lines
from butler_mqtt.settings import Settings

app = typer.Typer(
    name="butler-mqtt",
    help="Start Qlik Sense tasks when other systems ask over MQTT, once, and tell them what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Example: butler-mqtt check -c config.yaml",
)
app.add_typer(
    requests_command.app, name="requests", epilog="Example: butler-mqtt requests --state failed --since 2h"
)
app.add_typer(tokens.app, name="token", epilog="Example: butler-mqtt token add erp")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", envvar="BUTLER_MQTT_CONFIG")
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TEXT", help="Tasks with this tag; may be repeated.")
]
TaskIdOption = Annotated[
    list[str] | None, typer.Option("--task-id", metavar="GUID", help="The task with this id (GUID).")
]
TaskNameOption = Annotated[
    list[str] | None, typer.Option("--task-name", metavar="TEXT", help="The task with this name.")
]
CustomPropertyOption = Annotated[
    list[str] | None,
    typer.Option("--custom-property", metavar="NAME=VALUE", help="Tasks with this custom property value."),
]
MatchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--match",
        metavar="KIND=any|all",
        help="Whether any (default) or all must fit; KIND is tag, customProperty, or criteria "
        "(all: only tasks that every kind of option means).",
    ),
]
AllMustExistOption = Annotated[
    bool, typer.Option("--all-must-exist", help="Start nothing if anything is not found or not allowed.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of a table.")]


class BrokerChoice(StrEnum):
    """Which broker the demo runs with."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    EMBEDDED = "embedded"


class IfRunning(StrEnum):
    """What a request means for a task that runs already."""

    QUEUE = "queue"
    SKIP = "skip"


def main() -> None:
    """Run the program; the entry of the console script."""
    command = typer.main.get_command(app)
    help_pages.add_to_help(command)
    command(prog_name="butler-mqtt")


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
    from butler_mqtt.config import loader as files  # noqa: PLC0415 -- the other commands need none of this
    from butler_mqtt.daemon.daemon import Daemon  # noqa: PLC0415 -- as above
    from butler_mqtt.journal.sqlite import Journal  # noqa: PLC0415 -- as above

    settings = read_settings(config)
    logs.set_up(settings.log_level, log_format)
    cpu = posix.stay_on_one_cpu(Journal(settings.journal.url).path.parent)
    if cpu is not None:
        logging.getLogger("butler_mqtt.cli").info("staying on CPU %s", cpu, extra={"action": "one_cpu"})
    code = Daemon(settings, reread=lambda: files.load(config, os.environ)).run()
    line = help_pages.advice(code)
    if line is not None:
        # The last line of the log, and in its form.
        logging.getLogger("butler_mqtt.cli").error("code %d, %s", code, line, extra={"action": "read_more"})
    raise typer.Exit(code)


@app.command(epilog="Example: butler-mqtt demo --broker embedded")
def demo(
    broker: Annotated[
        BrokerChoice,
        typer.Option("--broker", help="auto: mosquitto when it is installed, else a small one in Python."),
    ] = BrokerChoice.AUTO,
) -> None:
    """Show it at work on this machine: broker, Qlik stand-in, daemon, and what they say."""
    from butler_mqtt.demo.tour import demo as tour  # noqa: PLC0415 -- as above

    raise typer.Exit(tour(broker.value))


@app.command(epilog="Example: butler-mqtt start -c config.yaml --tag daily-reports --dry-run")
def start(
    tag: TagOption = None,
    task_id: TaskIdOption = None,
    task_name: TaskNameOption = None,
    custom_property: CustomPropertyOption = None,
    match: MatchOption = None,
    all_must_exist: AllMustExistOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide everything, start nothing.")] = False,
    if_running: Annotated[
        IfRunning | None,
        typer.Option("--if-running", help="For a task that runs already; else the daemon's own rule."),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="The same id again starts nothing a second time.")
    ] = None,
    sender: Annotated[str | None, typer.Option("--sender", help="Free text for the daemon's audit.")] = None,
    expires_at: Annotated[
        str | None,
        typer.Option("--expires-at", metavar="TIME", help="Not begun by then: not begun at all (RFC 3339)."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Show how the tasks get on until all have ended; 0 if all succeeded."),
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the reply.")] = 60.0,
    as_json: JsonOption = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Ask the running daemon over MQTT, as any sender does, and show its reply."""
    from butler_mqtt.cli import start as command  # noqa: PLC0415 -- as above

    document = _request(tag, task_id, task_name, custom_property, match, all_must_exist)
    if dry_run:
        document["dryRun"] = True
    more = {"ifRunning": if_running, "requestId": request_id, "sender": sender, "expiresAt": expires_at}
    document |= {key: value for key, value in more.items() if value is not None}
    # The files of `cert` are the daemon's: a sender on another machine has none.
    settings = read_settings(config, check_files=False)
    _end(command.start(settings.mqtt, document, timeout=timeout, as_json=as_json, wait=wait))


@app.command(epilog="Example: butler-mqtt check -c config.yaml")
def check(as_json: JsonOption = False, config: ConfigOption = Path("config.yaml")) -> None:
    """Try journal, broker and Qlik server, and say what is wrong and what to do; start nothing."""
    from butler_mqtt.cli import check as command  # noqa: PLC0415 -- as above

    _end(command.check(read_settings(config, tell=command.unusable if as_json else None), as_json=as_json))


@app.command(epilog="Example: butler-mqtt init --qlik-host sense.example.com --certificates /root/export")
def init(
    broker_host: Annotated[
        str | None, typer.Option("--broker-host", metavar="HOST[:PORT]", help="The broker; else localhost.")
    ] = None,
    broker_user: Annotated[
        str | None, typer.Option("--broker-user", metavar="NAME", help="The daemon's user at the broker.")
    ] = None,
    broker_password_file: Annotated[
        Path | None, typer.Option("--broker-password-file", help="File that holds its password.")
    ] = None,
    qlik_host: Annotated[
        str | None, typer.Option("--qlik-host", metavar="HOST[:PORT]", help="The Qlik Sense server.")
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option("--certificates", metavar="FOLDER", help="Folder of the certificates exported there."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="DIRECTORY\\USER", help="Whose rights count at Qlik Sense."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write.")] = Path("config.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration from a few options, or answers on a terminal, and check it."""
    from butler_mqtt.cli import check as trial  # noqa: PLC0415 -- as above
    from butler_mqtt.cli import init as command  # noqa: PLC0415 -- as above

    answers = command.Answers(
        broker_host=broker_host,
        broker_user=broker_user,
        broker_password_file=broker_password_file,
        qlik_host=qlik_host,
        certificates=certificates,
        user=user,
    )
    code = command.init(answers, output, force=force)
    _end(code or trial.check(read_settings(output), as_json=False))


@app.command(epilog="Example: butler-mqtt resolve -c config.yaml --custom-property taskGroup=nightly")
def resolve(
    tag: TagOption = None,
    task_id: TaskIdOption = None,
    task_name: TaskNameOption = None,
    custom_property: CustomPropertyOption = None,
    match: MatchOption = None,
    all_must_exist: AllMustExistOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = Path("config.yaml"),
) -> None:
    """Ask the Qlik server which tasks a request means, which are denied, which run; start nothing."""
    from butler_mqtt.cli import resolve as command  # noqa: PLC0415 -- as above

    document = _request(tag, task_id, task_name, custom_property, match, all_must_exist)
    _end(command.resolve(read_settings(config), document, as_json=as_json))


@app.command(
    "simulate-qrs",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def simulate_qrs(context: typer.Context) -> None:
    """Run a stand-in for the Qlik Repository Service, for tests and trials."""
    from butler_mqtt.simulator.__main__ import options  # noqa: PLC0415 -- as above
    from butler_mqtt.simulator.serving import serve  # noqa: PLC0415 -- as above

    raise typer.Exit(serve(options(context.args)))


def _request(
    tag: list[str] | None,
    task_id: list[str] | None,
    task_name: list[str] | None,
    custom_property: list[str] | None,
    match: list[str] | None,
    all_must_exist: bool,
) -> dict[str, Any]:
    """Make the request that the options mean; the daemon judges it as it judges any other."""
    document: dict[str, Any] = {"tag": tag, "taskId": task_id, "taskName": task_name}
    pairs = _pairs(custom_property, "--custom-property")
    document["customProperty"] = [{"name": name, "value": value} for name, value in pairs]
    document = {kind: values for kind, values in document.items() if values}
    if not document:
        raise typer.BadParameter("name at least one: --tag, --task-id, --task-name, or --custom-property")
    if match:
        document["match"] = dict(_pairs(match, "--match"))
    if all_must_exist:
        document["allMustExist"] = True
    return document


def _pairs(texts: list[str] | None, option: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{text}' has no =", param_hint=option)
        pairs.append((name, value))
    return pairs


def read_settings(
    path: Path,
    *,
    check_files: bool = True,
    log_in: bool = True,
    tell: Callable[[ConfigError], None] | None = None,
) -> Settings:
    """Read the configuration, or end with code 78, every problem on standard error, and *tell* told of it."""
    from butler_mqtt.config import loader as files  # noqa: PLC0415 -- jsonschema and yaml only where needed

    try:
        return files.load(path, os.environ, check_files=check_files, log_in=log_in)
    except ConfigError as error:
        if tell is not None:
            tell(error)
        typer.echo(escaped_lines(str(error)), err=True)
        help_pages.tell(ExitCode.CONFIG)
        raise typer.Exit(ExitCode.CONFIG) from error


def _end(code: int) -> NoReturn:
    """End with a code, and say where it is explained."""
    help_pages.tell(code)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()

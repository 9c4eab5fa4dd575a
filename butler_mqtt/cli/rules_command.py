"""`butler-mqtt rules`: the rules with their counts, and a test of what they say of a message."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from butler_mqtt.cli.options import ConfigOption, JsonOption, LongOption, end, read_settings
from butler_mqtt.cli.requests_options import CommonOptions, JournalOption

#: Longest payload read of a file: no broker takes a longer one.
_MAX_BYTES = 268_435_455

app = typer.Typer(
    help="Rules, which make requests of other messages.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def rules(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, one line for each rule.")] = False,
    long: LongOption = False,
    journal: JournalOption = None,
    config: ConfigOption = None,
) -> None:
    """List the rules: where their messages come from, what became of them."""
    context.obj = CommonOptions(config, journal, as_json, follow=False)
    if context.invoked_subcommand is not None:
        return
    from butler_mqtt.cli import rules_list  # noqa: PLC0415 -- the other commands need none of this

    settings = context.obj.settings(log_in=False)
    end(rules_list.listing(settings, context.obj.place(), as_json=as_json, long=long))


@app.command(
    "test",
    epilog="\b\nExample: butler-mqtt rules test --topic erp/orders --payload '{\"total\": 1500}'\n"
    "Example: butler-mqtt rules test --webhook deployed --payload-file push.json\n"
    "Example: butler-mqtt rules test --listen --seconds 60",
)
def try_message(
    context: typer.Context,
    topic: Annotated[str | None, typer.Option("--topic", help="The topic of the message.")] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="NAME", help="It comes to the webhook of this rule.")
    ] = None,
    payload: Annotated[str | None, typer.Option("--payload", help="What the message holds.")] = None,
    payload_file: Annotated[
        Path | None, typer.Option("--payload-file", metavar="FILE", help="The same in a file; - reads input.")
    ] = None,
    listen: Annotated[
        bool, typer.Option("--listen", help="Take messages from the broker, beside the daemon.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="How long to listen; else until Ctrl-C.")
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME=VALUE", help="A user property or header; may be repeated."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Messages of the window so far.")] = 1,
    resolve: Annotated[bool, typer.Option("--resolve", help="Ask the Qlik server for the tasks.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """
    Say which rules match a message, why the others do not, and what each would start.

    Nothing is started, and nothing is taken from the daemon.
    Exit codes: 0 a rule makes a request, 1 none does.
    """
    from butler_mqtt.cli import rules_trial  # noqa: PLC0415 -- the other commands need none of this

    _check(topic, webhook, payload, payload_file, listen=listen, seconds=seconds)
    common: CommonOptions = context.obj.joined(config, None, as_json)
    settings = read_settings(common.config, check_files=resolve, log_in=listen)
    trial = rules_trial.Trial(settings, as_json=common.as_json, resolve=resolve)
    if webhook is not None and webhook not in trial.webhooks():
        known = ", ".join(trial.webhooks()) or "none"
        raise typer.BadParameter(
            f"'{webhook}' is no rule with a webhook; there is {known}", param_hint="--webhook"
        )
    if listen:
        end(trial.listen(seconds))
    content = _content(payload, payload_file)
    end(trial.message(topic, webhook, content, _pairs(properties or (), lower=webhook is not None), count))


def _check(
    topic: str | None,
    webhook: str | None,
    payload: str | None,
    payload_file: Path | None,
    *,
    listen: bool,
    seconds: float | None,
) -> None:
    if listen:
        if any(one is not None for one in (topic, webhook, payload, payload_file)):
            raise typer.BadParameter(
                "takes the messages from the broker: no --topic, --webhook or --payload",
                param_hint="--listen",
            )
        return
    if seconds is not None:
        raise typer.BadParameter("belongs to --listen", param_hint="--seconds")
    if (topic is None) == (webhook is None):
        raise typer.BadParameter("one of --topic, --webhook and --listen is needed", param_hint="--topic")
    if payload is not None and payload_file is not None:
        raise typer.BadParameter("one of --payload and --payload-file", param_hint="--payload")


def _content(payload: str | None, file: Path | None) -> bytes:
    if payload is not None:
        return os.fsencode(payload)
    if file is None:
        return b""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(_MAX_BYTES)
        with file.open("rb") as opened:
            return opened.read(_MAX_BYTES)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}", param_hint="--payload-file") from None


def _pairs(texts: list[str] | tuple[str, ...], *, lower: bool) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"'{text}' is not NAME=VALUE", param_hint="--property")
        # Headers reach a rule in lower case.
        pairs[name.lower() if lower else name] = value
    return pairs

"""`butler-mqtt token`: bearer tokens for the REST door."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from butler_mqtt.cli.options import ConfigOption, JsonOption, end, read_settings
from butler_mqtt.cli.service_places import found_config
from butler_mqtt.cli.terminal import as_json as in_json
from butler_mqtt.cli.terminal import echo
from butler_mqtt.exit_codes import ExitCode

#: Random bytes of a token: nobody guesses 256 bits.
TOKEN_BYTES = 32
#: Begins every token, so that a search finds one that leaked.
PREFIX = "butler-mqtt_"
MAX_NAME = 128

app = typer.Typer(
    help="Bearer tokens for the REST door.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Role(StrEnum):
    """What the holder of a token may do."""

    SENDER = "sender"
    READER = "reader"
    OPERATOR = "operator"


@app.callback()
def tokens() -> None:
    """Bearer tokens for the REST door."""


@app.command(epilog="Example: butler-mqtt token add erp --sender erp")
def add(
    name: Annotated[str, typer.Argument(help="Who uses it; recorded in the journal with each request.")],
    sender: Annotated[
        str | None, typer.Option("--sender", metavar="NAME", help="Whose of `senders` its requests are.")
    ] = None,
    role: Annotated[Role, typer.Option("--role", help="What its holder may do.")] = Role.SENDER,
    expires_at: Annotated[
        str | None,
        typer.Option("--expires-at", metavar="TIME", help="Refused from then on (RFC 3339 with an offset)."),
    ] = None,
) -> None:
    """Make a token; print it, once, with the lines it needs."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        echo(f"NAME has 1 to {MAX_NAME} printable characters", err=True)
        raise typer.Exit(ExitCode.USAGE)
    if sender is not None and role is not Role.SENDER:
        echo(f"a token of the sender {sender} has the role sender, not {role}", err=True)
        raise typer.Exit(ExitCode.USAGE)
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    # A JSON string is a YAML string too, whatever the name holds.
    parts = [f"name: {in_json(name)}", f"sha256: {digest}"]
    parts += [f"role: {role}"] if role is not Role.SENDER else []
    parts += [f"expiresAt: {in_json(_time(expires_at))}"] if expires_at is not None else []
    echo(f"Token: {token}")
    echo("It is shown only now and stored nowhere.")
    echo("The caller sends it in the header `Authorization: Bearer TOKEN`.")
    if role is not Role.SENDER:
        echo("On the page, at /ui/, its holder signs in with it (webPage.enable: true).")
    echo("Add this to restServerConfig.auth.tokens and reload the daemon:")
    echo(f"  - {{ {', '.join(parts)} }}")
    if sender is not None:
        echo(f"Add the name to the sender {in_json(sender)} in `senders` too, before the reload:")
        echo(f"    tokens: [{in_json(name)}]")


@app.command("list", epilog="Example: butler-mqtt token list -c config.yaml")
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the tokens that there are, whose they are and when they end."""
    from butler_mqtt.cli import printing  # noqa: PLC0415 -- `add` needs none of this
    from butler_mqtt.cli.result_table import Cell, ResultTable  # noqa: PLC0415 -- as above
    from butler_mqtt.config import loader  # noqa: PLC0415 -- as above

    settings = read_settings(config, check_files=False, log_in=False)
    owners = {token: sender.name for sender in settings.senders for token in sender.tokens}
    # Those in files are not among the settings unless the files are read, which are the daemon's.
    file: Any = loader.read(config or found_config()).value
    listed = (file["Butler"].get("restServerConfig") or {}).get("auth") or {}
    found = [_entry(one, owners) for one in listed.get("tokens") or ()]
    if as_json:
        printing.print_json({"tokens": found})
        end(ExitCode.OK)
    if not found:
        echo("restServerConfig.auth.tokens is empty: butler-mqtt token add NAME makes a token")
        end(ExitCode.OK)
    table = ResultTable(("token", "role", "sender", "until"))
    for one in found:
        expired = one["expired"]
        until = f"{one['expiresAt']}, expired" if expired else str(one["expiresAt"] or "for ever")
        table.add(
            Cell(str(one["name"])),
            Cell(str(one["role"])),
            Cell(str(one["sender"] or "")),
            Cell(until, "red" if expired else ""),
        )
    table.show(long=False)
    end(ExitCode.OK)


def _entry(token: dict[str, Any], owners: dict[str, str]) -> dict[str, object]:
    ends = token.get("expiresAt")
    return {
        "name": token["name"],
        "role": token.get("role", "sender"),
        "sender": owners.get(token["name"]),
        "expiresAt": ends,
        "expired": ends is not None and datetime.fromisoformat(ends.upper()) <= datetime.now(UTC),
    }


def _time(text: str) -> str:
    """Return a time as the configuration takes it."""
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise typer.BadParameter(
        f"{text!r} is no time with an offset, such as 2031-01-31T08:00:00Z", param_hint="--expires-at"
    )

"""`butler-mqtt token`: bearer tokens for the REST door."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated

import typer

from butler_mqtt.cli.terminal import as_json, echo
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


@app.callback()
def tokens() -> None:
    """Bearer tokens for the REST door."""


@app.command(epilog="Example: butler-mqtt token add erp")
def add(
    name: Annotated[str, typer.Argument(help="Who uses it; recorded in the journal with each request.")],
) -> None:
    """Make a token and print it, once, with the line for the configuration."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        echo(f"NAME has 1 to {MAX_NAME} printable characters", err=True)
        raise typer.Exit(ExitCode.USAGE)
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    # A JSON string is a YAML string too, whatever the name holds.
    entry = f"{{ name: {as_json(name)}, sha256: {digest} }}"
    echo(f"Token: {token}")
    echo("It is shown only now and stored nowhere.")
    echo("The caller sends it in the header `Authorization: Bearer TOKEN`.")
    echo("Add this to restServerConfig.auth.tokens in the configuration and reload the daemon:")
    echo(f"  - {entry}")

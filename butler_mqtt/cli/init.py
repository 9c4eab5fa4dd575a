"""`butler-mqtt init`: its options; the file is written by `first_configuration`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from butler_mqtt.cli.options import end, read_settings
from butler_mqtt.cli.service_places import DEFAULT_CONFIG
from butler_mqtt.cli.terminal import echo

_BrokerOption = Annotated[
    str | None, typer.Option("--broker-host", metavar="HOST[:PORT]", help="The broker; else localhost.")
]
_JwtOption = Annotated[
    Path | None,
    typer.Option("--jwt", metavar="FILE", help="Token for the Qlik proxy, instead of certificates."),
]
_VirtualProxyOption = Annotated[
    str | None,
    typer.Option("--virtual-proxy", metavar="PREFIX", help="The virtual proxy that takes the token."),
]
_CaOption = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="CA of the proxy's certificate; else those of the system."),
]
_FromButlerOption = Annotated[
    Path | None,
    typer.Option("--from-butler", metavar="FILE", help="Butler's configuration, to be written as ours."),
]


def init(
    broker_host: _BrokerOption = None,
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
    jwt: _JwtOption = None,
    virtual_proxy: _VirtualProxyOption = None,
    ca: _CaOption = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="DIRECTORY\\USER", help="Whose rights count at Qlik Sense."),
    ] = None,
    from_butler: _FromButlerOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write.")] = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """
    Write a commented configuration, and check it.

    It is made from options, from answers on a terminal, or from Butler's own file.
    """
    from butler_mqtt.cli import first_configuration  # noqa: PLC0415 -- the other commands need none of this

    if jwt is None and (virtual_proxy is not None or ca is not None):
        raise typer.BadParameter("--virtual-proxy and --ca go with --jwt")
    if jwt is not None and (certificates is not None or user is not None):
        raise typer.BadParameter("--jwt goes without --certificates and --user: the token names the user")
    others = (broker_host, broker_user, broker_password_file, qlik_host, certificates, jwt, user)
    if from_butler is not None:
        if any(one is not None for one in others):
            raise typer.BadParameter(
                "--from-butler goes with --output and --force only: the file has the rest"
            )
        _from_butler(from_butler, output, force=force)
    answers = first_configuration.Answers(
        broker_host=broker_host,
        broker_user=broker_user,
        broker_password_file=broker_password_file,
        qlik_host=qlik_host,
        certificates=certificates,
        jwt=jwt,
        virtual_proxy=virtual_proxy,
        ca=ca,
        user=user,
    )
    code = first_configuration.init(answers, output, force=force)
    end(code or _checked(output))


def _from_butler(source: Path, output: Path, *, force: bool) -> NoReturn:
    from butler_mqtt.cli import from_butler  # noqa: PLC0415 -- as above

    made = from_butler.write(source, output, force=force)
    try:
        code = _checked(output)
    finally:
        # At the end, also of a check that found the configuration unusable.
        from_butler.print_choices(made)
    end(code)


def _checked(output: Path) -> int:
    """Check what was written, and return the exit code; a file that cannot be used yet ends the program."""
    from butler_mqtt.cli import check_report  # noqa: PLC0415 -- as above

    again = f"cannot be used before this is mended; butler-mqtt check -c {output} then tries it:"
    settings = read_settings(output, report=lambda _: echo(f"It {again}\n", err=True))
    echo("butler-mqtt check reports:\n")
    return check_report.check(settings, as_json=False)

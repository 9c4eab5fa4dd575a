"""`butler-mqtt init`: its options; the file is written by `first_configuration`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from butler_mqtt.cli.options import DEFAULT_CONFIG, end, read_settings

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
    from butler_mqtt.cli import (  # noqa: PLC0415 -- the other commands need none of this
        check_report,
        first_configuration,
    )

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
    end(code or check_report.check(read_settings(output), as_json=False))


def _from_butler(source: Path, output: Path, *, force: bool) -> NoReturn:
    from butler_mqtt.cli import check_report, from_butler  # noqa: PLC0415 -- as above

    made = from_butler.write(source, output, force=force)
    try:
        code = check_report.check(read_settings(output), as_json=False)
    finally:
        # At the end, also of a check that found the configuration unusable.
        from_butler.print_choices(made)
    end(code)

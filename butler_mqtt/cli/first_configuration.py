"""The configuration that `butler-mqtt init` writes: the shipped file with a few answers filled in."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from butler_mqtt.cli import shipped_file
from butler_mqtt.cli.shipped_file import InitError
from butler_mqtt.cli.terminal import echo
from butler_mqtt.exit_codes import ExitCode

#: The files of an export from the Qlik Management Console that a client needs, by their keys in `cert`.
FILES = {"clientCert": "client.pem", "clientCertKey": "client_key.pem", "clientCertCA": "root.pem"}
_HEADER = ("configQRS", "headers", "static", "value")


@dataclass(frozen=True, slots=True)
class Answers:
    """What only the operator knows; None keeps the shipped value. Hosts may end in `:PORT`."""

    broker_host: str | None = None
    broker_user: str | None = None
    broker_password: str | None = None
    broker_password_file: Path | None = None
    qlik_host: str | None = None
    certificates: Path | None = None
    user: str | None = None
    jwt: Path | None = None
    virtual_proxy: str | None = None
    ca: Path | None = None


def init(answers: Answers, output: Path, *, force: bool) -> ExitCode:
    """
    Write the configuration.

    Returns:
        OK, USAGE when an answer is missing and nobody can be asked, FAILED when
        the file exists and *force* is not given, or cannot be written.
    """
    if output.exists() and not force:
        return _failed(f"{output} exists already; --force replaces it")
    if sys.stdin.isatty():
        answers = _asked(answers)
    if not answers.qlik_host:
        echo("name the Qlik Sense server: --qlik-host sense.example.com", err=True)
        return ExitCode.USAGE
    try:
        text = shipped_file.filled(shipped_file.template(), values(answers, output.absolute().parent))
        shipped_file.write(output, text, secret=answers.broker_password is not None, force=force)
    except (InitError, OSError) as error:
        return _failed(str(error))
    echo(f"{output} is written")
    return ExitCode.OK


def _failed(message: str) -> ExitCode:
    echo(message, err=True)
    return ExitCode.FAILED


def _asked(answers: Answers) -> Answers:
    """Ask for what no option gives; an empty answer takes the default in brackets."""
    user = answers.broker_user
    password = answers.broker_password
    broker = answers.broker_host or _answer("Broker (host or host:port)", host_and_port, "localhost")
    if user is None:
        user = typer.prompt("User at the broker (empty: none)", default="", show_default=False) or None
    if user is not None and password is None and answers.broker_password_file is None:
        password = _answer("Its password", hide_input=True)
    qlik = answers.qlik_host or _answer("Qlik Sense server (host or host:port)", host_and_port)
    if answers.jwt is not None:
        prefix = answers.virtual_proxy or typer.prompt("Prefix of the virtual proxy", default="")
        return replace(
            answers,
            broker_host=broker,
            broker_user=user,
            broker_password=password,
            qlik_host=qlik,
            virtual_proxy=prefix,
        )
    certificates = answers.certificates or Path(
        typer.prompt("Folder of the certificates exported from the QMC", default=".")
    )
    return replace(
        answers,
        broker_host=broker,
        broker_user=user,
        broker_password=password,
        qlik_host=qlik,
        certificates=certificates,
        user=answers.user or _answer("User at Qlik Sense", qlik_user, r"INTERNAL\sa_repository"),
    )


def _answer(
    question: str,
    check: Callable[[str], object] = str,
    default: str = "",
    *,
    hide_input: bool = False,
) -> str:
    """Ask until there is an answer that *check* accepts, and say each time what is wrong."""
    while True:
        given: str = typer.prompt(
            question, default=default, show_default=bool(default), hide_input=hide_input
        )
        answer = given if hide_input else given.strip()
        try:
            check(answer)
        except InitError as error:
            echo(f"{error}; Ctrl-C ends this, and nothing is written", err=True)
            continue
        if answer:
            return answer
        echo("an answer is needed here; Ctrl-C ends this, and nothing is written", err=True)


def values(answers: Answers, folder: Path) -> dict[tuple[str, ...], str | int | None]:
    """
    Return what belongs into the file, by path below `Butler`.

    Args:
        answers: With `qlik_host`.
        folder: The folder of the configuration file; relative paths start there.

    Raises:
        InitError: The folder of certificates lacks one.
    """
    host, port = host_and_port(answers.qlik_host or "")
    found: dict[tuple[str, ...], str | int | None] = {("configQRS", "host"): host}
    if port is not None:
        found["configQRS", "port"] = port
    if answers.broker_host:
        broker, broker_port = host_and_port(answers.broker_host)
        found["mqttConfig", "brokerHost"] = broker
        if broker_port is not None:
            found["mqttConfig", "brokerPort"] = broker_port
    if answers.broker_user:
        found["mqttConfig", "username"] = answers.broker_user
    if answers.broker_password is not None:
        found["mqttConfig", "password"] = answers.broker_password
    elif answers.broker_password_file is not None:
        found["mqttConfig", "passwordFile"] = str(answers.broker_password_file.absolute())
    if answers.jwt is not None:
        return found | _proxy(answers, answers.jwt, folder, port)
    if answers.user:
        found[_HEADER] = qlik_user(answers.user)
    for key, path in _certificates(answers, folder, host).items():
        found["cert", key] = _from(folder, path)
    return found


def _from(folder: Path, path: Path) -> str:
    """Return *path* as the configuration in *folder* names it."""
    absolute = path.absolute()
    return str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)


def _proxy(
    answers: Answers, jwt: Path, folder: Path, port: int | None
) -> dict[tuple[str, ...], str | int | None]:
    """Return what a login with a token needs; client certificates play no part in it."""
    return {
        ("configQRS", "authentication"): "jwt",
        ("configQRS", "port"): 443 if port is None else port,
        ("configQRS", "jwtFile"): _from(folder, jwt),
        ("configQRS", "virtualProxy"): answers.virtual_proxy or None,
        ("cert", "clientCert"): None,
        ("cert", "clientCertKey"): None,
        ("cert", "clientCertCA"): None if answers.ca is None else _from(folder, answers.ca),
    }


def _certificates(answers: Answers, folder: Path, host: str) -> dict[str, Path]:
    if answers.certificates is not None:
        return certificates(answers.certificates.absolute(), host)
    try:
        return certificates(folder, host)
    except InitError:
        # Not asked for: the shipped names stay, and the check reports what is missing.
        return {}


def certificates(folder: Path, host: str) -> dict[str, Path]:
    """
    Find the three files in *folder*, or in a folder in it, as the QMC makes one for each host name.

    Raises:
        InitError: One is missing, or several folders have them and none is named after *host*.
    """
    named = [folder, folder / host, folder / host.partition(".")[0]]
    for candidate in named:
        if _complete(candidate):
            return {key: candidate / name for key, name in FILES.items()}
    within = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    complete = [one for one in within if _complete(one)]
    if len(complete) == 1:
        return {key: complete[0] / name for key, name in FILES.items()}
    if complete:
        names = ", ".join(one.name for one in complete)
        raise InitError(f"{folder} holds certificates of {names}: name one of these folders")
    nearest = next((one for one in [*named, *within] if (one / FILES["clientCert"]).is_file()), folder)
    missing = ", ".join(name for name in FILES.values() if not (nearest / name).is_file())
    raise InitError(
        f"{nearest} lacks {missing}: export the certificates in the Qlik Management Console as PEM, with "
        "the secret key and without a password"
    )


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES.values())


def host_and_port(text: str) -> tuple[str, int | None]:
    """
    Cut `host:port`; an IPv6 address with a port stands in brackets.

    Raises:
        InitError: What follows the colon is no port.
    """
    fitting = re.fullmatch(r"\[([^\]]+)\](?::(.+))?|([^:]+):([^:]+)", text.strip())
    if fitting is None:
        return text.strip(), None
    host, port = fitting[1] or fitting[3], fitting[2] or fitting[4]
    if port is None:
        return host, None
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise InitError(f"'{text}' is not HOST or HOST:PORT")
    return host, int(port)


def qlik_user(text: str) -> str:
    r"""
    Return the header's value for `DIRECTORY\user`, or one that is given already.

    Raises:
        InitError: It names no directory.
    """
    if "=" in text:
        return text
    directory, backslash, user = text.partition("\\")
    if not (directory and backslash and user):
        raise InitError(
            f"'{text}' is no user of Qlik Sense: write DIRECTORY\\user, e.g. INTERNAL\\sa_repository"
        )
    return f"UserDirectory={directory}; UserId={user}"

"""`butler-mqtt health`: asks a running daemon whether it works, for containers and scripts."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import typer

from butler_mqtt.cli.options import ConfigOption, end, read_settings
from butler_mqtt.cli.terminal import echo
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import escaped
from butler_mqtt.settings import MonitoringSettings

#: An answer of `/healthz` has a few hundred bytes.
_MAX_BODY_BYTES = 65_536
#: Addresses that mean "all of this machine's" to a listener, and where it is asked then.
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared with, not listened on


def health(
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="BASE", help="A listener of the daemon; else as configured."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait for it.")] = 5.0,
    config: ConfigOption = None,
) -> None:
    """
    Ask the daemon on this machine whether it works.

    Exit codes: 0 it does, 1 it does not, 69 it is not reached.
    """
    if url is None:
        url = _configured(read_settings(config, check_files=False, log_in=False).monitoring)
        if url is None:
            echo("set monitoring.enable: true, or name another listener with --url", err=True)
            end(ExitCode.UNAVAILABLE)
    base = _parsed(url)
    from http.client import HTTPException  # noqa: PLC0415 -- the other commands need none of this

    try:
        status, body = _asked(base, timeout)
    except (OSError, HTTPException, UnicodeError) as error:
        echo(f"not reached: {escaped(url)}: {escaped(str(error) or type(error).__name__)}", err=True)
        end(ExitCode.UNAVAILABLE)
    healthy, text = _judged(status, body)
    echo(escaped(text), err=not healthy)
    raise typer.Exit(ExitCode.OK if healthy else ExitCode.FAILED)


def _configured(monitoring: MonitoringSettings) -> str | None:
    """Return where the monitoring listener is, None where it is off."""
    if not monitoring.enable:
        return None
    host = _ANYWHERE.get(monitoring.host, monitoring.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{monitoring.port}"


def _parsed(url: str) -> SplitResult:
    """Return the parts of *url*; ends the program with 2 where it is none."""
    try:
        base = urlsplit(url)
        usable = base.scheme in {"http", "https"} and base.hostname and (base.port is None or base.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise typer.BadParameter(f"'{url}' is no URL such as http://127.0.0.1:9464", param_hint="--url")
    return base


def _asked(base: SplitResult, timeout: float) -> tuple[int, bytes]:
    """
    Ask `/healthz`; returns status and body.

    Raises:
        OSError: It cannot be reached or does not answer in time.
        http.client.HTTPException: What answers does not speak HTTP.
        UnicodeError: The host name cannot be one.
    """
    from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415 -- as above

    kind = HTTPSConnection if base.scheme == "https" else HTTPConnection
    connection = kind(str(base.hostname), base.port, timeout=timeout)
    try:
        connection.request("GET", f"{base.path.rstrip('/').removesuffix('/healthz')}/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_BODY_BYTES)
    finally:
        connection.close()


def _judged(status: int, body: bytes) -> tuple[bool, str]:
    """Return whether an answer says that the daemon works, and a line about it."""
    try:
        answer = json.loads(body)
        checks: dict[str, str] = {str(name): str(fault) for name, fault in answer["checks"].items()}
        warnings = "".join(f"; {name}: {fault}" for name, fault in answer.get("warnings", {}).items())
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return False, f"not healthy: {status} without the answer of a butler-mqtt; is it another program?"
    faults = {name: fault for name, fault in checks.items() if fault != "ok"}
    if status == 200 and not faults:
        return True, f"healthy: {', '.join(checks)}{warnings}"
    return False, f"not healthy: {'; '.join(f'{name}: {fault}' for name, fault in faults.items()) or status}"

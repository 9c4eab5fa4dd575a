"""What `butler-mqtt check` prints: findings about configuration, journal, broker and Qlik server."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from butler_mqtt.checks.finding import Finding, State, ok, wrong
from butler_mqtt.cli import help_pages
from butler_mqtt.cli.terminal import echo, echo_json
from butler_mqtt.errors import ConfigError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.printable import counted, escaped_lines, wrapped
from butler_mqtt.settings import Settings

#: Printed before a line, by its state.
MARKS = {
    State.OK: "ok     ",
    State.WARNING: "WARNING",
    State.WRONG: "WRONG  ",
    State.UNREACHABLE: "NO ANSWER",
}


def check(settings: Settings, *, as_json: bool, save: Path | None = None) -> ExitCode:
    """
    Check the journal, the broker and the Qlik server, and print the findings.

    With *save* they are written into that folder too, with answers of the Qlik server.

    Returns:
        OK (warnings included), UNAVAILABLE when a service did not answer, FAILED
        when something is wrong.
    """
    # An error is a line of the report already: it is not logged too.
    logging.getLogger("butler_mqtt").addHandler(logging.NullHandler())
    findings: list[Finding] = []
    for finding in _findings(settings, save):
        findings.append(finding)
        if not as_json:
            show(finding)
    states = {finding.state for finding in findings}
    if as_json:
        echo_json([finding.as_json() for finding in findings], indent=2)
    else:
        _print_summary(findings)
    if State.UNREACHABLE in states:
        return ExitCode.UNAVAILABLE
    if State.WRONG not in states:
        return ExitCode.OK
    if not as_json:
        echo(f"read more: {help_pages.where(help_pages.ABOUT['check'])}", err=True)
    return ExitCode.FAILED


def print_problems(error: ConfigError) -> None:
    """Print the problems of a configuration that cannot be used, for machines."""
    findings = [wrong("configuration", f"{error.source}: {problem}", "") for problem in error.problems]
    echo_json([finding.as_json() for finding in findings], indent=2)


def _findings(settings: Settings, save: Path | None) -> Iterator[Finding]:
    if save is None:
        yield from _checked(settings)
        return
    from butler_mqtt.checks import site_record  # noqa: PLC0415 -- as below

    findings = []
    for finding in _checked(settings):
        findings.append(finding)
        yield finding
    yield site_record.save(save, settings.qrs, findings)


def _checked(settings: Settings) -> Iterator[Finding]:
    # Loaded here: the other commands need none of it.
    from butler_mqtt.checks import (  # noqa: PLC0415 -- see above
        addresses,
        broker,
        butler_notifications,
        machine,
        qlik,
        rest_tokens,
        sender_certificates,
    )

    yield ok("configuration", "the file is valid")
    if not settings.mqtt.enable and not settings.rest.enable:
        yield wrong(
            "configuration", "neither MQTT nor REST is enabled", "enable mqttConfig or restServerConfig"
        )
    yield from butler_notifications.check(settings)
    yield from machine.check(settings)
    yield from addresses.check(settings)
    yield from rest_tokens.check(settings.rest)
    yield from sender_certificates.check(settings)
    if settings.mqtt.enable:
        yield from broker.check(settings.mqtt, settings.start_task, settings.rules)
    yield from qlik.check(settings)


def show(finding: Finding) -> None:
    """Print one line of the report, and the advice."""
    line = f"{MARKS[finding.state]}  {finding.name}: {escaped_lines(finding.text)}"
    echo(wrapped(line, sys.stdout, hanging=9))
    if finding.advice:
        echo(wrapped(f"         → {escaped_lines(finding.advice)}", sys.stdout, hanging=11))


def _print_summary(findings: Iterable[Finding]) -> None:
    bad = [finding for finding in findings if finding.state in {State.WRONG, State.UNREACHABLE}]
    warned = sum(finding.state is State.WARNING for finding in findings)
    echo("")
    if bad:
        names = ", ".join(finding.name for finding in bad)
        echo(wrapped(f"{len(bad)} to fix: {names}", sys.stdout, hanging=2))
    elif warned:
        echo(f"it works, with {counted(warned, 'warning')}")
    else:
        echo("everything works")

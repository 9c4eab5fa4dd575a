"""`butler-mqtt demo`: the tour on this machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class BrokerChoice(StrEnum):
    """Which broker the demo runs with."""

    AUTO = "auto"
    MOSQUITTO = "mosquitto"
    EMBEDDED = "embedded"


def demo(
    broker: Annotated[
        BrokerChoice,
        typer.Option("--broker", help="auto: mosquitto when it is installed, else a small one in Python."),
    ] = BrokerChoice.AUTO,
) -> None:
    """
    Show it at work on this machine, with all that it needs.

    A broker, a simulated Qlik server, the daemon, and their messages.
    """
    from butler_mqtt.demo.tour import demo as tour  # noqa: PLC0415 -- the other commands need none of this

    raise typer.Exit(tour(broker.value))

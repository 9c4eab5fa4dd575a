"""`butler-mqtt simulate-qrs`: the simulator, which reads its options itself."""

from __future__ import annotations

import typer

from butler_mqtt.cli import help_pages


def simulate_qrs(context: typer.Context) -> None:
    """Run a simulated Qlik Sense server, for tests and trials."""
    from butler_mqtt.simulator.__main__ import options  # noqa: PLC0415 -- the other commands need none of this
    from butler_mqtt.simulator.serving import serve  # noqa: PLC0415 -- as above

    page = help_pages.where(help_pages.ABOUT["simulate-qrs"])
    raise typer.Exit(serve(options(context.args, program="butler-mqtt simulate-qrs", page=page)))

"""`butler-mqtt cancel`: takes a request back, as any sender can; sent by `start_request`."""

from __future__ import annotations

from typing import Annotated

import typer

from butler_mqtt.cli.options import (
    ConfigOption,
    JsonOption,
    OfSenderOption,
    TimeoutOption,
    end,
    read_settings,
)


def cancel(
    cancelled: Annotated[str, typer.Argument(metavar="ID", help="The requestId of the request.")],
    stop_running: Annotated[
        bool,
        typer.Option("--stop-running", help="Also stop what it alone began; needs startTask.allowStop."),
    ] = False,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="The id of the cancel itself; again, it has its reply.")
    ] = None,
    sender: Annotated[str | None, typer.Option("--sender", help="Free text for the daemon's audit.")] = None,
    of_sender: OfSenderOption = None,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take a request back: what it has not begun will not begin."""
    from butler_mqtt.cli import start_request  # noqa: PLC0415 -- the other commands need none of this

    document: dict[str, object] = {"cancel": cancelled}
    if stop_running:
        document["stopRunning"] = True
    more = {"requestId": request_id, "sender": sender}
    document |= {key: value for key, value in more.items() if value is not None}
    settings = read_settings(config, check_files=False)
    try:
        mqtt = start_request.on_topic_of(settings, of_sender)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--of-sender") from None
    end(start_request.start(mqtt, document, timeout=timeout, as_json=as_json))

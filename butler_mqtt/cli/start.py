"""`butler-mqtt start`: its options; the request is sent by `start_request`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from butler_mqtt.cli.options import (
    ConfigOption,
    JsonOption,
    LongOption,
    OfSenderOption,
    TimeoutOption,
    end,
    read_settings,
)
from butler_mqtt.cli.selection import (
    AllMustExistOption,
    CustomPropertyOption,
    MatchOption,
    TagOption,
    TaskIdOption,
    TaskNameOption,
    request_document,
)
from butler_mqtt.cli.stage_option import StageOption


class IfRunning(StrEnum):
    """What a request means for a task that runs already."""

    QUEUE = "queue"
    SKIP = "skip"


def start(
    tag: TagOption = None,
    task_id: TaskIdOption = None,
    task_name: TaskNameOption = None,
    custom_property: CustomPropertyOption = None,
    match: MatchOption = None,
    all_must_exist: AllMustExistOption = False,
    stage: StageOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide everything, start nothing.")] = False,
    if_running: Annotated[
        IfRunning | None,
        typer.Option("--if-running", help="For a task that runs already; else as the daemon is configured."),
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="The same id again starts nothing a second time.")
    ] = None,
    sender: Annotated[str | None, typer.Option("--sender", help="Free text for the daemon's audit.")] = None,
    expires_at: Annotated[
        str | None,
        typer.Option("--expires-at", metavar="TIME", help="Start nothing after this time (RFC 3339)."),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Show the tasks' progress until all have ended; 0 if all succeeded."),
    ] = False,
    of_sender: OfSenderOption = None,
    timeout: TimeoutOption = 60.0,
    as_json: JsonOption = False,
    long: LongOption = False,
    config: ConfigOption = None,
) -> None:
    """
    Send the running daemon a request over MQTT; show its reply.

    It goes the way of any sender's.
    """
    from butler_mqtt.cli import start_request  # noqa: PLC0415 -- the other commands need none of this

    document = request_document(tag, task_id, task_name, custom_property, match, all_must_exist, stage)
    if dry_run:
        document["dryRun"] = True
    more = {"ifRunning": if_running, "requestId": request_id, "sender": sender, "expiresAt": expires_at}
    document |= {key: value for key, value in more.items() if value is not None}
    # The files of `cert` are the daemon's: a sender on another machine has none.
    settings = read_settings(config, check_files=False)
    try:
        mqtt = start_request.on_topic_of(settings, of_sender)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--of-sender") from None
    end(start_request.start(mqtt, document, timeout=timeout, as_json=as_json, wait=wait, long=long))

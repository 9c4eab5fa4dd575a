"""A request that a command publishes as any sender does, and the reply to it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from butler_mqtt.cli import printing, start_wait
from butler_mqtt.errors import BrokerError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.mqtt.requester import Requester
from butler_mqtt.settings import MqttSettings, Settings


def on_topic_of(settings: Settings, sender: str | None) -> MqttSettings:
    """
    Return the broker with the topic of a sender as the one to publish on; None: the common one.

    Raises:
        ValueError: There is no such sender, or it has no topic; the text says what to do.
    """
    if sender is None:
        return settings.mqtt
    known = {one.name: one for one in settings.senders}
    if sender not in known:
        raise ValueError(f"the configuration has no sender {sender}; it has: {', '.join(known) or 'none'}")
    topic = known[sender].topic
    if topic is None:
        raise ValueError(f"the sender {sender} has no topic: send the request over REST with its token")
    return replace(settings.mqtt, task_start_topic=topic)


def start(
    mqtt: MqttSettings,
    document: Mapping[str, object],
    *,
    timeout: float,
    as_json: bool,
    wait: bool = False,
    long: bool = False,
) -> ExitCode:
    """
    Ask the daemon behind a broker to start tasks, and print its reply.

    Args:
        mqtt: The broker and the topics.
        document: The request; it gets a `requestId` when it has none.
        timeout: Seconds to wait for the reply.
        as_json: Print the reply as one line of JSON, else as a table.
        wait: Show the tasks' progress and wait for their end first.
        long: With ids whole, also on a narrow terminal.

    Returns:
        OK when all was done as asked (with *wait*: when the outcome is `succeeded`),
        FAILED when something was denied, failed, not found or refused,
        UNAVAILABLE without broker or reply.
    """
    document = {"requestId": f"cli-{secrets.token_hex(8)}", **document}
    request_id = document["requestId"]
    try:
        with ExitStack() as stack:
            with printing.progress() as progress:
                task = progress.add_task(f"connecting to {mqtt.broker_host}:{mqtt.broker_port}")
                sender = stack.enter_context(Requester(mqtt, hear_events=wait))
                last = b""
                if wait:
                    # Sent first, so that the request waits for the end; the second message is its
                    # duplicate and gets the decision at once.
                    last = sender.ask({**document, "wait": "finished"})
                ticket = sender.ask(document)
                progress.update(task, description=f"request {request_id} is published; waiting for the reply")
                payload = sender.receive(ticket, timeout)
                presence = sender.presence()
            answer: dict[str, Any] = json.loads(payload) if payload is not None else {}
            if wait and "tasksStarted" in answer and not document.get("dryRun"):
                return start_wait.until_the_end(
                    mqtt, document, sender, last, answer, timeout=timeout, as_json=as_json, long=long
                )
    except BrokerError as error:
        printing.print_error(str(error))
        return ExitCode.UNAVAILABLE
    if payload is None:
        printing.print_error(
            f"no reply to request {request_id} within {timeout:g} s; {presence}.\n"
            "The broker has the request, the daemon processes it when it runs. The same command with "
            f"--request-id {request_id} requests the reply again; it starts nothing twice."
        )
        return ExitCode.UNAVAILABLE
    printing.show(answer, as_json=as_json, long=long)
    return ExitCode.OK if answer.get("status") == "ok" else ExitCode.FAILED

"""What `butler-mqtt resolve` prints: the tasks a request selects, which are denied, which run."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from butler_mqtt.cli import printing
from butler_mqtt.contract import replies, validation
from butler_mqtt.domain import decisions
from butler_mqtt.domain.decisions import Decision, SenderGate
from butler_mqtt.domain.model import Request, Task
from butler_mqtt.domain.senders import ANYBODY, Caller, Senders, asked
from butler_mqtt.errors import QlikError, QlikRefused, RequestError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.settings import Settings


def resolve(settings: Settings, document: Mapping[str, object], *, as_json: bool, long: bool) -> ExitCode:
    """
    Ask the Qlik server which tasks a request selects, and print them.

    Returns:
        OK when there are tasks that the request may start, FAILED when there
        are none or it would be refused, UNAVAILABLE without an answer.
    """
    try:
        answer = ask(settings, document)
    except RequestError as error:
        answer = refused(error)
        printing.show(answer, as_json=as_json, long=long)
        return ExitCode.FAILED
    except QlikError as error:
        printing.print_error(str(error))
        return ExitCode.UNAVAILABLE
    printing.show(answer, as_json=as_json, long=long)
    return ExitCode.OK if answer["tasks"] else ExitCode.FAILED


def refused(error: RequestError) -> dict[str, Any]:
    """Return what is printed of a request that would be refused."""
    answer = replies.refusal("", error)
    del answer["requestId"]
    return answer


def ask(
    settings: Settings,
    document: Mapping[str, object],
    *,
    parameters: bool = False,
    caller: Caller = ANYBODY,
) -> dict[str, Any]:
    """
    Return which tasks the request *document* means, which of them are denied, and what was not found.

    *caller* is whose gate judges it beside the allow-list, and a task that is denied tells which did;
    *parameters* says whether the request may have some.

    Raises:
        RequestError: The request would be refused.
        QlikError: The server does not answer, or refuses to.
    """
    # The error at the end says the same: it is not logged too.
    logging.getLogger("butler_mqtt").addHandler(logging.NullHandler())
    request = validation.parse(
        json.dumps(document).encode(),
        max_bytes=settings.mqtt.max_payload_bytes,
        max_selectors=settings.start_task.max_tasks_per_request,
        parameters=parameters,
    )
    senders = Senders(settings)
    if refusal := senders.forbids(caller, *asked(request)):
        raise refusal
    own = senders.gate(caller.identity, dry_run=request.dry_run)
    qrs = RepositoryClient(settings.qrs, threading.Event())
    with closing(qrs.connection()) as connection, printing.progress() as progress:
        progress.add_task(f"asking {settings.qrs.host}:{settings.qrs.port}")
        decision = _decide(request, connection, settings, own)
        tasks = [_of_stage(decision, task) | _status(task, connection) for task in decision.tasks]
    missing = replies.not_found(decision.not_found)
    denied = [
        replies.denied(task) | _of_stage(decision, task) | _gate(task, settings, own)
        for task in decision.denied
    ]
    status = "failed" if not tasks else "partial" if missing or denied else "ok"
    return {"status": status, "tasks": tasks, "tasksDenied": denied, "tasksNotFound": missing}


def _decide(
    request: Request, connection: RepositoryConnection, settings: Settings, own: SenderGate | None
) -> Decision:
    answers = {}
    for selector, found in connection.find(request.selectors).items():
        if isinstance(found, QlikRefused):
            raise found
        answers[selector] = found
    return decisions.decide(
        request,
        answers,
        allow=settings.start_task_filter,
        max_tasks=settings.start_task.max_tasks_per_request,
        own=own,
    )


def _gate(task: Task, settings: Settings, own: SenderGate | None) -> dict[str, object]:
    """Return which of two gates denies *task*; where there is one only, that is known."""
    gate = decisions.shut_gate(task, settings.start_task_filter, own) if own is not None else None
    return {} if gate is None else {"reason": gate}


def _of_stage(decision: Decision, task: Task) -> dict[str, object]:
    return {"stage": decision.stages[task.id]} if decision.stages else {}


def _status(task: Task, connection: RepositoryConnection) -> dict[str, object]:
    entry: dict[str, object] = {"taskId": task.id, "taskName": task.name, "status": "wouldStart"}
    running = next((one for one in connection.snapshot(task).executions if one.active), None)
    if running is not None:
        entry |= {"status": "running", "executionId": running.id}
    elif task.enabled is False:
        entry["status"] = "disabled"
    return entry

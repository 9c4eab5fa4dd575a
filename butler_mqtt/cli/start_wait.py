"""`start --wait`: shows the progress of a request's tasks until all have ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from butler_mqtt.cli import printing
from butler_mqtt.cli.result_table import Cell, ResultTable, cut_id
from butler_mqtt.cli.start_progress import Outcome, Outcomes, succeeded
from butler_mqtt.errors import BrokerError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.mqtt.requester import Requester
from butler_mqtt.printable import counted
from butler_mqtt.settings import MqttSettings

#: Seconds between two updates of the durations shown.
TICK_SECONDS = 0.25
#: Seconds to wait after the reply for the event about a task that failed.
LATE_SECONDS = 2.0
#: Seconds between two attempts to reach a broker that was lost.
AGAIN_SECONDS = 1.0

_STYLES = {"succeeded": "green", "queued": "yellow", "started": "yellow", "running": "yellow"}


def until_the_end(
    mqtt: MqttSettings,
    document: Mapping[str, object],
    sender: Requester,
    ticket: bytes,
    first: Mapping[str, Any],
    *,
    timeout: float,
    as_json: bool,
    long: bool,
) -> ExitCode:
    """
    Wait for the end of a request that has its first reply, and print how it ended.

    The request waits for the end already; it is sent again only over a new
    connection, when this one is lost. A daemon that is restarted in between
    answers it too, and starts nothing twice.

    Args:
        mqtt: The broker and the topics.
        document: The request as it was sent, with its `requestId`.
        sender: The connection on which the first reply came.
        ticket: For the reply at the end on that connection.
        first: That reply.
        timeout: Seconds for which the broker may be unreachable.
        as_json: Print the last reply as one line of JSON, else a table.
        long: With ids whole, also on a narrow terminal.

    Returns:
        OK when the outcome is `succeeded`, else FAILED; UNAVAILABLE when the broker is lost.
    """
    outcomes = Outcomes(str(document["requestId"]))
    outcomes.reply(first)
    question = {**document, "wait": "finished"}
    console = Console(stderr=True, markup=False, highlight=False)
    try:
        with _live(console) if console.is_terminal else nullcontext() as live:
            answer = _last_reply(mqtt, sender, ticket, question, outcomes, live, timeout)
    except BrokerError as error:
        printing.print_error(f"{error}\n{_continues(outcomes)}")
        return ExitCode.UNAVAILABLE
    except KeyboardInterrupt:
        printing.print_error(_continues(outcomes))
        return ExitCode.FAILED
    if as_json:
        printing.show(outcomes.complete(answer), as_json=True)
    else:
        _show(outcomes, answer, long=long)
    return ExitCode.OK if succeeded(answer) else ExitCode.FAILED


def _live(console: Console) -> Live:
    return Live(console=console, transient=True, auto_refresh=False)


def _last_reply(
    mqtt: MqttSettings,
    sender: Requester,
    ticket: bytes,
    question: Mapping[str, object],
    outcomes: Outcomes,
    live: Live | None,
    timeout: float,
) -> dict[str, Any]:
    """Wait for the reply at the end; over a new connection when the first was lost."""
    try:
        return _receive(sender, ticket, outcomes, live)
    except BrokerError:
        deadline = time.monotonic() + timeout
    while True:
        time.sleep(AGAIN_SECONDS)
        try:
            with Requester(mqtt, hear_events=True) as again:
                deadline = time.monotonic() + timeout
                return _receive(again, again.ask(question), outcomes, live)
        except BrokerError:
            if time.monotonic() >= deadline:
                raise


def _receive(sender: Requester, ticket: bytes, outcomes: Outcomes, live: Live | None) -> dict[str, Any]:
    while not sender.has_reply(ticket):
        sender.wait(lambda: sender.events or sender.has_reply(ticket), TICK_SECONDS)
        _apply_events(sender, outcomes)
        if live is not None:
            stages = [Text(*printing.stage_line(stage)) for stage in outcomes.stages.values()]
            live.update(Group(*stages, _table(outcomes).for_console(live.console)), refresh=True)
    answer: dict[str, Any] = json.loads(sender.receive(ticket, 0.0) or b"{}")
    outcomes.reply(answer)

    def complete() -> bool:
        _apply_events(sender, outcomes)
        return not outcomes.unreported()

    sender.wait(complete, LATE_SECONDS)
    return answer


def _apply_events(sender: Requester, outcomes: Outcomes) -> None:
    while sender.events:
        try:
            event = json.loads(sender.events.popleft())
        except ValueError:
            continue  # not from the daemon
        of_task, of_stage = {"event", "taskId", "taskName"}, {"requestId", "stage", "status"}
        if isinstance(event, dict) and (of_task <= set(event) or of_stage <= set(event)):
            outcomes.event(event)


def _continues(outcomes: Outcomes) -> str:
    return (
        f"Request {outcomes.request_id} continues without this command. "
        f"The same command with --request-id {outcomes.request_id} shows its end and starts nothing twice."
    )


def _table(outcomes: Outcomes) -> ResultTable:
    staged = bool(outcomes.stages)
    headings = ("task", "state", "seconds", "execution, or reason", "task id")
    table = ResultTable(("stage", *headings) if staged else headings, right=frozenset({"seconds"}))
    now = time.monotonic()
    for one in sorted(outcomes.tasks.values(), key=lambda one: one.stage or len(outcomes.stages) + 1):
        seconds = one.seconds(now)
        table.add(
            *([_stage(outcomes, one.stage)] if staged else []),
            Cell(one.task_name),
            Cell(one.state, _STYLES.get(one.state, "red")),
            Cell("" if seconds is None else f"{seconds:.1f}"),
            Cell(_facts(one), short=_facts(one, cut_id)),
            printing.id_cell(one.task_id),
        )
    return table


def _stage(outcomes: Outcomes, number: int) -> Cell:
    """Return the number and the name of a stage."""
    name = outcomes.stages.get(number, {}).get("name")
    return Cell(f"{number} {name}" if name else str(number or ""))


def _facts(one: Outcome, as_id: Callable[[str], str] = str) -> str:
    if one.state == "queued":
        behind = one.facts.get("behind")
        return str(one.facts.get("reason", "")) + (f", behind {as_id(behind)}" if behind else "")
    return as_id(one.execution_id) if one.execution_id else str(one.facts.get("code") or "")


def _show(outcomes: Outcomes, answer: Mapping[str, Any], *, long: bool) -> None:
    if "error" in answer:
        printing.show(answer, as_json=False)
    else:
        good = sum(one.state == "succeeded" for one in outcomes.tasks.values())
        line = f"request {outcomes.request_id}: {good} of {len(outcomes.tasks)} succeeded"
        if "outcome" in answer:
            line += f", outcome: {answer['outcome']}"
        printing.print_text(line, "bold")
    for stage in outcomes.stages.values():
        printing.print_text(*printing.stage_line(stage))
    if outcomes.tasks:
        _table(outcomes).show(long=long)
    for entry in answer.get("tasksNotFound", ()):
        printing.print_text(f"{printing.selector(entry)} not found", "red")
    failed = [one for one in outcomes.tasks.values() if one.state != "succeeded" and not succeeded(answer)]
    for one in failed:
        printing.print_text("")
        _explain(one)


def _explain(one: Outcome) -> None:
    """Print why a task did not succeed, and the end of its script log."""
    printing.print_text(f"{one.task_name}: {one.state}", "bold red")
    for name in ("reason", "code", "message", "details"):
        value = one.facts.get(name)
        if isinstance(value, list):
            value = None if one.facts.get("message") else "; ".join(map(str, value))
        if value:
            printing.print_text(f"  {name}: {value}")
    lines = one.facts.get("scriptLog", ())
    if lines:
        printing.print_text(f"  last {counted(len(lines), 'line')} of the script log:")
        for line in lines:
            printing.print_text(f"    {line}")

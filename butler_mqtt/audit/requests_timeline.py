"""The timeline of a request: every step with its time, from its rows in the journal. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from butler_mqtt.contract import stage_plans
from butler_mqtt.contract.selectors import selectors_of
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.domain.model import Selector
from butler_mqtt.journal import held_requests
from butler_mqtt.journal.request_rows import RequestRows
from butler_mqtt.printable import counted

Row = Mapping[str, Any]

#: What found a task where that is said by the task itself.
_ITSELF = {"taskId": "by its id", "taskName": "by its name"}
#: The kind of a note that has the last lines of a script log.
SCRIPT_LOG = "scriptLog"

_WAITS = {
    "running": "behind execution {behind}, which ran already",
    "capacity": "for capacity: maxConcurrentReloads executions of ours ran",
    "notBefore": "for its notBefore",
    "stage": "for its stage",
}


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing that happened.

    `time` is in milliseconds since 1970, `step` one of the documented words,
    `task_id` the task it is about, if it is about one.
    """

    time: int
    step: str
    text: str
    task_id: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the step for programs."""
        of_task = {"taskId": self.task_id} if self.task_id else {}
        return {"time": stamp_ms(self.time), "step": self.step, "text": self.text, **of_task}


def steps(request_rows: RequestRows) -> list[Step]:
    """Return what happened to a request, in order of time."""
    timeline = [
        *_arrivals(request_rows),
        *_decision(request_rows),
        *_stages(request_rows),
        *(step for start in request_rows.starts for step in _start(request_rows, start)),
        *_end(request_rows),
        *_replies(request_rows),
        *_messages(request_rows),
        *_notes(request_rows),
    ]
    timeline += _process_starts(request_rows, timeline)
    # A stable sort: steps of one transaction stay in the order above.
    return sorted(timeline, key=lambda step: step.time)


def _arrivals(request_rows: RequestRows) -> Iterator[Step]:
    for number, delivery in enumerate(request_rows.deliveries, 1):
        facts = [
            f"through {delivery['door']}",
            f"on {delivery['topic']}" if delivery["topic"] else "",
            f"from {delivery['principal']}" if delivery["principal"] else "",
            f"{delivery['size']} bytes",
            f"reply to {delivery['reply_topic']}" if delivery["reply_topic"] else "",
            "reply wanted when all has finished" if delivery["wait"] == "finished" else "",
        ]
        again = f" again (delivery {number})" if number > 1 else ""
        yield Step(
            delivery["received_at"],
            "arrived",
            f"arrived{again}: " + ", ".join(fact for fact in facts if fact),
        )
    left = (
        request_rows.deliveries[0]["total"] - len(request_rows.deliveries) if request_rows.deliveries else 0
    )
    if left:
        last = request_rows.deliveries[-1]["received_at"]
        yield Step(last, "arrived", f"arrived {left} times more, not shown here")


def _decision(request_rows: RequestRows) -> Iterator[Step]:
    request = request_rows.request
    at = request["decided_at"] or request["closed_at"]
    if at is None:
        return
    wanted = [start for start in request_rows.starts if start["state"] != "denied"]
    cancelled = json.loads(request["document"] or "{}").get("cancel")
    if cancelled is not None:
        if request["decided_at"] is not None:
            text = f"decided: of request {cancelled} something is in doubt or being stopped; the reply waits"
            yield Step(at, "decided", text)
        return
    found = partial(_found, _selectors(request) if request_rows.starts else ())
    if request["decided_at"] is not None:
        names = ", ".join(f"{start['task_name']} ({found(start['kinds'])})" for start in wanted) or "none"
        yield Step(at, "decided", f"decided: tasks selected: {names}")
    for selector in json.loads(request["not_found"] or "[]"):
        yield Step(at, "notFound", f"not found: {json.dumps(selector, ensure_ascii=False)}")
    for start in request_rows.starts:
        if start["state"] == "denied":
            by = found(start["kinds"])
            text = f"denied: {start['task_name']} ({by}): the allow-list does not let it start"
            yield Step(at, "denied", text, start["task_id"])


def _selectors(request: Row) -> Sequence[Selector]:
    """Return the selectors of a request, by whose places its starts say what found them."""
    document = json.loads(request["document"] or "{}")
    return selectors_of(document) or stage_plans.selectors(stage_plans.read(document.get("stages", ())))


def _found(selectors: Sequence[Selector], kinds: str) -> str:
    """Write in words what found a task, of places as `tag:0,taskId:2`."""
    words = []
    for one in kinds.split(","):
        kind, _, place = one.partition(":")
        if kind in _ITSELF:
            words.append(_ITSELF[kind])
        elif place.isdigit() and int(place) < len(selectors):
            selector = selectors[int(place)]
            words.append(f"{selector.name}={selector.value}" if selector.name else f"{kind} {selector.value}")
        else:
            words.append(one)
    return ", ".join(dict.fromkeys(words))


def _stages(request_rows: RequestRows) -> Iterator[Step]:
    """Yield when each stage began and ended, and which will not begin."""
    last = max([stage["ended_at"] or 0 for stage in request_rows.stages], default=0)
    for stage in request_rows.stages:
        name = f"stage {stage['number']}" + (f" ({stage['name']})" if stage["name"] else "")
        starts = [start for start in request_rows.starts if start["stage"] == stage["number"]]
        if stage["began_at"] is not None:
            names = ", ".join(start["task_name"] for start in starts if start["state"] != "denied") or "none"
            yield Step(stage["began_at"], "stageBegan", f"{name} began: tasks: {names}")
        if stage["ended_at"] is not None:
            text = f"{name} {stage['state']}{_what_failed(stage, starts)}"
            yield Step(stage["ended_at"], "stageEnded", text)
        if stage["state"] == "notStarted":
            at = last or request_rows.request["decided_at"] or request_rows.request["received_at"]
            yield Step(at, "stageNotStarted", f"{name} is not started")


def _what_failed(stage: Row, starts: Sequence[Row]) -> str:
    """Say what kept a stage from succeeding."""
    if stage["state"] != "failed":
        return ""
    reasons = [
        f"{start['task_name']} {start['skipped_result'] or start['state']}"
        for start in starts
        if (start["skipped_result"] or start["state"]) not in {"succeeded", "running", "skipped"}
    ]
    missing = json.loads(stage["not_found"] or "[]")
    reasons += [f"not found: {json.dumps(one, ensure_ascii=False)}" for one in missing]
    return ": " + ", ".join(reasons) if reasons else ""


def _start(request_rows: RequestRows, start: Row) -> Iterator[Step]:
    name, task_id = start["task_name"], start["task_id"]
    if start["reason"] is not None:
        why = _WAITS[start["reason"]].format(behind=start["behind"])
        if start["state"] == "waiting":
            yield Step(start["changed_at"], "waits", f"{name}: waits {why}", task_id)
        else:
            at = request_rows.request["decided_at"] or start["changed_at"]
            yield Step(at, "waited", f"{name}: had to wait {why}", task_id)
    run = request_rows.runs.get(start["run"])
    if run is not None:
        yield from _run(request_rows, start, run)
    if start["state"] in {"denied", "planned", "waiting", "running"}:
        return
    if run is None or run["result"] is None:
        because = ": ".join(str(start[key]) for key in ("code", "details") if start[key])
        text = f"{name}: {start['state']}" + (f": {because}" if because else "")
        if start["state"] == "skipped":
            ran = f"task {start['running_task']}, of the same app," if start["running_task"] else "it"
            text = f"{name}: skipped as asked, {ran} ran already (execution {start['execution_id']})"
        yield Step(start["changed_at"], start["state"], text, task_id)


def _run(request_rows: RequestRows, start: Row, run: Row) -> Iterator[Step]:
    name, task_id = start["task_name"], start["task_id"]
    others = list(request_rows.shared.get(run["id"], ()))
    shared = f", shared with {_some(others)}" if others else ""
    tries = f", posted {run['attempts']} times" if run["attempts"] > 1 else ""
    at = run["intended_at"]
    yield Step(at, "intended", f"{name}: start requested from Qlik (run {run['id']}{tries}{shared})", task_id)
    doubtful = run["details"] is not None and run["state"] != "none"
    if doubtful and not any(note["run"] == run["id"] for note in request_rows.notes):
        # A journal from before there were notes.
        yield Step(at, "inDoubt", f"{name}: the outcome was in doubt: {run['details']}", task_id)
    if run["state"] == "posted":
        yield Step(at, "inDoubt", f"{name}: the run is being reconciled with the Qlik server", task_id)
    if run["answered_at"] is None:
        return
    if run["state"] in {"executing", "ended"}:
        reconciled = "reconciled: " if doubtful or start["adopted"] else ""
        began = f"execution {run['execution_id']} began"
        if run["execution_id"] is None:
            began = "Qlik accepted it; this kind of task has no execution id and cannot be tracked"
        elif start["adopted"]:
            began = f"execution {run['execution_id']}, which began after the request, is adopted"
        yield Step(run["answered_at"], "began", f"{name}: {reconciled}{began}", task_id)
    elif run["state"] == "none" and start["state"] != "notStarted":
        yield Step(run["answered_at"], "beganNothing", f"{name}: this run began nothing", task_id)
    if run["result"] is not None:
        yield Step(run["ended_at"], "ended", f"{name}: {_outcome(run)}", task_id)


def _notes(request_rows: RequestRows) -> Iterator[Step]:
    of_run = {start["run"]: start for start in request_rows.starts}
    for note in request_rows.notes:
        start = of_run.get(note["run"]) if note["run"] is not None else None
        if note["kind"] in held_requests.KINDS:
            yield Step(note["noted_at"], "held", note["text"])
        elif start is None:
            yield Step(note["noted_at"], note["kind"], note["text"])
        elif note["kind"] == SCRIPT_LOG:
            lines = counted(len(note["text"].split("\n")), "line")
            text = f"{start['task_name']}: last {lines} of the script log:\n{note['text']}"
            yield Step(note["noted_at"], note["kind"], text, start["task_id"])
        else:
            text = f"{start['task_name']}: {note['text']}"
            yield Step(note["noted_at"], note["kind"], text, start["task_id"])


def _process_starts(request_rows: RequestRows, timeline: Sequence[Step]) -> Iterator[Step]:
    """Yield the restarts of the daemon while the request was open or its tasks ran."""
    going_on = (
        request_rows.request["closed_at"] is None
        or request_rows.messages
        or any(run["state"] in {"intended", "posted", "executing"} for run in request_rows.runs.values())
        or any(start["state"] in {"planned", "waiting"} for start in request_rows.starts)
    )
    last = max((step.time for step in timeline), default=0)
    for process_start in request_rows.process_starts:
        if going_on or process_start["began_at"] <= last:
            yield Step(
                process_start["began_at"],
                "restarted",
                f"butler-mqtt {process_start['version']} was started again",
            )


def _outcome(run: Row) -> str:
    facts = [f"execution ended: {run['result']}"]
    if run["duration_ms"] is not None:
        facts.append(f"after {run['duration_ms'] / 1000:g} s")
    if run["node"]:
        facts.append(f"on {run['node']}")
    if run["started_at"] is not None and run["stopped_at"] is not None:
        facts.append(f"(by Qlik's clock {stamp_ms(run['started_at'])} to {stamp_ms(run['stopped_at'])})")
    return " ".join(facts) + (f": {run['message']}" if run["message"] else "")


def _end(request_rows: RequestRows) -> Iterator[Step]:
    request = request_rows.request
    if request["closed_at"] is None:
        return
    reply = json.loads(request["reply"] or "{}")
    if request["state"] == "refused":
        text = f"refused: {reply.get('error', '')} ({request['code']}): {reply.get('details', '')}"
        yield Step(request["closed_at"], "refused", text)
    else:
        started = reply.get("totalTasksStarted", 0)
        yield Step(request["closed_at"], "closed", f"closed: {reply.get('status')}, {started} started")


def _replies(request_rows: RequestRows) -> Iterator[Step]:
    waiting = {message["delivery"] for message in request_rows.messages}
    many = len(request_rows.deliveries) > 1
    for number, delivery in enumerate(request_rows.deliveries, 1):
        which = f" to delivery {number}" if many else ""
        topic = delivery["reply_topic"]
        if delivery["answered_at"] is None:
            continue
        if topic is None:
            yield Step(delivery["answered_at"], "replied", f"reply{which} returned to the caller")
            continue
        yield Step(delivery["answered_at"], "replied", f"reply{which} written for {topic}")
        if delivery["confirmed_at"] is not None:
            yield Step(delivery["confirmed_at"], "delivered", f"the broker confirmed the reply{which}")
        elif delivery["id"] not in waiting:
            yield Step(delivery["answered_at"], "discarded", f"the reply{which} was discarded by an operator")


def _messages(request_rows: RequestRows) -> Iterator[Step]:
    for message in request_rows.messages:
        what = f"the {message['kind']} for {message['topic']}"
        if message["quarantined_at"] is not None and message["reason"] == held_requests.RESTORED:
            yield Step(message["quarantined_at"], "held", f"{what} is held: {message['reason']}")
        elif message["quarantined_at"] is not None:
            text = f"{what} is a dead letter, the broker refuses it: {message['reason']}"
            yield Step(message["quarantined_at"], "quarantined", text)
        else:
            refusals = f", which refused it {message['refusals']} times" if message["refusals"] else ""
            yield Step(message["created_at"], "unpublished", f"{what} waits for the broker{refusals}")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more requests"

"""Counts messages, replies, starts and executions, and finds contradictions between them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def gist(reply: Mapping[str, Any]) -> dict[str, object]:
    """Return the status of a reply, and names and codes of its tasks in order."""
    if "error" in reply:
        return {"code": reply["code"]}
    lists = {
        "started": [task["taskName"] for task in reply["tasksStarted"]],
        "denied": [task["taskName"] for task in reply.get("tasksDenied", [])],
        "failed": [f"{task['taskName']}: {task['code']}" for task in reply.get("tasksFailed", [])],
        "notFound": [next(iter(entry.values())) for entry in reply["tasksNotFound"]],
    }
    named = {name: sorted(map(str, tasks)) for name, tasks in lists.items() if tasks}
    return {"status": reply["status"], **named}


@dataclass
class Tally:
    """What the tour sent and received; `starts` is execution id → (request id, task id), from the replies."""

    sent: int = 0
    replies: int = 0
    starts: dict[str, tuple[str, str]] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def add(self, reply: Mapping[str, Any]) -> None:
        """Count a reply and its starts."""
        self.replies += 1
        for task in reply.get("tasksStarted", []):
            start = (reply["requestId"], task["taskId"])
            known = self.starts.setdefault(task["executionId"], start)
            if known != start:
                self.mistakes.append(
                    f"execution {task['executionId']} is in the replies to two requests: {known}, {start}"
                )

    def compare(self, received: int, executions: Mapping[str, str]) -> None:
        """
        Compare with all that was received and all that ran.

        Args:
            received: Replies that came, expected or not.
            executions: Execution id → task id, all that the server ever ran.
        """
        if not self.sent == self.replies == received:
            self.mistakes.append(
                f"{self.sent} messages sent, {received} replies received, {self.replies} expected"
            )
        for execution, (request, task) in self.starts.items():
            if executions.get(execution) != task:
                self.mistakes.append(
                    f"the reply to {request} has {task} as {execution}; the server ran no such execution"
                )
        for execution, task in executions.items():
            if execution not in self.starts:
                self.mistakes.append(f"the server ran {task} as {execution}, which is in no reply")
        pairs = list(self.starts.values())
        for request, task in set(pairs):
            if pairs.count((request, task)) > 1:
                self.mistakes.append(f"{request} started {task} {pairs.count((request, task))} times")

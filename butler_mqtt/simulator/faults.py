"""Faults that are injected into calls: which calls, when, and what goes wrong."""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema

KINDS = ("cut", "truncate", "hang", "slow", "status", "xsrf", "html", "garbage", "empty", "wrongJson")
#: Plain-text bodies of the statuses.
BODIES = {
    400: "Cannot parse the expression: ?",
    401: "Unauthorized",
    403: "Forbidden",
    404: "No matching endpoint found",
    429: "Too many requests",
    500: "Internal server error",
    502: "Bad gateway",
    503: "Service unavailable",
}
#: JSON schema of a fault as it is given.
DESCRIPTION: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["kind"],
    "properties": {
        "kind": {"enum": list(KINDS)},
        "path": {"type": "string"},
        "method": {"type": "string"},
        "taskId": {"type": "string"},
        "when": {"enum": ["before", "after"]},
        "status": {"type": "integer", "minimum": 200, "maximum": 599},
        "body": {"type": "string"},
        "seconds": {"type": "number", "minimum": 0},
        "retryAfter": {"type": ["integer", "string"]},
        "reset": {"type": "boolean"},
        "skip": {"type": "integer", "minimum": 0},
        "count": {"type": ["integer", "null"], "minimum": 1},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
        "seed": {"type": "integer"},
    },
}


class FaultError(Exception):
    """The description of a fault is wrong; the text says where."""


@dataclass
class Fault:
    """
    One injected fault.

    `path` is a shell pattern over the lower-case path, in which `*` also
    spans slashes. `before` means: the call has no effect on the site.
    `count` is how often it strikes, None without end; `skip` how many
    matching calls pass first; `seconds` belong to `hang` and `slow`.
    """

    id: int
    kind: str
    path: str = "*"
    method: str | None = None
    task_id: str | None = None
    before: bool = True
    status: int | None = None
    body: str | None = None
    seconds: float = 5.0
    retry_after: str | None = None
    reset: bool = True
    skip: int = 0
    count: int | None = 1
    probability: float = 1.0
    seed: int = 0
    struck: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable on purpose

    def strikes(self, method: str, path: str) -> bool:
        """Return whether this call is hit, and count it."""
        if self.count is not None and self.struck >= self.count:
            return False
        if self.method not in (None, method) or not fnmatch.fnmatchcase(path, self.path):
            return False
        if self.task_id is not None and self.task_id not in path:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.probability < 1 and self._random.random() >= self.probability:
            return False
        self.struck += 1
        return True

    def as_json(self) -> dict[str, Any]:
        """Return it as the admin endpoint shows it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "path": self.path,
            "method": self.method,
            "taskId": self.task_id,
            "when": "before" if self.before else "after",
            "status": self.status,
            "seconds": self.seconds,
            "retryAfter": self.retry_after,
            "skip": self.skip,
            "count": self.count,
            "probability": self.probability,
            "seed": self.seed,
            "struck": self.struck,
        }


class Faults:
    """All injected faults; the first that matches a call is applied."""

    def __init__(self) -> None:
        self._faults: dict[int, Fault] = {}
        self._next_id = 1

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults.values())

    def inject(self, raw: Any) -> Fault:
        """
        Plant the fault described by *raw*, see docs/simulator.md.

        Raises:
            FaultError: The description does not fit.
        """
        error = jsonschema.exceptions.best_match(
            jsonschema.Draft202012Validator(DESCRIPTION).iter_errors(raw)
        )
        if error is not None:
            raise FaultError(f"{error.json_path}: {error.message}")
        retry_after = raw.get("retryAfter")
        fault = Fault(
            id=self._next_id,
            kind=raw["kind"],
            path=raw.get("path", "*").lower(),
            method=raw["method"].upper() if "method" in raw else None,
            task_id=raw["taskId"].lower() if "taskId" in raw else None,
            before=raw.get("when", "before") == "before",
            status=raw.get("status"),
            body=raw.get("body"),
            seconds=float(raw.get("seconds", 5.0)),
            retry_after=None if retry_after is None else str(retry_after),
            reset=raw.get("reset", True),
            skip=raw.get("skip", 0),
            count=raw.get("count", 1),
            probability=float(raw.get("probability", 1.0)),
            seed=raw.get("seed", 0),
        )
        self._next_id += 1
        self._faults[fault.id] = fault
        return fault

    def remove(self, fault_id: int) -> bool:
        """Remove one; False when there is none with that id."""
        return self._faults.pop(fault_id, None) is not None

    def clear(self) -> None:
        """Remove all."""
        self._faults.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """Return the fault that hits this call, if any; *path* is lower-case."""
        return next((fault for fault in self._faults.values() if fault.strikes(method, path)), None)

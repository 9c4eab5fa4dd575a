"""Summaries of kills under load: a line each, or side by side as the table of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Numbers = Mapping[str, Any]

_BOTH = "broker and daemon"


def headline(run: Numbers) -> str:
    """Give what was done in one line."""
    return (
        f"{run['kills']} kills, seed {run['seed']}, tasks: {run['tasks']}, "
        f"killed: {run['victims']}, {run['seconds']} s"
    )


def table(runs: Sequence[Numbers]) -> str:
    """Give the runs side by side, in Markdown."""
    lines = [_line("", [f"seed {run['seed']}" for run in runs]), "|---" * (len(runs) + 1) + "|"]
    lines += [_line(name, [str(value(run)) for run in runs]) for name, value in _ROWS]
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"


def _broker_kills(run: Numbers) -> str:
    killed: Mapping[str, int] = run["killed"]
    both = sum(count for moment, count in killed.items() if moment.startswith(_BOTH))
    alone = sum(count for moment, count in killed.items() if moment.startswith("broker")) - both
    return f"{alone}, {both}" if alone or both else ""


def _at_moments(run: Numbers) -> int:
    killed: Mapping[str, int] = run["killed"]
    return sum(count for moment, count in killed.items() if not moment.endswith("at random"))


def _number(key: str) -> Callable[[Numbers], int]:
    return lambda run: run["numbers"].get(key, 0)


_ROWS: Sequence[tuple[str, Callable[[Numbers], object]]] = (
    ("tasks", lambda run: run["tasks"]),
    ("victims", lambda run: run["victims"]),
    ("clocks", lambda run: run.get("clocks", "right")),
    ("kills", lambda run: sum(run["killed"].values())),
    ("of these the broker alone, both at once", _broker_kills),
    ("right after a step or a log line", _at_moments),
    ("duration", lambda run: f"{run['seconds']} s"),
    ("requests", _number("requests")),
    ("deliveries sent", _number("deliveries sent, each with its correlation data")),
    ("deliveries answered", _number("deliveries answered")),
    ("runs in doubt or posted again", _number("runs that were in doubt or posted again")),
    ("starts adopted after looking at the server", _number("starts adopted after looking at the server")),
    ("executions on the server", _number("executions on the server")),
    ("runs with an execution", _number("runs with an execution")),
    ("faults", lambda run: len(run["faults"]) or "none"),
)

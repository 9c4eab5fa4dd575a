"""Switches for behaviour of the QRS that is not documented, or differs between sites."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints


class SwitchError(Exception):
    """There is no such switch, or it has no such value; the text says which."""


def camel(name: str) -> str:
    """Return the name a field has in JSON: `result_lag_seconds` is `resultLagSeconds`."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


@dataclass(frozen=True)
class Switches:
    """
    All switches with their defaults.

    Units are part of the name; `None` means "no limit" or "as the tasks file
    says". docs/simulator.md describes each.
    """

    pairing: Literal["any", "sameObject"] = "any"
    property_shorthand: Literal["accepted", "refused"] = "accepted"
    doubled_quote: Literal["refused", "accepted", "only"] = "refused"
    quoted_guid: Literal["refused", "accepted"] = "refused"
    error_text: Literal["escaped", "plain"] = "escaped"
    already_running: Literal["empty", "same", "second"] = "empty"
    same_app: Literal["parallel", "empty"] = "parallel"
    synchronous_body: Literal["object", "string"] = "object"
    user_sync_synchronous: Literal["201", "400"] = "201"
    unknown_task: Literal["404", "400"] = "404"
    list_limit: int | None = None
    result_lag_seconds: float = 0.0
    retry_results: Literal["several", "one"] = "several"
    results_kept: int = 10_000
    abstract_task: Literal["absent", "present"] = "absent"
    task_model: Literal["concrete", "base"] = "concrete"
    clock_offset_seconds: float = 0.0
    node_clock_seconds: tuple[float, ...] = (0.0,)
    date_age_seconds: float = 0.0
    date_header: Literal["live", "constant", "missing"] = "live"
    duration_factor: float = 1.0
    max_concurrent_engines: int | None = None
    engine_timeout_minutes: float = 30.0
    scheduler: Literal["present", "absent"] = "present"
    session_types: tuple[int, ...] = (0, 1, 2)
    user_header: Literal["required", "optional"] = "required"
    user_account: Literal["active", "inactive"] = "active"
    rights: Literal["full", "read", "none"] = "full"
    script_log: Literal["both", "old", "new"] = "both"
    script_log_available: bool = False
    script_log_lag_seconds: float = 0.0
    duplicate_callbacks: bool = False
    proxy_refusal: Literal["401", "redirect"] = "401"
    proxy_credentials: Literal["session", "always"] = "session"
    proxy_sessions: int | None = 5
    proxy_session_seconds: float = 1800.0
    listener: Literal["up", "abort", "refuse"] = "up"

    def as_json(self) -> dict[str, Any]:
        """Return every switch with its position."""
        return {camel(name): position for name, position in dataclasses.asdict(self).items()}

    def changed(self, positions: dict[str, Any]) -> Switches:
        """
        Give these switches with some in new *positions*.

        Raises:
            SwitchError: One is unknown or does not fit; nothing is changed.
        """
        fields = {camel(field): (field, hint) for field, hint in get_type_hints(Switches).items()}
        fitted: dict[str, Any] = {}
        for name, position in positions.items():
            if name not in fields:
                raise SwitchError(f"no switch {name!r}; there are: {', '.join(fields)}")
            field, hint = fields[name]
            fitted[field] = _fitted(name, position, hint)
        return dataclasses.replace(self, **fitted)


def _fitted(name: str, position: Any, hint: Any) -> Any:
    choices = get_args(hint)
    if hint is bool:
        if isinstance(position, bool):
            return position
    elif name == "sessionTypes" and isinstance(position, (list, tuple)):
        if all(type(one) is int for one in position):
            return tuple(position)
    elif name == "nodeClockSeconds":
        return _numbers(name, position)
    elif choices and all(isinstance(choice, str) for choice in choices):
        # YAML and JSON make numbers of 404 and 400.
        if str(position) in choices:
            return str(position)
        raise SwitchError(f"{name}: {position!r} is none of {', '.join(choices)}")
    elif position is None and type(None) in choices:
        return None
    elif isinstance(position, (int, float)) and not isinstance(position, bool):
        return _number(name, position, whole=hint is int or int in choices)
    raise SwitchError(f"{name}: {position!r} does not fit")


def _numbers(name: str, position: Any) -> tuple[float, ...]:
    several = position if isinstance(position, (list, tuple)) else [position]
    if not several or not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in several):
        raise SwitchError(f"{name}: {position!r} does not fit")
    return tuple(float(one) for one in several)


def _number(name: str, position: float, *, whole: bool) -> float:
    if whole and int(position) != position:
        raise SwitchError(f"{name}: {position!r} is not a whole number")
    if position < 0 and name != "clockOffsetSeconds":
        raise SwitchError(f"{name}: {position!r} is negative")
    return int(position) if whole else float(position)

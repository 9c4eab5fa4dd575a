"""The result of one check, and what an operator does about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class State(StrEnum):
    """How a check ended."""

    #: As it should be.
    OK = "ok"
    #: It works, and the operator should know.
    WARNING = "warning"
    #: It does not work.
    WRONG = "wrong"
    #: The service did not answer, so that nothing further can be checked.
    UNREACHABLE = "unreached"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `advice` is empty where nothing is to be done."""

    name: str
    state: State
    text: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        """Return the line for programs."""
        return {key: str(value) for key, value in asdict(self).items() if value}


def ok(name: str, text: str) -> Finding:
    """Return a finding that something is as it should be."""
    return Finding(name, State.OK, text)


def warning(name: str, text: str, advice: str) -> Finding:
    """Return a finding that something works and the operator should know."""
    return Finding(name, State.WARNING, text, advice)


def wrong(name: str, text: str, advice: str) -> Finding:
    """Return a finding that something does not work."""
    return Finding(name, State.WRONG, text, advice)


def unreachable(name: str, text: str, advice: str) -> Finding:
    """Return a finding that a service did not answer."""
    return Finding(name, State.UNREACHABLE, text, advice)

"""One line of a review, and what an operator does about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from butler_mqtt.journal.usage import LastUse


class Topic(StrEnum):
    """What a line of a review is about; also the order of its parts."""

    NOT_FOUND = "selectorNotFound"
    GONE = "taskGone"
    ASKED = "selectorInUse"
    FAILING = "taskFails"
    NO_MATCH = "entryWithoutTask"
    UNMATCHED = "ruleUnmatched"
    SILENT = "senderSilent"


@dataclass(frozen=True, slots=True)
class Remark:
    """
    A line of `topic`; `facts` are what it says, for programs.

    `row` is that of the last request it is about, 0 for none, and `last` that request.
    """

    topic: Topic
    text: str
    advice: str
    facts: Mapping[str, object] = field(default_factory=dict)
    row: int = 0
    last: LastUse | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """
    What a review found, from `since` to `until` (milliseconds since 1970).

    `tasks` is how many the Qlik server shows, None when it does not list them
    at once; `not_asked` is why it could not be asked. `left_out` are the lines of
    each topic beyond those that are kept.
    """

    since: int
    until: int
    requests: int
    tasks: int | None
    not_asked: str | None
    remarks: Sequence[Remark]
    left_out: Mapping[Topic, int] = field(default_factory=dict)

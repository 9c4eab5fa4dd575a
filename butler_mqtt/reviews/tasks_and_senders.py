"""Lines about tasks that fail, and senders that are silent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from butler_mqtt.domain.states import StartState
from butler_mqtt.journal.usage import SenderUse, TaskUse, Usage
from butler_mqtt.printable import counted
from butler_mqtt.reviews.remark import Remark, Topic

#: States of starts that a review counts, with their words, and what to do about the most frequent one.
_STATES = {
    StartState.FAILED: ("failed", "see why: butler-mqtt requests --state failed --task {}"),
    StartState.ABORTED: (
        "were aborted",
        "see why: butler-mqtt requests --state aborted --task {}",
    ),
    StartState.SKIPPED_BY_QLIK: (
        "were skipped by Qlik Sense",
        "see its message: butler-mqtt requests --state skippedByQlik --task {}",
    ),
    StartState.NOT_STARTED: (
        "were not started",
        "see the reason: butler-mqtt requests --state notStarted --task {}",
    ),
    StartState.UNKNOWN: ("may have begun or not", "look at the task in the QMC, and at the network to it"),
    StartState.DENIED: (
        "were denied",
        "allow the task in startTaskFilter and for the sender, or take it out of the requests",
    ),
    StartState.EXPIRED: ("expired before they began", "ask with a later expiresAt, or fewer tasks at a time"),
    StartState.SKIPPED: (
        "were skipped since it ran already",
        'ask less often, or with "ifRunning": "queue", so that it runs once more',
    ),
}
#: A silence is long from so many times the usual one on, and so many days at least; from half the period on
#: where a sender was heard on one day only.
USUAL_TIMES = 3
_DAY = 86_400_000


def failing(usage: Usage) -> Iterator[Remark]:
    """Give a line for each task of which starts failed or were skipped, those with the most first."""
    tasks = [(task, use, _wrong(use)) for task, use in usage.tasks.items()]
    for task, use, wrong in sorted(tasks, key=lambda one: (-sum(one[2].values()), one[0])):
        if not wrong:
            continue
        worst = max(wrong, key=lambda state: wrong[state])
        parts = ", ".join(f"{count} {_STATES[state][0]}" for state, count in wrong.items())
        yield Remark(
            Topic.FAILING,
            f"task {use.name} ({task}): of {counted(use.starts, 'start')} {parts}",
            _STATES[worst][1].format(task),
            {
                "taskId": task,
                "taskName": use.name,
                "starts": use.starts,
                **{state.value: count for state, count in wrong.items()},
            },
            use.last,
        )


def _wrong(use: TaskUse) -> dict[StartState, int]:
    counts = {state: use.states.get(state.value, 0) for state in _STATES}
    return dict(sorted(((state, n) for state, n in counts.items() if n), key=lambda one: -one[1]))


def silent(usage: Usage, until: int, configured: Iterable[str] = ()) -> Iterator[Remark]:
    """
    Give a line for each sender not heard of for long, compared with what is usual for it.

    Args:
        usage: Of the journal.
        until: Now, milliseconds since 1970.
        configured: The names of `senders`, which should all be heard of.
    """
    for sender in sorted(set(configured) - usage.senders.keys()):
        yield Remark(
            Topic.SILENT,
            f"sender {sender}: not heard of in {counted((until - usage.since) // _DAY, 'day')}",
            "ask its owner whether it is still in use; if not, remove it from senders, with its tokens",
            {"sender": sender, "requests": 0, "silentSeconds": None},
        )
    for sender, use in sorted(usage.senders.items(), key=lambda one: one[1].last):
        usual = _usual(use)
        for_ms = until - use.last
        long = (until - usage.since) / 2 if usual is None else USUAL_TIMES * max(usual, _DAY)
        if for_ms < long:
            continue
        before = (
            "it was heard on one day only"
            if usual is None
            else f"before that it was heard every {_days(usual)}"
        )
        yield Remark(
            Topic.SILENT,
            f"sender {sender}: silent for {counted(for_ms // _DAY, 'day')}; {before}",
            "ask its owner whether it is still in use, and try whether its requests arrive",
            {"sender": sender, "requests": use.requests, "silentSeconds": for_ms // 1000},
        )


def _days(milliseconds: float) -> str:
    days = round(milliseconds / _DAY)
    return "day" if days <= 1 else f"{days} days"


def _usual(use: SenderUse) -> float | None:
    """Return the mean time between two days on which a sender was heard; None when it was on one."""
    return (use.last - use.first) / (use.days - 1) if use.days > 1 else None

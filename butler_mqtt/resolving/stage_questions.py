"""
What the selectors of stages mean whose turn has come.

Each is asked after its turn came, whatever the cache has: tags may have changed
while the stages before it ran.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from butler_mqtt.domain.completions import Answers
from butler_mqtt.domain.model import Selector, Task
from butler_mqtt.errors import QlikRefused, RequestError

StageAnswer = Mapping[Selector, tuple[Task, ...] | QlikRefused] | RequestError


@dataclass(slots=True, eq=False)
class _Question:
    selectors: tuple[Selector, ...]
    since: float
    in_flight: bool = False


class StageQuestions:
    """Keeps questions until they are answered or given up."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}
        self._answered: list[tuple[int, StageAnswer]] = []

    def __bool__(self) -> bool:
        """Return whether there is something to ask."""
        return any(not question.in_flight for question in self._open.values())

    def ask(self, selectors: tuple[Selector, ...]) -> int:
        """Have *selectors* resolved after now; return the number of the answer."""
        number = next(self._numbers)
        self._open[number] = _Question(selectors, time.monotonic())
        return number

    def answers(self) -> list[tuple[int, StageAnswer]]:
        """Return the answers that have come, by their numbers, each once."""
        answered, self._answered = self._answered, []
        return answered

    def reset(self) -> None:
        """Forget all questions; what is answered of them is not returned."""
        self._open.clear()
        self._answered.clear()

    # ---- for the resolver

    def take(self, room: int) -> dict[int, tuple[Selector, ...]]:
        """Return questions with *room* selectors at most, one in any case; they are in flight now."""
        taken: dict[int, tuple[Selector, ...]] = {}
        for number, question in self._open.items():
            if question.in_flight:
                continue
            if taken and len(question.selectors) > room:
                break
            room -= len(question.selectors)
            question.in_flight = True
            taken[number] = question.selectors
        return taken

    def put_back(self, numbers: Iterable[int]) -> None:
        """Have questions asked again: the server did not answer."""
        for number in numbers:
            if number in self._open:
                self._open[number].in_flight = False

    def answered(self, numbers: Iterable[int], answers: Answers) -> None:
        """Accept what the server answered."""
        for number in numbers:
            question = self._open.pop(number, None)
            if question is not None:
                known = {selector: answers[selector] for selector in question.selectors}
                self._answered.append((number, known))

    def give_up(self, asked_before: float, error: RequestError) -> None:
        """Answer all questions with *error* that came before a monotonic time."""
        late = [number for number, question in self._open.items() if question.since <= asked_before]
        for number in late:
            del self._open[number]
            self._answered.append((number, error))


def selectors_of(questions: Mapping[int, Sequence[Selector]]) -> Iterable[Selector]:
    """Return the selectors of all questions."""
    return itertools.chain.from_iterable(questions.values())

"""Messages for rules wait in order, also where turns fail."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from butler_mqtt.domain.completions import RuleSessionBegan
from butler_mqtt.domain.model import Arrival, Message
from butler_mqtt.pipeline.rule_queue import RuleQueue


def arrival(number: int, generation: int) -> Arrival:
    return Arrival("rule", b"", number, Message("topic", b"", 1, generation))


class RuleQueueAgainstAList(RuleBasedStateMachine):
    """A queue whose changes count from `commit` on, against a list that is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = RuleQueue()
        self.kept: list[Arrival] = []
        self.present: list[Arrival] = []
        self.count = 0

    @rule(generation=st.integers(1, 2))
    def add(self, generation: int) -> None:
        self.count += 1
        self.queue.add(arrival(self.count, generation))
        self.present.append(arrival(self.count, generation))

    @precondition(lambda self: self.present)
    @rule()
    def take(self) -> None:
        assert self.queue.take() == self.present.pop(0)

    @rule()
    def commit(self) -> None:
        self.queue.commit()
        self.kept = list(self.present)

    @rule()
    def fail(self) -> None:
        self.queue.begin()
        self.present = list(self.kept)

    @rule(generation=st.integers(1, 3), present=st.booleans())
    def begin_with_a_session(self, generation: int, present: bool) -> None:
        self.fail()
        self.queue.session_began(RuleSessionBegan(generation, present))
        if present:
            self.present = [
                one for one in self.present if one.message and one.message.generation == generation
            ]
            self.kept = list(self.present)

    @invariant()
    def as_many_wait(self) -> None:
        assert len(self.queue) == len(self.present)


TestRuleQueueAgainstAList = RuleQueueAgainstAList.TestCase

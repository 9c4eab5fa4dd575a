"""The unit of work of one turn."""

from __future__ import annotations

from butler_mqtt.ledger.unit_of_work import NotCounting, UnitOfWork


class Counted(NotCounting):
    def __init__(self) -> None:
        self.doors: list[str] = []

    def received(self, door: str) -> None:
        self.doors.append(door)


def test_what_is_counted_is_counted_once_the_rows_are_on_disk() -> None:
    counted = Counted()
    turn = UnitOfWork(counted)
    turn.count(turn.counting.received, "mqtt")
    assert counted.doors == []
    for effect in turn.effects:
        effect()
    assert counted.doors == ["mqtt"]


def test_without_metrics_nothing_is_left_to_do_for_them() -> None:
    turn = UnitOfWork()
    turn.count(turn.counting.received, "mqtt")
    assert turn.effects == []

"""What is wrong at present, after a restart too."""

from __future__ import annotations

from collections.abc import Callable

from butler_mqtt.alerting.conditions import Conditions
from butler_mqtt.journal.sqlite import Journal, highest_ids
from butler_mqtt.ledger.unit_of_work import UnitOfWork


def test_it_is_counted_until_it_is_well_and_kept_with_each_turn(journal: Journal) -> None:
    turn = UnitOfWork()
    with journal.transaction() as transaction:
        turn.number_from(highest_ids(transaction))
    conditions = Conditions(turn)

    def do(step: Callable[[], object]) -> object:
        turn.begin()
        with journal.transaction() as transaction:
            found = step()
            turn.unit.write(transaction)
        again = Conditions(turn)
        with journal.transaction() as transaction:
            again.load(transaction)
        assert ("qrs" in again) is ("qrs" in conditions)
        return found

    do(lambda: conditions.worse("qrs", 5))
    do(lambda: conditions.worse("qrs", 9))
    assert "broker" not in conditions
    was = conditions.well("qrs")
    assert was is not None
    assert (was.since, was.times) == (5, 2)
    assert conditions.well("qrs") is None

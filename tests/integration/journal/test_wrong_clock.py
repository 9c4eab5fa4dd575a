"""A machine's clock that was or is wrong: what the journal makes of its times."""

from __future__ import annotations

from butler_mqtt.journal import tables
from butler_mqtt.journal.queries import newest_time
from butler_mqtt.journal.retention import Retention
from butler_mqtt.journal.sqlite import Journal
from tests.unit.test_steady_clock import DAY, MINUTE, NOW, Machine


def test_a_time_that_was_wrong_once_is_not_the_newest(journal: Journal) -> None:
    with journal.transaction() as connection:
        assert newest_time(connection) is None
        for number, began_at in enumerate([NOW, NOW + 40 * DAY, NOW + MINUTE]):
            values = {"id": number, "began_at": began_at, "version": "1"}
            connection.execute(tables.process_starts.insert(), values)
        assert newest_time(connection) == NOW + MINUTE


def test_nothing_is_pruned_while_the_clock_is_in_doubt(journal: Journal) -> None:
    machine = Machine()
    with journal.transaction() as connection:
        connection.execute(
            tables.requests.insert(),
            {
                "id": 1,
                "request_id": "a",
                "holds_id": True,
                "door": "mqtt",
                "state": "closed",
                "received_at": machine.right,
                "closed_at": machine.right,
            },
        )
        assert newest_time(connection) == machine.right
    retention = Retention(30, now=machine.steady.pruning_ms)
    machine.wrong = 40 * DAY
    for _ in range(3):
        with journal.transaction() as connection:
            assert not retention.step(connection)
    machine.wrong = 0
    with journal.transaction() as connection:
        assert not retention.step(connection)
        assert newest_time(connection) == machine.right

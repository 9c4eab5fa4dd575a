"""What the broker delivers again because it had not read our acknowledgement is recognised, however late."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing

import pytest

from butler_mqtt.domain.completions import AcknowledgementsRead
from butler_mqtt.domain.model import Message
from butler_mqtt.journal import tables
from butler_mqtt.settings import JournalSettings, MqttSettings, Settings, StartTask
from tests.pipeline.conftest import MakeHarness
from tests.pipeline.harness import Harness

#: Of which the harness of these tests has two on their way at a time.
MANY = 600


@pytest.fixture
def slow(make_harness: MakeHarness) -> Harness:
    """Give a harness whose broker reads no acknowledgements until it is told to."""
    harness = make_harness(Settings(mqtt=MqttSettings(receive_maximum=2)))
    harness.broker.reads = False
    return harness


def send(harness: Harness, count: int) -> list[Message]:
    """Have so many requests recorded and acknowledged, none with an id."""
    known = len(harness.rows(tables.deliveries))
    messages = [harness.send({"tag": f"none-{number}"}) for number in range(count)]
    harness.until(lambda: recorded(harness) == known + count)
    harness.turn()
    return messages


def recorded(harness: Harness) -> int:
    return len(harness.rows(tables.deliveries))


def deliver_again(harness: Harness, messages: Sequence[Message]) -> None:
    """Deliver messages again, and one more that shows when they are through."""
    before = recorded(harness)
    for message in messages:
        harness.deliver(message._replace(dup=True))
    last = harness.send({"tag": "last"})
    harness.until(lambda: any(row["packet_id"] == last.packet_id for row in harness.rows(tables.deliveries)))
    harness.turn()
    assert recorded(harness) > before


def copies(harness: Harness) -> Counter[int]:
    """Count the deliveries by packet id."""
    return Counter(row["packet_id"] for row in harness.rows(tables.deliveries))


def test_every_message_whose_acknowledgement_was_not_read_is_recognised_again_and_again(
    slow: Harness,
) -> None:
    messages = send(slow, MANY)
    for _ in range(2):
        slow.connect(present=True)
        deliver_again(slow, messages)
    assert set(copies(slow).values()) == {1}


def test_they_are_recognised_after_a_kill_of_the_daemon(slow: Harness) -> None:
    messages = send(slow, MANY)
    for _ in range(2):
        slow.restart()
        deliver_again(slow, messages)
    assert set(copies(slow).values()) == {1}


def test_what_is_new_between_them_pushes_none_out(slow: Harness) -> None:
    messages = send(slow, 20)
    slow.connect(present=True)
    for message in messages:
        slow.deliver(message._replace(dup=True))
        slow.send({"tag": "new"})
    slow.until(lambda: recorded(slow) == 40)
    slow.turn()
    assert set(copies(slow).values()) == {1}


def test_beyond_the_last_ones_a_message_is_new_once_its_acknowledgement_was_read(slow: Harness) -> None:
    messages = send(slow, 5)
    slow.broker.read()
    slow.turn()
    slow.connect(present=True)
    slow.deliver(messages[3]._replace(dup=True))
    slow.deliver(messages[4]._replace(dup=True))
    slow.deliver(messages[0]._replace(dup=True))
    slow.until(lambda: recorded(slow) == 6)
    slow.turn()
    assert [number for number, count in copies(slow).items() if count > 1] == [messages[0].packet_id]


def test_a_proof_is_of_the_acknowledgements_before_it_and_of_its_own_connection(slow: Harness) -> None:
    first = send(slow, 4)
    slow.connect(present=True)
    second = send(slow, 4)
    slow.broker.read()
    slow.turn()
    slow.connect(present=True)
    deliver_again(slow, first)
    assert set(copies(slow).values()) == {1}
    slow.deliver(second[0]._replace(dup=True))
    slow.until(lambda: copies(slow)[second[0].packet_id] == 2)


def test_a_late_word_on_an_earlier_connection_proves_nothing_of_this_one(slow: Harness) -> None:
    first_connection = slow.generation
    slow.connect(present=True)
    messages = send(slow, 5)
    slow.pipeline.emit(AcknowledgementsRead(first_connection, 5))
    slow.turn()
    slow.connect(present=True)
    deliver_again(slow, messages)
    assert set(copies(slow).values()) == {1}


def test_what_came_before_a_proof_is_compared_with_what_the_proof_lets_be_forgotten(slow: Harness) -> None:
    """A broker of MQTT 3.1.1 may send a message again on the same connection, before it reads the PUBACK."""
    messages = send(slow, 5)
    slow.connect(present=True)
    slow.deliver(messages[0]._replace(dup=True))
    slow.turn()
    slow.deliver(messages[0]._replace(dup=True))
    slow.broker.read()
    slow.turn()
    assert set(copies(slow).values()) == {1}


def test_a_redelivery_held_back_is_not_forgotten_by_the_proof_that_comes_meanwhile(
    make_harness: MakeHarness,
) -> None:
    harness = make_harness(
        Settings(mqtt=MqttSettings(receive_maximum=1), start_task=StartTask(max_open_requests=2)),
    )
    harness.broker.reads = False
    harness.connect(present=True)
    answered = harness.send({"tag": "none"})
    harness.replied(1)
    harness.site.down = True
    for number in range(2):
        harness.send({"tag": f"open-{number}"})
    harness.turn()
    harness.deliver(answered._replace(dup=True))
    harness.turn()
    harness.broker.read()
    harness.turn()
    harness.site.down = False
    harness.quiet()
    assert set(copies(harness).values()) == {1}


def test_a_first_copy_that_was_held_back_is_recorded_once(make_harness: MakeHarness) -> None:
    harness = make_harness(Settings(start_task=StartTask(max_open_requests=1)))
    harness.site.down = True
    harness.send({"tag": "open"})
    harness.turn()
    held = harness.send({"tag": "held"})
    harness.turn()
    harness.connect(present=True)
    harness.deliver(held._replace(dup=True))
    harness.turn()
    harness.site.down = False
    harness.quiet()
    assert set(copies(harness).values()) == {1}


def test_both_copies_in_one_turn_are_one_request(slow: Harness) -> None:
    message = slow.send({"tag": "none"})
    slow.connect(present=True)
    slow.deliver(message._replace(dup=True))
    slow.turn()
    assert copies(slow) == {message.packet_id: 1}


def test_a_packet_id_that_is_used_again_proves_that_the_message_before_was_acknowledged(
    slow: Harness,
) -> None:
    first = slow.send({"tag": "first"}, packet_id=7)
    slow.send({"tag": "second"}, packet_id=7)
    slow.until(lambda: recorded(slow) == 2)
    send(slow, 2)
    slow.connect(present=True)
    slow.deliver(first._replace(dup=True))
    slow.until(lambda: copies(slow)[7] == 3)


def test_in_a_new_session_none_is_recognised(slow: Harness) -> None:
    messages = send(slow, 5)
    slow.connect(present=False)
    deliver_again(slow, messages)
    assert {copies(slow)[message.packet_id] for message in messages} == {2}


def test_a_session_that_began_with_a_turn_that_failed_is_that_of_its_messages_after_a_kill(
    slow: Harness,
) -> None:
    slow.turn()
    slow.connect(present=False)
    slow.journal.fail("before")
    slow.turn()
    [message] = send(slow, 1)
    slow.restart()
    deliver_again(slow, [message])
    assert copies(slow)[message.packet_id] == 1


def test_a_turn_that_is_repeated_loses_no_message_that_may_come_again(slow: Harness) -> None:
    messages = send(slow, 5)
    slow.journal.fail("after")
    messages += send(slow, 5)
    slow.broker.read()
    slow.journal.fail("before")
    messages += send(slow, 5)
    slow.connect(present=True)
    deliver_again(slow, messages[-5:])
    assert set(copies(slow).values()) == {1}


def test_a_proof_alone_is_not_worth_a_commit_and_goes_with_the_next(slow: Harness) -> None:
    def read_up_to() -> object:
        return slow.rows(tables.sessions)[-1]["read_up_to"]

    send(slow, 5)
    at_rest(slow)
    with closing(sqlite3.connect(slow.path)) as other:
        version = other.execute("PRAGMA data_version").fetchone()
        slow.broker.read()
        for _ in range(3):
            slow.turn()
        assert (read_up_to(), other.execute("PRAGMA data_version").fetchone()) == (None, version)
    send(slow, 1)
    assert read_up_to() == slow.rows(tables.deliveries)[-2]["id"]


def test_a_message_that_may_come_again_outlives_its_retention(make_harness: MakeHarness) -> None:
    harness = make_harness(
        Settings(mqtt=MqttSettings(receive_maximum=2), journal=JournalSettings(retention_days=1e-9))
    )
    harness.broker.reads = False
    messages = send(harness, 5)
    at_rest(harness)
    harness.restart()  # what is old is forgotten first of all
    for _ in range(20):
        harness.step()
    assert recorded(harness) == 5
    deliver_again(harness, messages)
    assert set(copies(harness).values()) == {1}
    harness.broker.read()
    harness.turn()
    send(harness, 1)
    at_rest(harness)
    harness.restart()
    harness.until(lambda: recorded(harness) == 1)


def at_rest(harness: Harness) -> None:
    """Have everything answered, and taken by the broker."""
    harness.quiet()
    harness.broker.confirm()
    harness.until(lambda: not harness.rows(tables.outbox))

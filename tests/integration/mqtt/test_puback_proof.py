"""What the broker has read of our acknowledgements is proved by PINGREQ and PINGRESP, and by nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from butler_mqtt.mqtt import puback_proof
from butler_mqtt.mqtt.puback_proof import PINGREQ, Proof
from tests.acceptance.relay import Relay
from tests.brokers import Mosquitto, until
from tests.integration.mqtt.recording import VERSIONS, Doorkeeper, doorkeeper, plain_client
from tests.integration.mqtt.websocket_bridge import bridge


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker", persistent=True) as made:
        yield made


def prove(keeper: Doorkeeper, broker: Mosquitto) -> None:
    """Acknowledge three messages, each when the one before is proved."""
    with plain_client(broker) as sender:
        keeper.open()
        for count in (1, 2, 3):
            sender.publish("qliksense/task/start", f"{count}")
            keeper.acknowledge(keeper.take())
            until(lambda: keeper.read, what="proved")
            assert keeper.read == [(1, count)]
            keeper.read.clear()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_acknowledgement_that_the_broker_reads_is_proved(version: str, broker: Mosquitto) -> None:
    with doorkeeper(broker.settings(protocol_version=version)) as keeper:
        prove(keeper, broker)


def test_it_is_proved_over_tls(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "tls", tls=True) as broker, doorkeeper(broker.settings()) as keeper:
        prove(keeper, broker)


def test_it_is_proved_over_websockets(broker: Mosquitto) -> None:
    with bridge(broker.settings()) as mqtt, doorkeeper(mqtt) as keeper:
        prove(keeper, broker)


def test_what_is_held_up_in_flight_is_not_proved_and_the_next_connection_counts_from_0(
    broker: Mosquitto,
) -> None:
    with Relay(broker.port) as relay, plain_client(broker) as sender:
        mqtt = broker.settings(broker_port=relay.port)
        with doorkeeper(mqtt) as keeper:
            keeper.open()
            relay.hold_up()
            for number in range(3):
                sender.publish("qliksense/task/start", f"{number}")
                keeper.acknowledge(keeper.take())
            turned = keeper.door.progress()
            until(lambda: keeper.door.progress() > turned + puback_proof.BETWEEN_SECONDS, what="time to ask")
            relay.cut()
            relay.flow()
            again = [keeper.take() for _ in range(3)]
            assert keeper.read == []
            assert [message.dup for message in again] == [True] * 3
            keeper.acknowledge(again[0])
            until(lambda: keeper.read, what="proved")
            assert keeper.read == [(2, 1)]


class Turns:
    """What a network loop sends between paho's packets; `room` is whether all of paho's is written."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.room = True

    def send(self, packet: bytes) -> bool:
        if self.room:
            self.sent.append(packet)
        return self.room


def made(between_seconds: float = 0.0) -> tuple[Proof, paho.Client, list[int], Turns]:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    read: list[int] = []
    return Proof(client, read.append, between_seconds=between_seconds), client, read, Turns()


def log(client: paho.Client, line: str) -> None:
    assert client.logger is not None
    client.logger.log(logging.DEBUG, line)


def test_one_question_is_under_way_at_a_time_and_proves_what_went_before_it() -> None:
    asking, client, read, turns = made()
    asking.turned(turns.send)
    assert turns.sent == []
    asking.acknowledged()
    asking.turned(turns.send)
    asking.acknowledged()
    asking.turned(turns.send)
    assert (turns.sent, read) == ([PINGREQ], [])
    log(client, puback_proof.PAHO_ANSWERED)
    assert read == [1]
    asking.turned(turns.send)
    log(client, puback_proof.PAHO_ANSWERED)
    assert (turns.sent, read) == ([PINGREQ] * 2, [1, 2])
    asking.turned(turns.send)
    assert len(turns.sent) == 2


def test_it_is_not_asked_before_all_acknowledgements_are_written_nor_too_often() -> None:
    asking, client, read, turns = made(between_seconds=3600)
    asking.acknowledged()
    turns.room = False
    asking.turned(turns.send)
    turns.room = True
    asking.turned(turns.send)
    log(client, puback_proof.PAHO_ANSWERED)
    asking.acknowledged()
    asking.turned(turns.send)
    assert (turns.sent, read) == ([PINGREQ], [1])


def test_pahos_own_question_is_a_proof_too_and_answers_belong_to_questions_in_their_order() -> None:
    asking, client, read, turns = made()
    asking.acknowledged()
    log(client, puback_proof.PAHO_ASKED)
    asking.acknowledged()
    log(client, puback_proof.PAHO_ANSWERED)
    assert read == [1]
    asking.turned(turns.send)
    log(client, puback_proof.PAHO_ASKED)
    log(client, puback_proof.PAHO_ANSWERED)
    log(client, puback_proof.PAHO_ANSWERED)
    log(client, puback_proof.PAHO_ANSWERED)  # that nobody asked for
    assert read == [1, 2]


def test_the_client_library_says_what_the_proof_listens_for() -> None:
    source = Path(paho.__file__).read_text()
    assert f'"{puback_proof.PAHO_ASKED}"' in source
    assert f'"{puback_proof.PAHO_ANSWERED}"' in source

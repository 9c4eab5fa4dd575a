"""Proof that the broker has read our acknowledgements."""

from __future__ import annotations

import logging
from typing import cast

import pytest
from paho.mqtt import client as paho

from butler_mqtt.mqtt.puback_proof import PAHO_ANSWERED, PAHO_ASKED, PINGREQ, Proof


class Client:
    """All of a client that a proof needs: where its log goes."""

    logger: logging.Logger

    def enable_logger(self, logger: logging.Logger) -> None:
        self.logger = logger


class Rig:
    """A proof on a connection of which the test plays both ends."""

    def __init__(self, between_seconds: float = 0.0) -> None:
        self.read: list[int] = []
        self.sent: list[bytes] = []
        self.flushed = True
        self.client = Client()
        self.proof = Proof(
            cast("paho.Client", self.client), self.read.append, between_seconds=between_seconds
        )

    def acknowledge(self, count: int) -> None:
        for _ in range(count):
            self.proof.acknowledged()

    def turn(self) -> None:
        def send(packet: bytes) -> bool:
            if self.flushed:
                self.sent.append(packet)
            return self.flushed

        self.proof.turned(send)

    def log(self, line: str) -> None:
        self.client.logger.log(logging.DEBUG, line)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_an_answer_proves_what_was_acknowledged_before_its_question(rig: Rig) -> None:
    rig.acknowledge(3)
    rig.turn()
    rig.acknowledge(2)
    rig.log(PAHO_ANSWERED)
    assert (rig.sent, rig.read) == ([PINGREQ], [3])


def test_nothing_is_asked_where_nothing_is_to_be_proved_or_an_answer_is_awaited(rig: Rig) -> None:
    rig.turn()
    rig.acknowledge(1)
    rig.turn()
    rig.acknowledge(1)
    rig.turn()
    assert rig.sent == [PINGREQ]
    rig.log(PAHO_ANSWERED)
    rig.turn()
    rig.log(PAHO_ANSWERED)
    assert rig.read == [1, 2]


def test_a_question_that_could_not_be_sent_is_none(rig: Rig) -> None:
    rig.acknowledge(1)
    rig.flushed = False
    rig.turn()
    rig.log(PAHO_ANSWERED)
    assert rig.read == []


def test_questions_have_a_pause_between_them() -> None:
    rig = Rig(between_seconds=1000.0)
    for _ in range(2):
        rig.acknowledge(1)
        rig.turn()
        rig.log(PAHO_ANSWERED)
    assert rig.sent == [PINGREQ]


def test_a_question_of_the_library_proves_as_much_and_answers_come_in_order(rig: Rig) -> None:
    rig.acknowledge(1)
    rig.turn()
    rig.acknowledge(1)
    rig.log(PAHO_ASKED)
    rig.log(PAHO_ANSWERED)
    assert rig.read == [1]
    rig.log(PAHO_ANSWERED)
    rig.log(PAHO_ANSWERED)
    assert rig.read == [1, 2]


def test_other_lines_of_the_log_prove_nothing(rig: Rig) -> None:
    rig.acknowledge(1)
    rig.turn()
    rig.log("Sending PUBACK (Mid: 1)")
    assert rig.read == []

"""What went wrong between us and the server, in words."""

from __future__ import annotations

import inspect
import ssl

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from butler_mqtt.qrs.answer_limits import AnswerTooLarge, AnswerTooSlow
from butler_mqtt.qrs.call_errors import FAILURES, explain
from butler_mqtt.settings import QrsSettings

SETTINGS = QrsSettings(host="sense.test")


@pytest.mark.parametrize(
    "kind",
    [
        one
        for one in vars(requests.exceptions).values()
        if inspect.isclass(one) and issubclass(one, requests.RequestException)
    ],
)
def test_every_exception_of_the_library_has_a_meaning(kind: type[BaseException]) -> None:
    assert kind in FAILURES


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.ConnectionError(ProtocolError("cut", ConnectionResetError(104, "reset"))), "reset"),
        (requests.ConnectionError(OSError(113, "No route to host")), "check configQRS.host and port"),
        (requests.ReadTimeout("slow"), "no answer in time (connectTimeoutSeconds"),
        (requests.ConnectionError(AnswerTooSlow("byte by byte")), "byte by byte"),
        (requests.ConnectionError(AnswerTooLarge("too large")), "too large; check what stands at"),
        (requests.exceptions.SSLError(ssl.SSLError(1, "handshake")), "TLS failed"),
        (requests.ConnectionError(), "no connection, or it was cut: ConnectionError"),
    ],
    ids=["reset", "no route", "timeout", "slow", "large", "TLS", "nothing said"],
)
def test_a_failure_says_what_to_look_at(error: BaseException, words: str) -> None:
    assert words in explain(error, SETTINGS)


def test_a_cut_connection_is_no_reason_to_check_the_address() -> None:
    assert "check configQRS" not in explain(requests.ConnectionError(ConnectionResetError()), SETTINGS)


def test_a_header_that_cannot_be_sent_is_not_quoted() -> None:
    secret = UnicodeEncodeError("latin-1", "Bearer \u0416 secret", 7, 8, "ordinal not in range")
    shown = explain(secret, SETTINGS)
    assert "secret" not in shown
    assert "configQRS.headers" in shown


def test_no_url_of_a_library_is_shown_and_the_line_is_one() -> None:
    inner = NewConnectionError(None, "Failed\nto connect")  # type: ignore[arg-type] # no pool is needed
    shown = explain(requests.ConnectionError(MaxRetryError(None, "/qrs/x?Xrfkey=1", inner)), SETTINGS)  # type: ignore[arg-type] # as above
    assert "Xrfkey" not in shown
    assert "\n" not in shown


def test_errors_that_hold_each_other_end() -> None:
    one, other = requests.ConnectionError(), OSError()
    one.__cause__, other.__cause__ = other, one
    assert explain(one, SETTINGS)

"""Where a listener listens, and what becomes of connections for which there is no file descriptor."""

from __future__ import annotations

import contextlib
import logging
import socket

import pytest

from butler_mqtt.http.server.limited_socket import listen
from tests.open_files import no_more_files


@pytest.mark.parametrize("host", ["a..b", ".x", "a" * 64], ids=["empty part", "no part", "long part"])
def test_a_name_that_cannot_be_one_is_an_error_of_the_system_like_any_other(host: str) -> None:
    with pytest.raises(OSError, match="no host name"):
        listen(host, 0, 1)


def test_what_cannot_be_taken_for_want_of_files_is_closed_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0, 10))
        clients = [
            stack.enter_context(socket.create_connection(listener.getsockname(), timeout=60))
            for _ in range(5)
        ]
        with no_more_files(), caplog.at_level(logging.INFO), pytest.raises(BlockingIOError):
            listener.accept()
        assert [client.recv(1) for client in clients] == [b""] * 5
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert listener.open == 0

        stack.enter_context(socket.create_connection(listener.getsockname(), timeout=60))
        connection, _ = listener.accept()
        assert listener.open == 1
        connection.close()


def test_without_one_to_do_without_nothing_is_taken_until_there_are_files_again() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0, 10))
        stack.enter_context(socket.create_connection(listener.getsockname(), timeout=60))
        with no_more_files(1), pytest.raises(BlockingIOError):
            listener.accept()
        connection, _ = listener.accept()
        connection.close()

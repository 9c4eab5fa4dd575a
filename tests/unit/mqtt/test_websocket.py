"""MQTT over websockets passes in pieces, whatever the other side makes a message of."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage

from butler_mqtt.mqtt.websocket import WebSocket, WebSocketError
from butler_mqtt.mqtt.websocket_place import Place

PLACE = Place("broker.test", 8083, "/mqtt", secure=False)


class Server:
    """The other side of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.protocol = WSConnection(ConnectionType.SERVER)
        self.request: Request | None = None

    def accept(self, *, with_it: bytes = b"") -> None:
        self.protocol.receive_data(self.sock.recv(65536))
        (event,) = self.protocol.events()
        assert isinstance(event, Request)
        self.request = event
        answer = self.protocol.send(AcceptConnection(subprotocol="mqtt"))
        self.sock.sendall(answer + (self.protocol.send(BytesMessage(with_it)) if with_it else b""))

    def received(self) -> list[object]:
        self.protocol.receive_data(self.sock.recv(1 << 20))
        return list(self.protocol.events())


@pytest.fixture
def ends() -> Iterator[tuple[WebSocket, Server]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.settimeout(10)
    with ours, theirs:
        yield WebSocket(ours, PLACE), Server(theirs)


def shake(websocket: WebSocket, server: Server, *, with_it: bytes = b"") -> None:
    other = threading.Thread(target=server.accept, kwargs={"with_it": with_it})
    other.start()
    websocket.do_handshake()
    other.join(10)
    websocket.setblocking(False)


def read(websocket: WebSocket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        try:
            data += websocket.recv(1 << 16)
        except BlockingIOError:
            continue
    return data


def test_the_path_the_protocol_and_the_place_are_asked_for(ends: tuple[WebSocket, Server]) -> None:
    websocket, server = ends
    shake(websocket, server)
    request = server.request
    assert request is not None
    assert (request.target, request.host, request.subprotocols) == ("/mqtt", "broker.test:8083", ["mqtt"])
    assert (b"origin", b"http://broker.test:8083") in request.extra_headers


def test_bytes_go_both_ways(ends: tuple[WebSocket, Server]) -> None:
    websocket, server = ends
    shake(websocket, server, with_it=b"at once")
    assert websocket.pending() == 7
    assert websocket.recv(100) == b"at once"
    assert websocket.send(b"hello") == 5
    (event,) = server.received()
    assert isinstance(event, BytesMessage)
    assert event.data == b"hello"


def test_of_a_message_that_is_not_whole_the_beginning_is_there(ends: tuple[WebSocket, Server]) -> None:
    websocket, server = ends
    shake(websocket, server)
    # A frame of a quarter of a gigabyte (RFC 6455, 5.2), of which a little is sent.
    server.sock.sendall(b"\x82\x7f" + (250_000_000).to_bytes(8, "big") + b"x" * 5000)
    assert read(websocket, 5000) == b"x" * 5000


def test_a_ping_is_answered(ends: tuple[WebSocket, Server]) -> None:
    websocket, server = ends
    shake(websocket, server)
    server.sock.sendall(server.protocol.send(Ping(b"are you there")))
    with pytest.raises(BlockingIOError):
        websocket.recv(100)
    (event,) = server.received()
    assert isinstance(event, Pong)


def test_what_the_system_does_not_take_goes_on_where_it_was(ends: tuple[WebSocket, Server]) -> None:
    websocket, server = ends
    shake(websocket, server)
    large = b"x" * 4_000_000
    with pytest.raises(BlockingIOError):
        websocket.send(large)
    data, taken = b"", 0
    while not taken:
        data += b"".join(event.data for event in server.received() if isinstance(event, BytesMessage))
        try:
            taken = websocket.send(large + b"and more")
        except BlockingIOError:
            continue
    assert taken == len(large)
    while len(data) < len(large):
        data += b"".join(event.data for event in server.received() if isinstance(event, BytesMessage))
    assert data == large


def test_text_is_no_mqtt(ends: tuple[WebSocket, Server]) -> None:
    websocket, server = ends
    shake(websocket, server)
    server.sock.sendall(server.protocol.send(TextMessage("hello")))
    with pytest.raises(WebSocketError, match="text"):
        websocket.recv(100)


def test_what_is_sent_after_the_other_side_has_closed_it_is_an_error_of_the_connection(
    ends: tuple[WebSocket, Server],
) -> None:
    websocket, server = ends
    shake(websocket, server)
    server.sock.sendall(server.protocol.send(CloseConnection(code=1000)))
    assert websocket.recv(100) == b""
    with pytest.raises(WebSocketError, match="closed"):
        websocket.send(b"late")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "WebSocket handshake error"),
        (b"\x20\x02\x00\x00", "WebSocket handshake error"),
        (b"", "no answer"),
    ],
    ids=["not found", "no accept", "MQTT", "closed"],
)
def test_another_answer_is_named(ends: tuple[WebSocket, Server], answer: bytes, words: str) -> None:
    websocket, server = ends
    server.sock.sendall(answer)
    server.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(WebSocketError, match=words):
        websocket.do_handshake()

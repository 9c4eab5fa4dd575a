"""
CONNACK in the form of another version of MQTT, which the client library cannot read.

A broker that knows only MQTT 3.1.1 answers a CONNECT of MQTT 5 with two bytes,
and sets a return code of 3.1.1 in the second (MQTT 3.1.1, 3.2.2.3); MQTT 5
has at least three (MQTT 5.0, 3.2). A broker that knows only MQTT 5 errs the
other way round.
"""

from __future__ import annotations

from butler_mqtt.mqtt.oversize import ProtocolError

CONNACK = 0x20
ACCEPTED = 0
UNACCEPTABLE_VERSION = 1
SERVER_UNAVAILABLE = 3

_RETURN_CODES = {
    UNACCEPTABLE_VERSION: "unacceptable protocol version",
    2: "client id rejected",
    SERVER_UNAVAILABLE: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}
_LOGIN = frozenset({4, 5})


class OtherVersion(ProtocolError):
    """
    The broker answered CONNECT as another version of MQTT does.

    Args:
        speaks: The version it should be spoken to in.
        code: What it answered: a return code of 3.1.1 or a reason code of 5.
    """

    def __init__(self, speaks: str, code: int) -> None:
        #: Whether it would have refused us for now only.
        self.passing = speaks == "3.1.1" and code == SERVER_UNAVAILABLE
        refused = "the broker refuses the connection"
        named = f"0x{code:02X} {_RETURN_CODES.get(code, '')}".rstrip()
        if code == ACCEPTED:
            self.reason = f"the broker accepts the connection in the form of MQTT {speaks}"
        elif code == UNACCEPTABLE_VERSION:
            self.reason = f"{refused}: {named}"
        elif speaks == "3.1.1":
            self.reason = f"{refused} in the form of MQTT 3.1.1: {named}"
        else:
            self.reason = f"{refused} in the form of MQTT 5: 0x{code:02X}"
        self.advice = f"set mqttConfig.protocolVersion: {speaks}"
        if speaks == "3.1.1" and code in _LOGIN:
            self.advice += "; if it is still refused, check mqttConfig.username and its password"
        super().__init__(f"{self.reason}; {self.advice}")


class ConnackForm:
    """Passes the bytes of a connection on until its CONNACK shows the version."""

    def __init__(self, *, is_v5: bool) -> None:
        self._is_v5 = is_v5
        self._head = b""
        #: Whether there is nothing more to find out.
        self.known = False

    def feed(self, data: bytes) -> bytes:
        """
        Take what was read and return what goes on: nothing until the return code has come.

        Raises:
            OtherVersion: It is a CONNACK of the other version.
        """
        self._head += data
        if self._head[0] == CONNACK:
            if len(self._head) < 4:
                return b""
            _, length, _, code = self._head[:4]
            if self._is_v5 and length == 2:
                raise OtherVersion("3.1.1", code)
            if not self._is_v5 and (length != 2 or code == UNACCEPTABLE_VERSION):
                raise OtherVersion("5", code)
        self.known = True
        return self._head

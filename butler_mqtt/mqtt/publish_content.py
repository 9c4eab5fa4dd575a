"""
The properties and the payload of a PUBLISH, which paho passes on in one (see `oversize`).

Nothing here fails: a message whose properties break the rules has been taken by
the broker, which would deliver it for ever to one that refuses to read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from paho.mqtt import client as paho

#: The properties of a PUBLISH (MQTT 5.0, 3.3.2.3) by identifier: the name in paho's spelling, and the type.
_PROPERTIES = {
    0x01: ("PayloadFormatIndicator", "byte"),
    0x02: ("MessageExpiryInterval", "four bytes"),
    0x03: ("ContentType", "text"),
    0x08: ("ResponseTopic", "topic"),
    0x09: ("CorrelationData", "binary"),
    0x0B: ("SubscriptionIdentifier", "variable"),
    0x23: ("TopicAlias", "two bytes"),
    0x26: ("UserProperty", "pair"),
}
_SEVERAL = frozenset({"SubscriptionIdentifier", "UserProperty"})


class PublishContent(NamedTuple):
    """
    What a PUBLISH brings beside its topic.

    Args:
        payload: As it was sent.
        values: The properties by their names in paho's spelling; none with MQTT 3.1.1.
    """

    payload: bytes
    values: dict[str, Any]

    @property
    def identifiers(self) -> tuple[int, ...]:
        """Return the Subscription Identifiers."""
        return tuple(self.values.get("SubscriptionIdentifier", ()))

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """Return the user properties in their order."""
        return tuple(self.values.get("UserProperty", ()))


def content_of(message: paho.MQTTMessage) -> PublishContent:
    """Return the content of a message that came through `PacketFilter`."""
    received = bytes(message.payload)
    if message.properties is None:  # MQTT 3.1.1
        return PublishContent(received, {})
    if received[:1] == b"\0":
        return PublishContent(received[1:], {})
    return read(received)


def read(received: bytes) -> PublishContent:
    """
    Read properties, with their length in front of them, and the payload behind.

    A text that is no UTF-8 has U+FFFD in place of what is none, but for a Response
    Topic, which gets surrogates and so is one that nobody may have replies at. Of a
    property that must not be there twice the first counts. From one on that is not
    known, or does not fit into the length, none is read; where that is greater
    than all there is, there are none, and everything is payload.
    """
    try:
        length, position = _variable(received, 0)
    except IndexError:
        return PublishContent(received, {})
    end = position + length
    if end > len(received):
        return PublishContent(received, {})
    properties = received[position:end]
    values: dict[str, Any] = {}
    position = 0
    while position < length:
        try:
            name, kind = _PROPERTIES[properties[position]]
            value, position = _READERS[kind](properties, position + 1)
        except (KeyError, IndexError):
            break
        if name in _SEVERAL:
            values.setdefault(name, []).append(value)
        else:
            values.setdefault(name, value)
    return PublishContent(received[end:], values)


def _number(size: int) -> Callable[[bytes, int], tuple[int, int]]:
    """Make what reads an integer of *size* bytes."""
    return lambda data, start: (int.from_bytes(_slice(data, start, size), "big"), start + size)


def _variable(data: bytes, start: int) -> tuple[int, int]:
    """Read a variable byte integer (MQTT 5.0, 1.5.5); raises IndexError where it does not end."""
    number = 0
    for place in range(4):
        byte = data[start + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, start + place + 1
    raise IndexError("a variable byte integer has four bytes at most")


def _binary(data: bytes, start: int) -> tuple[bytes, int]:
    size = int.from_bytes(_slice(data, start, 2), "big")
    return _slice(data, start + 2, size), start + 2 + size


def _text(data: bytes, start: int) -> tuple[str, int]:
    value, end = _binary(data, start)
    return value.decode(errors="replace"), end


def _topic(data: bytes, start: int) -> tuple[str, int]:
    value, end = _binary(data, start)
    return value.decode(errors="surrogateescape"), end


def _pair(data: bytes, start: int) -> tuple[tuple[str, str], int]:
    name, end = _text(data, start)
    value, end = _text(data, end)
    return (name, value), end


def _slice(data: bytes, start: int, size: int) -> bytes:
    """Return *size* bytes; raises IndexError where there are fewer."""
    if start + size > len(data):
        raise IndexError("a property is longer than all of them")
    return data[start : start + size]


_READERS: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "byte": _number(1),
    "two bytes": _number(2),
    "four bytes": _number(4),
    "variable": _variable,
    "text": _text,
    "topic": _topic,
    "binary": _binary,
    "pair": _pair,
}

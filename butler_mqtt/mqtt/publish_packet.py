"""
A PUBLISH as it comes off the connection (MQTT 3.1.1 and 5.0, section 3.3).

paho takes five times as long to read one, since it makes its tables of
properties anew for each. What is out of the ordinary is left to it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from paho.mqtt import client as paho

from butler_mqtt.domain.model import Message
from butler_mqtt.mqtt.properties import stable_text, values_of

#: The first four bits of the packet.
PUBLISH = 0x30
_DUP, _QOS, _RETAIN = 0x08, 0x06, 0x01

_PAYLOAD_FORMAT = 0x01
#: Names of properties by identifier: of a number, of a text, of bytes (MQTT 5.0, 2.2.2.2).
_NUMBERS = {_PAYLOAD_FORMAT: ("PayloadFormatIndicator", "!B"), 0x02: ("MessageExpiryInterval", "!I")}
_TEXTS = {0x03: "ContentType", 0x08: "ResponseTopic"}
_CORRELATION_DATA = 0x09
_USER_PROPERTY = 0x26
#: In no text may be these (MQTT 5.0, 1.5.4).
_FORBIDDEN = "\0\ufeff"
_NO_PROPERTIES: tuple[Mapping[str, Any], str] = ({}, "")

_LENGTH = struct.Struct("!H")

#: Properties remembered as read, and the longest of them in bytes: most senders give the same each time.
_MAX_KNOWN = 64
_MAX_KNOWN_BYTES = 512


def read(packet: bytes, *, is_v5: bool, generation: int) -> Message | None:
    """
    Read a whole PUBLISH of QoS 0 or 1.

    Returns:
        None for one that needs the client library: QoS 2, topic aliases, and
        everything that the protocol does not allow.
    """
    try:
        return _read(packet, is_v5=is_v5, generation=generation)
    except (_NotOurs, struct.error, IndexError, UnicodeDecodeError):
        return None


def of_paho(message: paho.MQTTMessage, *, generation: int) -> Message:
    """Give what `read` gives of a message that paho has read."""
    values = values_of(message.properties)
    return Message(
        topic=message.topic,
        payload=bytes(message.payload),
        packet_id=message.mid,
        generation=generation,
        dup=bool(message.dup),
        retain=bool(message.retain),
        response_topic=values.get("ResponseTopic"),
        correlation=values.get("CorrelationData"),
        expiry_seconds=values.get("MessageExpiryInterval"),
        properties=stable_text(values),
    )


class _NotOurs(Exception):
    """Leave it to the client library."""


def _read(packet: bytes, *, is_v5: bool, generation: int) -> Message:
    flags = packet[0]
    if flags & _QOS > 0x02:
        raise _NotOurs
    _, position = _variable(packet, 1)
    topic, position = _bytes(packet, position)
    packet_id = 0
    if flags & _QOS:
        (packet_id,) = _LENGTH.unpack_from(packet, position)
        position += 2
    properties, text = _NO_PROPERTIES
    if is_v5:
        length, begin = _variable(packet, position)
        position = begin + length
        if length:
            known = length <= _MAX_KNOWN_BYTES
            properties, text = (_properties_again if known else _properties)(packet[begin:position])
    if position > len(packet) or not topic:
        raise _NotOurs
    return Message(
        topic.decode(),
        packet[position:],
        packet_id,
        generation,
        bool(flags & _DUP),
        bool(flags & _RETAIN),
        properties.get("ResponseTopic"),
        properties.get("CorrelationData"),
        properties.get("MessageExpiryInterval"),
        text,
    )


def _properties(packet: bytes) -> tuple[Mapping[str, Any], str]:
    """Give properties by their names, and as a stable text."""
    values: dict[str, Any] = {}
    position, end = 0, len(packet)
    while position < end:
        identifier = packet[position]
        position += 1
        value: Any
        if identifier in _NUMBERS:
            name, form = _NUMBERS[identifier]
            (value,) = struct.unpack_from(form, packet, position)
            position += struct.calcsize(form)
            if identifier == _PAYLOAD_FORMAT and value > 1:
                raise _NotOurs
        elif identifier in _TEXTS:
            name = _TEXTS[identifier]
            value, position = _text(packet, position)
        elif identifier == _CORRELATION_DATA:
            name = "CorrelationData"
            value, position = _bytes(packet, position)
        elif identifier == _USER_PROPERTY:
            name = "UserProperty"
            key, position = _text(packet, position)
            text, position = _text(packet, position)
            value = [*values.pop(name, ()), (key, text)]
        else:
            raise _NotOurs
        if name in values:
            raise _NotOurs
        values[name] = value
    if position != end:
        raise _NotOurs
    return values, stable_text(values)


_properties_again = lru_cache(maxsize=_MAX_KNOWN)(_properties)


def _variable(packet: bytes, position: int) -> tuple[int, int]:
    """Read a variable byte integer; give it and the place behind it."""
    number = 0
    for shift in (0, 7, 14, 21):
        byte = packet[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise _NotOurs


def _bytes(packet: bytes, position: int) -> tuple[bytes, int]:
    """Read bytes behind their length; give them and the place behind them."""
    (length,) = _LENGTH.unpack_from(packet, position)
    begin = position + 2
    end = begin + length
    if end > len(packet):
        raise _NotOurs
    return packet[begin:end], end


def _text(packet: bytes, position: int) -> tuple[str, int]:
    raw, position = _bytes(packet, position)
    text = raw.decode()
    if any(character in text for character in _FORBIDDEN):
        raise _NotOurs
    return text, position

"""The form of a CONNACK, found in its bytes."""

from __future__ import annotations

import pytest

from butler_mqtt.mqtt.connack import ConnackForm, OtherVersion


@pytest.mark.parametrize(
    ("is_v5", "sent"),
    [
        (True, b"\x20\x03\x00\x00\x00"),
        (True, b"\x20\x03\x00\x87\x00\x90\x04"),
        (True, b"\x20\x85\x01" + bytes(133)),
        (False, b"\x20\x02\x00\x00"),
        (False, b"\x20\x02\x01\x05\x90\x03"),
        (True, b"\xe0\x01\x84"),
        (False, b"HTTP/1.1 400 Bad Request\r\n"),
    ],
    ids=["5", "5 refused", "5 with properties", "3.1.1", "3.1.1 refused", "DISCONNECT", "not MQTT"],
)
@pytest.mark.parametrize("step", [1, 2, 3, 200])
def test_what_is_in_the_right_form_goes_on_in_whatever_pieces_it_comes(
    is_v5: bool, sent: bytes, step: int
) -> None:
    form = ConnackForm(is_v5=is_v5)
    passed = b""
    for start in range(0, len(sent), step):
        piece = sent[start : start + step]
        passed += piece if form.known else form.feed(piece)
    assert passed == sent


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_the_other_form_is_recognised_in_whatever_pieces_it_comes(step: int) -> None:
    form = ConnackForm(is_v5=True)
    sent = b"\x20\x02\x00\x05"
    pieces = [sent[start : start + step] for start in range(0, len(sent), step)]
    assert [form.feed(piece) for piece in pieces[:-1]] == [b""] * (len(pieces) - 1)
    with pytest.raises(OtherVersion) as caught:
        form.feed(pieces[-1])
    assert caught.value.advice.startswith("set mqttConfig.protocolVersion: 3.1.1")

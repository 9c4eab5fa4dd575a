"""JSON is read strictly and what is wrong is named with its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.contract.strict_json import MAX_DEPTH, MAX_DIGITS, JsonError, decode, loads

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def refused(text: str) -> JsonError:
    with pytest.raises(JsonError) as caught:
        loads(text)
    return caught.value


@given(JSON_VALUES, st.booleans())
def test_what_the_standard_library_writes_is_read_back(value: object, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('{"a": 1,\n "b": NaN}', (2, 7), "NaN is not JSON"),
        ("[1, -Infinity]", (1, 5), "-Infinity is not JSON"),
        ('{"a": 1e999}', (1, 7), "the number 1e999 is too large"),
        ('{"a": 1e999e9}', (1, 7), "the number 1e999 is too large"),
        ('{"a": 1,\n\n  "a": 2}', (3, 3), "the key 'a' occurs twice"),
        ('{"a": 1, "\\u0061": 2}', (1, 10), "the key 'a' occurs twice"),
        ('{"a": {"b": 1}, "c": [{"b": 1, "b,{": 2, "b": 3}]}', (1, 42), "the key 'b' occurs twice"),
        ('["a", "x\\\\\\ud800"]', (1, 11), "\\ud800 is half a character (lone surrogate)"),
        ('["\\udc00\\ud800"]', (1, 3), "\\udc00 is half a character (lone surrogate)"),
        ('["\\ud83d\\ude00 \\ud83d"]', (1, 16), "\\ud83d is half a character (lone surrogate)"),
        ("[1] [2]", (1, 5), "the text goes on after the end of the JSON value"),
        ('{"a": tru}', (1, 7), "Expecting value"),
        ("", (1, 1), "Expecting value"),
        ('["a\tb"]', (1, 4), "Invalid control character"),
        ("\ufeff\ufeff{}", (1, 1), "Expecting value"),
    ],
)
def test_a_fault_is_named_with_line_and_column(text: str, place: tuple[int, int], message: str) -> None:
    error = refused(text)
    assert (error.line, error.column) == place
    assert error.message == message
    assert str(error) == f"line {place[0]}, column {place[1]}: {message}"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ('{"a": 1, "a": NaN}', 15, "NaN is not JSON"),
        ('{"a": 1, "a": 1e999}', 15, "the number 1e999 is too large"),
        ('{"a": 1, "a": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", 30, "nested deeper than 16 levels"),
    ],
)
def test_repeated_keys_can_be_allowed_and_nothing_else(text: str, column: int, message: str) -> None:
    assert loads('{"a": 1, "b": {"c": 1, "c": 2}, "a": 3}', repeated_keys=True) == {"a": 3, "b": {"c": 2}}
    with pytest.raises(JsonError) as caught:
        loads(text, repeated_keys=True)
    assert (caught.value.column, caught.value.message) == (column, message)


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"\\\\ud800"', '"\\u00e9"'])
def test_escapes_that_make_whole_characters_are_read(text: str) -> None:
    assert loads(text) == json.loads(text)


def test_the_same_key_in_different_objects_is_no_duplicate() -> None:
    text = '[{"a": {"a": "a"}}, {"a": ["a", "a"]}]'
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_sixteen_levels_are_read_and_the_seventeenth_is_refused(opening: str, closing: str) -> None:
    inner = "[]" if opening == "[" else "{}"
    allowed = opening * (MAX_DEPTH - 1) + inner + closing * (MAX_DEPTH - 1)
    assert loads(allowed) == json.loads(allowed)
    error = refused(opening * MAX_DEPTH + inner + closing * MAX_DEPTH)
    assert error.message == "nested deeper than 16 levels"
    assert error.column == len(opening) * MAX_DEPTH + 1


def test_many_objects_side_by_side_are_not_deep() -> None:
    text = json.dumps([{"a": ["[{"]}] * 100)
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize("unit", ["[", '{"a":', '[{"a":'])
def test_a_hundred_thousand_levels_are_refused_at_the_seventeenth(unit: str) -> None:
    assert refused(unit * 100_000).message == "nested deeper than 16 levels"


def test_an_integer_of_more_than_4300_digits_is_refused() -> None:
    assert loads("1" * MAX_DIGITS) == int("1" * MAX_DIGITS)
    error = refused('{"a":\n"1", "b": ' + "1" * (MAX_DIGITS + 1) + "}")
    assert (error.line, error.column) == (2, 11)
    assert error.message == "an integer of 4301 characters; at most 4300 are allowed"


def test_bytes_are_utf_8_with_or_without_a_byte_order_mark() -> None:
    assert decode(b"\xef\xbb\xbf{}") == decode(b"{}") == "{}"


@pytest.mark.parametrize("count", [1, 2, 100])
def test_nuls_at_the_end_are_dropped(count: int) -> None:
    assert decode(b'{"tag":["one"]}' + b"\0" * count) == '{"tag":["one"]}'


def test_a_nul_elsewhere_is_kept_for_the_reader_to_refuse() -> None:
    assert decode(b'{"tag":\0"a"}\0') == '{"tag":\0"a"}'


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b'{\n"\xc3\xa4\xff"}', "line 2, column 3: byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbf\x81", "line 1, column 1: byte 0x81 is not UTF-8"),
        (b'"\xc3', "line 1, column 2: byte 0xc3 is not UTF-8"),
        (b'"\xed\xa0\x80"', "line 1, column 2: byte 0xed is not UTF-8"),
    ],
)
def test_other_bytes_are_refused_with_their_place(payload: bytes, message: str) -> None:
    with pytest.raises(JsonError) as caught:
        decode(payload)
    assert str(caught.value) == message


@given(st.text(alphabet='{}[]",:\\u dD89e1.-NaInfity\n') | st.text())
def test_any_text_is_read_or_refused_with_a_place_inside_it(text: str) -> None:
    try:
        loads(text)
    except JsonError as error:
        fault = error
    else:
        assert json.dumps(json.loads(text))
        return
    lines = text.split("\n")
    assert 1 <= fault.line <= len(lines)
    assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1

"""What shells make of a request is refused with what happened and the line that works there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.contract.shell_quoting import bare_guid, loads
from butler_mqtt.contract.strict_json import JsonError

CMD = '-m "{\\"tag\\":[\\"one\\"]}"'
POWERSHELL = '-m \'{\\"tag\\":[\\"one\\"]}\''
QUOTES_REMOVED = (
    "the double quotes of the JSON are missing, as PowerShell before 7.3 and cmd.exe remove them; "
    f"in PowerShell 5.1 write {POWERSHELL}, in cmd.exe {CMD} (curl: -d)"
)
SINGLE_QUOTES = (
    f"the single quotes around the JSON were sent with it, as cmd.exe does; in cmd.exe write {CMD} (curl: -d)"
)
BACKSLASHES = (
    "the backslashes before the double quotes were sent with them, as bash and PowerShell 7 do; "
    'there write -m \'{"tag":["one"]}\' (curl: -d)'
)
TWICE = 'the JSON is encoded twice, a string that holds the request; send {"tag":["one"]}'


def refused(text: str) -> str:
    with pytest.raises(JsonError) as caught:
        loads(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "details"),
    [
        ("""'{"tag":["one"]}'""", f"line 1, column 1: {SINGLE_QUOTES}"),
        ("'{tag:[one]}'\r\n", f"line 1, column 1: {SINGLE_QUOTES}"),
        ("""'{\\"tag\\":[\\"one\\"]}'""", f"line 1, column 1: {SINGLE_QUOTES}"),
        ("{tag:[one]}", f"line 1, column 2: {QUOTES_REMOVED}"),
        ("{customProperty:{name:department,value:finance}}", f"line 1, column 2: {QUOTES_REMOVED}"),
        ('{\\"tag\\":[\\"one\\"]}', f"line 1, column 2: {BACKSLASHES}"),
        ('"{\\"tag\\":[\\"one\\"]}"', f"line 1, column 1: {TWICE}"),
        (' \n "{\\"tag\\":[\\"one\\"]}"', f"line 2, column 2: {TWICE}"),
    ],
)
def test_what_a_shell_made_of_the_json_is_named_with_the_line_that_works(text: str, details: str) -> None:
    assert refused(text) == details


def test_the_line_shows_the_senders_own_request() -> None:
    assert '-m "{\\"taskName\\": \\"Sales\\"}"' in refused("""'{"taskName": "Sales"}'""")
    assert refused(json.dumps('{"taskName": "Sales"}')).endswith('; send {"taskName": "Sales"}')


@pytest.mark.parametrize("name", ["50 %", "it's", "a\\\\b", "x" * 200, "two\nlines"])
def test_a_request_that_a_shell_would_change_is_replaced_by_an_example(name: str) -> None:
    assert refused(json.dumps(json.dumps({"taskName": name}))).endswith('; send {"tag":["one"]}')


@pytest.mark.parametrize(
    ("text", "details"),
    [
        ("'hello'", "line 1, column 1: Expecting value"),
        ("'", "line 1, column 1: Expecting value"),
        ("{'tag': 'one'}", "line 1, column 2: Expecting property name enclosed in double quotes"),
        ('{tag: "one"}', "line 1, column 2: Expecting property name enclosed in double quotes"),
        ("{}}", "line 1, column 3: the text goes on after the end of the JSON value"),
    ],
)
def test_a_fault_that_no_shell_makes_keeps_its_own_words(text: str, details: str) -> None:
    assert refused(text) == details


@pytest.mark.parametrize("text", ['"text"', '"{"', '"1"', '"{tag:[one]}"'])
def test_a_string_that_holds_no_request_is_only_a_string(text: str) -> None:
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize("unit", ["{", "[{ ", "'", "{\\", '\\"', "{a"])
def test_a_long_text_is_refused_in_few_words(unit: str) -> None:
    assert len(refused(unit * 50_000)) < 400


@given(st.text(alphabet="{}[]'\"\\:, tag\n") | st.text())
def test_any_text_is_read_or_refused_with_a_place_in_it(text: str) -> None:
    bare_guid(text)
    try:
        loads(text)
    except JsonError as error:
        fault = error
    else:
        return
    assert 1 <= fault.line <= text.count("\n") + 1

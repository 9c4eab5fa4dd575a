"""The file with a token, and what the token says of itself."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.qrs.jwt_file import claims, read


def token(content: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    return f"e30.{part}.c2ln"


@pytest.mark.parametrize(
    "around", ["{}", "{}\n", "\r\n {}\t", "\ufeff{}"], ids=["bare", "line", "space", "mark"]
)
def test_white_space_and_a_byte_order_mark_are_no_part_of_it(around: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(around.format(token({})), "utf-8")
    assert read(file) == token({})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"Bearer a.b.c", "holds no token"),
        (b"'a.b.c'", "holds no token"),
        (b"a.b", "holds no token"),
        (b"a.b.", "holds no token"),
        ("a.b.c".encode("utf-16"), "holds no token"),
        (b"a.b." + b"c" * 70_000, "holds no token"),
    ],
    ids=["empty", "blank", "bearer", "quoted", "two parts", "unsigned", "UTF-16", "huge"],
)
def test_what_is_no_token_is_refused_without_quoting_it(content: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as caught:
        read(file)
    assert "a.b" not in str(caught.value)


def test_claims_are_read_without_proof() -> None:
    found = claims(token({"exp": 1_900_000_000, "nbf": 0.5, "userId": "é"}))
    assert found.names == ("exp", "nbf", "userId")
    assert found.expires == datetime(2030, 3, 17, 17, 46, 40, tzinfo=UTC)
    assert found.not_before == datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "moment",
    ["1900000000", True, None, 1e300, -1e300, 10**400, float("nan"), float("inf")],
    ids=["text", "true", "null", "far", "long ago", "huge", "NaN", "infinite"],
)
def test_a_moment_that_is_none_is_left_out(moment: object) -> None:
    assert claims(token({"exp": moment})).expires is None


@given(st.from_regex(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", fullmatch=True))
def test_any_token_has_claims_or_none_that_can_be_read(text: str) -> None:
    try:
        claims(text)
    except ValueError:
        return


@pytest.mark.parametrize("content", [[], "text", 1, None], ids=str)
def test_claims_are_an_object(content: object) -> None:
    with pytest.raises(ValueError, match="no JSON object"):
        claims(token(content))
    with pytest.raises(ValueError, match="no JSON object"):
        claims(f"e30.{base64.urlsafe_b64encode(b'[' * 100_000).decode().rstrip('=')}.c")

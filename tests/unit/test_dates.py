"""Every date that comes from outside: what cannot be one is said to be none, and nothing else happens."""

from __future__ import annotations

import base64
import json
import time as clock_of_machine
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from butler_mqtt.cli import requests_list
from butler_mqtt.clock import FIRST_MS, LAST_MS, from_ms, to_ms
from butler_mqtt.contract import validation
from butler_mqtt.domain.reconciliation import SERVER_CLOCK_SLACK
from butler_mqtt.errors import RequestError
from butler_mqtt.http.certificate_expiry import remaining
from butler_mqtt.mqtt import presence
from butler_mqtt.qrs import json_fields
from butler_mqtt.qrs.answer_errors import http_date, retry_seconds
from butler_mqtt.qrs.server_state import ServerState
from butler_mqtt.qrs.transport import HttpAnswer

YEARS = ["0000", "0001", "1582", "1753", "1900", "1969", "1970", "2031", "9998", "9999", "10000"]
DAYS = ["01-01", "02-29", "02-30", "12-31", "00-00", "13-01"]
TIMES = ["00:00:00", "23:59:59", "23:59:59.999", "23:59:59.9999999", "23:59:60", "24:00:00", "25:00:00"]
OFFSETS = ["Z", "", "+00:00", "-00:00", "+14:00", "-12:00", "-01:00", "+01:00", "+23:59", "-23:59", "+24:00"]
STAMPS = st.one_of(
    st.tuples(*map(st.sampled_from, (YEARS, DAYS, TIMES, OFFSETS))).map(
        lambda a: f"{a[0]}-{a[1]}T{a[2]}{a[3]}"
    ),
    st.text(max_size=40),
    st.text("0123456789-:.TZ+W ", max_size=30),
)
HTTP_DATES = st.one_of(
    st.tuples(
        st.sampled_from(["Fri, ", "", "Foo, "]),
        st.sampled_from(["31 Dec ", "1 Jan ", "29 Feb ", "99 Foo "]),
        st.sampled_from(YEARS),
        st.sampled_from([" 23:59:59", " 00:00:00", " 99:99:99", ""]),
        st.sampled_from([" GMT", " -0100", " +0100", " -9999", " +2400", " EST", " -0000", ""]),
    ).map("".join),
    st.text(max_size=40),
    st.text("0123456789-:, +ADFGJMTadeghinpruy", max_size=40),
)


def answer(date: str, retry_after: str = "") -> HttpAnswer:
    return HttpAnswer(200, b"{}", date=date, retry_after=retry_after)


@given(HTTP_DATES)
@example("Fri, 31 Dec 9999 23:59:59 -0100")
@example("Mon, 01 Jan 0001 00:00:00 +0100")
@example("Fri, 31 Dec 9999 23:59:59 GMT")
def test_any_date_of_the_server_leaves_a_clock_that_can_be_reckoned_with(date: str) -> None:
    server = ServerState("qlik:4242", clock_of_machine.monotonic)
    server.note_answer(answer(date, date))
    assert server.reachable
    shown = server.server_time()
    if shown is not None:
        assert shown - SERVER_CLOCK_SLACK < shown + timedelta(days=1)
        assert from_ms(to_ms(shown)) is not None
    moment = http_date(date)
    assert moment is None or 1970 <= moment.year < 9999
    assert (retry_seconds(answer(date, date)) or 0.0) >= 0.0


@given(STAMPS)
@example("9999-12-31T23:59:59-01:00")
@example("0001-01-01T00:00:00+01:00")
@example("9999-12-31T23:59:60Z")
@example("9999-12-31T23:59:59.9999999Z")
def test_any_time_in_a_request_is_taken_or_refused(stamp: str) -> None:
    body = json.dumps({"tag": "x", "expiresAt": stamp, "issuedAt": stamp}).encode()
    try:
        request = validation.parse(body, max_bytes=100_000, max_selectors=10)
    except RequestError as refused:
        refusal = refused
    else:
        assert request.expires_at is not None
        assert request.expires_at.tzinfo is UTC
        kept = from_ms(to_ms(request.expires_at))
        assert kept is not None
        assert abs(kept - request.expires_at) <= timedelta(milliseconds=1)
        return
    assert refusal.code == "invalid_request"
    assert "expiresAt is" in refusal.details


@given(STAMPS)
@example("1753-01-01T00:00:00.000Z")
@example("9999-12-31T23:59:59.9999999Z")
def test_any_stamp_of_the_server_is_a_time_or_none(stamp: str) -> None:
    moment = json_fields.time(stamp)
    assert moment is None or 1900 <= moment.year < 9999
    assert from_ms(to_ms(moment)) is None or moment is not None


@given(st.one_of(STAMPS, st.none(), st.integers(), st.lists(st.text())))
@example("9999-12-31T23:59:59-01:00")
@example("0001-01-01T00:00:00+01:00")
def test_any_start_time_in_a_status_message_is_a_time_or_the_message_is_none(stamp: object) -> None:
    read = presence.parse(json.dumps({"status": "online", "instance": "x", "startedAt": stamp}).encode())
    if read is not None:
        assert read.started_at.tzinfo is UTC
        assert presence.parse(read.payload()) == read


@given(st.integers())
@example(LAST_MS + 1)
@example(FIRST_MS - 1)
def test_any_number_in_the_journal_can_be_shown(moment: int) -> None:
    shown = from_ms(moment)
    assert shown is not None
    assert to_ms(shown) == min(max(moment, FIRST_MS), LAST_MS)


@given(
    st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))])
    )
)
@example(datetime.max.replace(tzinfo=UTC))
@example(datetime.min.replace(tzinfo=UTC))
def test_any_time_is_kept_to_the_millisecond(moment: datetime) -> None:
    kept = to_ms(moment)
    assert kept is not None
    shown = from_ms(kept)
    assert shown is not None
    # Beyond the calendar of UTC there is only its end.
    assert FIRST_MS <= kept <= LAST_MS or kept < FIRST_MS


@pytest.fixture(params=["Pacific/Kiritimati", "Etc/GMT+12"])
def elsewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the clock on the wall be far from UTC."""
    monkeypatch.setenv("TZ", request.param)
    clock_of_machine.tzset()
    yield
    monkeypatch.undo()
    clock_of_machine.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("moment", [FIRST_MS, 0, LAST_MS])
def test_the_ends_of_the_calendar_are_shown_in_the_list_of_requests(moment: int) -> None:
    assert requests_list.local(moment)


def test_a_certificate_whose_end_is_no_time_is_left_out(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2060, 1, 2, 3, 4, 5, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    for stamp in (b"00000102030405Z", b"99991231235959Z", b"20601402030405Z", b"20600230030405Z"):
        changed = der.replace(b"20600102030405Z", stamp)
        assert changed != der
        file = tmp_path / "certificate.pem"
        file.write_bytes(_pem(changed))
        found = remaining({"x": file})
        assert found == {} or found["x"] > 0


def _pem(der: bytes) -> bytes:
    text = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"

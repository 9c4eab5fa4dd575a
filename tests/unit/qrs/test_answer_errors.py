"""Every answer and every exception has its meaning for the caller."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests import exceptions as rx

from butler_mqtt.errors import OutcomeUnknown, QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.qrs.answer_errors import PassingOutage, execution_of, quoted, retry_seconds, value_of
from butler_mqtt.qrs.call_errors import FAILURES, explain
from butler_mqtt.qrs.server_state import ServerState
from butler_mqtt.qrs.transport import HttpAnswer
from butler_mqtt.settings import QrsSettings as Settings

ID = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"
#: As a server of 2017 answered to a GUID in quotes.
QUOTED_GUID = (
    b"Cannot convert the constant value &quot;Guid&quot; to the following:"
    b" &#39;3bc13721-0000-4000-8000-000000000001&#39;"
)
DATE = "Mon, 20 Jan 2025 19:45:15 GMT"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_every_exception_of_requests_is_in_the_table() -> None:
    classes = {
        one
        for one in vars(rx).values()
        if isinstance(one, type) and issubclass(one, rx.RequestException) and not issubclass(one, Warning)
    }
    assert classes == set(FAILURES)


def error_of(answer: HttpAnswer) -> QlikError:
    with pytest.raises(QlikError) as caught:
        value_of(answer, "GET x")
    return caught.value


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_passing_outage_is_repeated(status: int) -> None:
    assert isinstance(error_of(HttpAnswer(status, b"busy")), PassingOutage)


@pytest.mark.parametrize("status", [500, 501, 505, 599])
def test_a_fault_of_the_server_is_an_outage_but_not_repeated_within_the_call(status: int) -> None:
    error = error_of(HttpAnswer(status, b"boom"))
    assert isinstance(error, QlikUnavailable)
    assert not isinstance(error, PassingOutage)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 414])
def test_any_other_status_is_a_refusal_that_carries_it(status: int) -> None:
    error = error_of(HttpAnswer(status, b"no"))
    assert isinstance(error, QlikRefused)
    assert error.status == status


@pytest.mark.parametrize("body", [b"", b"not json", b"<html>", b"[" * 100_000, b"\xff", b'{"a":'])
def test_an_answer_that_is_not_json_is_a_passing_outage(body: bytes) -> None:
    assert isinstance(error_of(HttpAnswer(200, body)), PassingOutage)


def test_the_two_kinds_of_403_are_distinguished() -> None:
    xsrf = str(error_of(HttpAnswer(403, b"XSRF prevention check failed. Possible XSRF discovered.")))
    assert "xrfkey" in xsrf
    assert "lacks the right" not in xsrf
    assert "lacks the right" in str(error_of(HttpAnswer(403, b"Forbidden")))


def test_an_inactive_account_is_named_as_such() -> None:
    words = b"Your account is inactive. Contact your administrator to activate it."
    error = str(error_of(HttpAnswer(403, words)))
    assert "is inactive in Qlik Sense" in error
    assert "X-Qlik-User" in error
    assert "lacks the right" not in error


def test_a_body_is_quoted_on_one_bounded_line() -> None:
    assert quoted(HttpAnswer(400, b"a\r\n\x1b[31mb")) == "'a [31mb'"
    assert len(quoted(HttpAnswer(400, b"x" * 100_000))) <= 202
    assert quoted(HttpAnswer(502, b"  <!DOCTYPE html>secret")) == "an HTML page"
    assert quoted(HttpAnswer(502, b"\xef\xbb\xbf<html>secret")) == "an HTML page"
    assert quoted(HttpAnswer(500, b"")) == "no text"


def test_the_server_escapes_its_texts_for_html_and_they_are_read_without() -> None:
    answer = HttpAnswer(400, QUOTED_GUID, "text/html; charset=utf-8")
    words = 'Cannot convert the constant value "Guid" to the following:'
    words += " '3bc13721-0000-4000-8000-000000000001'"
    assert quoted(answer) == f"'{words}'"
    assert words in str(error_of(answer))
    assert quoted(HttpAnswer(400, b"a&#10;b&#27; &amp;quot;")) == "'a b &quot;'"
    assert len(quoted(HttpAnswer(400, b"&quot;" * 100_000))) == 202
    xsrf = HttpAnswer(
        403, b"&#88;SRF prevention check failed&#46; Possible XSRF discovered&#46;", "text/html"
    )
    assert "xrfkey" in str(error_of(xsrf))


def test_only_a_body_that_begins_like_a_page_is_one_whatever_its_type_says() -> None:
    assert value_of(HttpAnswer(200, b"[]", "text/html"), "GET x") == []
    assert (
        quoted(HttpAnswer(404, b"No matching endpoint found", "text/html")) == "'No matching endpoint found'"
    )


PAGE = b"<!DOCTYPE html>\n<head><TITLE lang=en>\n Qlik &amp; Co\x1b </TITLE></head><body>secret</body>"


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 409, 500, 502])
def test_a_page_is_an_outage_whatever_its_status_and_its_title_is_quoted(status: int) -> None:
    error = error_of(HttpAnswer(status, PAGE, "text/html"))
    assert isinstance(error, QlikUnavailable)
    assert f"{status} " in str(error)
    assert "an HTML page titled 'Qlik & Co'" in str(error)
    assert "secret" not in str(error)
    state = ServerState("qlik:4242", Clock())
    state.note_answer(HttpAnswer(status, PAGE, date="Mon, 20 Jan 2025 19:45:17 GMT"))
    assert not state.reachable
    # Not the server's clock but that of whoever answers.
    assert state.server_time() is None


def test_a_page_without_a_title_is_named_by_its_reason_phrase() -> None:
    answer = HttpAnswer(400, b"<h1>x</h1>", reason="The http request header is incorrect.")
    assert quoted(answer) == "an HTML page, 'The http request header is incorrect.'"


def test_an_address_that_is_too_long_is_a_refusal_whoever_says_so() -> None:
    error = error_of(HttpAnswer(414, PAGE, "text/html"))
    assert isinstance(error, QlikRefused)
    assert error.status == 414


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 409, 414, 500, 502])
def test_a_page_in_answer_to_a_start_leaves_it_in_doubt(status: int) -> None:
    with pytest.raises(OutcomeUnknown, match="an HTML page titled 'Qlik & Co'") as raised:
        execution_of(HttpAnswer(status, PAGE), "POST x")
    # A 5xx may be the word of a server that began it.
    assert raised.value.by_another is (status < 500)


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("body", [f'{{"value":"{ID.upper()}"}}', f'"{ID}"'])
def test_an_execution_id_is_read_in_both_forms(status: int, body: str) -> None:
    assert execution_of(HttpAnswer(status, body.encode()), "POST x") == ID


def test_204_has_no_execution_id() -> None:
    assert execution_of(HttpAnswer(204, b""), "POST x") is None


@given(
    st.integers(200, 599),
    st.binary(max_size=20) | st.sampled_from([b"<p>", b"null", b'""', b'{"value":1}', b"[]"]),
)
def test_a_start_is_refused_only_by_a_4xx_that_is_no_page_and_unknown_in_all_else(
    status: int, body: bytes
) -> None:
    if status == 204:
        return
    refused = 400 <= status < 500 and not body.lstrip().startswith(b"<")
    expected = QlikUnavailable if status == 429 else QlikRefused if refused else OutcomeUnknown
    with pytest.raises(QlikError) as caught:
        execution_of(HttpAnswer(status, body), "POST x")
    assert isinstance(caught.value, expected)


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    assert retry_seconds(HttpAnswer(429, b"", retry_after="7")) == 7.0
    assert retry_seconds(HttpAnswer(429, b"", date=DATE, retry_after="Mon, 20 Jan 2025 19:45:25 GMT")) == 10.0
    assert retry_seconds(HttpAnswer(429, b"", date=DATE, retry_after="Mon, 20 Jan 2020 19:45:25 GMT")) == 0.0
    assert retry_seconds(HttpAnswer(429, b"", retry_after="soon")) is None
    assert retry_seconds(HttpAnswer(429, b"")) is None


def test_the_clock_of_the_server_goes_on_between_answers() -> None:
    clock = Clock()
    state = ServerState("qlik:4242", clock)
    assert state.server_time() is None
    state.note_answer(HttpAnswer(200, b"[]", date=DATE))
    clock.now += 5
    state.note_answer(HttpAnswer(200, b"[]", date="nonsense"))
    assert state.server_time() == datetime(2025, 1, 20, 19, 45, 20, tzinfo=UTC)


def test_reachability_follows_the_answers_of_the_repository_itself() -> None:
    clock = Clock()
    state = ServerState("qlik:4242", clock)
    assert (state.reachable, state.unreachable_since, state.reached_at) == (False, None, None)
    state.note_failure("refused")
    clock.now += 1
    state.note_failure("refused")
    assert (state.reachable, state.unreachable_since) == (False, 100.0)
    for answer in (
        HttpAnswer(200, b"<html>"),
        HttpAnswer(503, b"starting"),
        HttpAnswer(404, b"<p>x", "text/plain"),
    ):
        state.note_answer(answer)
        assert not state.reachable
    state.note_answer(HttpAnswer(403, b"Forbidden"))
    assert (state.reachable, state.unreachable_since, state.reached_at) == (True, None, 101.0)
    state.note_answer(HttpAnswer(500, b"boom"))
    assert state.reachable
    state.note_answer(HttpAnswer(502, b"bad gateway"))
    assert (state.reachable, state.unreachable_since) == (False, 101.0)


def verification_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


def test_a_certificate_that_is_refused_is_named_for_what_it_is() -> None:
    assert "a certificate that may issue none" in explain(verification_error(79), Settings())
    assert "clientCertCA" in explain(verification_error(19), Settings())
    assert "serverName" in explain(verification_error(62), Settings())


def test_no_message_quotes_the_address_with_what_senders_wrote() -> None:
    error = rx.ConnectionError("Max retries exceeded with url: /qrs/task?filter=secret")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert explain(error, Settings()).startswith(
        "no connection, or it was cut: [Errno 111] Connection refused; check"
    )

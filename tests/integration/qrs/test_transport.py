"""The error of a start depends on what may have been sent, that of a read on whether it may pass."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from butler_mqtt.domain.model import EMPTY_GUID, Task
from butler_mqtt.errors import OutcomeUnknown, QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.qrs.http_connection import MAX_IDLE_SECONDS
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.settings import Retry
from tests.integration.qrs.scripted_server import (
    CUT,
    HANG,
    THEN_CUT,
    Call,
    Files,
    Server,
    make_files,
    reply,
    serving,
    settings_for,
)

TASK = Task("fb0f317d-da91-4b86-aafa-0174ae1e8c8f", "Sales", 0)
RUN = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"
STARTED = reply(201, {"value": RUN})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_files(tmp_path_factory.mktemp("site"))


@pytest.fixture(params=["tls", "plain"])
def site(request: pytest.FixtureRequest, files: Files) -> Files | None:
    return files if request.param == "tls" else None


@pytest.fixture
def server(site: Files | None) -> Iterator[Server]:
    with serving(lambda _: STARTED, site) as running:
        yield running


def client(server: Server, site: Files | None, **changes: object) -> RepositoryClient:
    return RepositoryClient(settings_for(server, site, **changes), threading.Event(), first_pause=0)


@pytest.fixture
def connection(server: Server, site: Files | None) -> Iterator[RepositoryConnection]:
    connection = client(server, site, read_timeout_seconds=0.3).connection()
    yield connection
    connection.close()


def test_a_start_posts_once_with_a_fresh_key_in_query_and_header(
    server: Server, connection: RepositoryConnection
) -> None:
    assert connection.start(TASK) == RUN
    assert connection.start(TASK) == RUN
    first, second = server.calls
    assert first.method == "POST"
    assert first.path == f"/task/{TASK.id}/start/synchronous"
    assert first.headers["x-qlik-user"] == "UserDirectory=INTERNAL; UserId=sa_repository"
    assert first.headers["content-length"] == "0"
    keys = [call.headers["x-qlik-xrfkey"] for call in server.calls]
    assert [call.query["xrfkey"] for call in server.calls] == keys
    assert len(set(keys)) == 2
    assert all(len(key) == 16 and key.isalnum() for key in keys)
    assert first.connection == second.connection


@pytest.mark.parametrize("kind", [3, 4, 17])
def test_kinds_without_sessions_are_started_without_asking_for_an_id(
    server: Server, connection: RepositoryConnection, kind: int
) -> None:
    server.answers = lambda _: reply(204)
    assert connection.start(Task(TASK.id, "x", kind)) is None
    assert server.calls[0].path == f"/task/{TASK.id}/start"


def test_configured_headers_replace_ours_whatever_their_letter_case_but_never_the_key(
    server: Server, site: Files | None
) -> None:
    headers = (
        ("x-qlik-user", "UserId=me"),
        ("accept", "text/json"),
        ("x-qlik-xrfkey", "0" * 16),
        ("host", "qlik"),
    )
    client(server, site, headers=headers).connection().start(TASK)
    (call,) = server.calls
    assert (call.headers["x-qlik-user"], call.headers["accept"]) == ("UserId=me", "text/json")
    assert call.headers["x-qlik-xrfkey"] == call.query["xrfkey"] != "0" * 16
    assert len(call.names) == len(set(call.names))


def test_the_empty_guid_is_passed_on(server: Server, connection: RepositoryConnection) -> None:
    server.answers = lambda _: reply(201, EMPTY_GUID)
    assert connection.start(TASK) == EMPTY_GUID


BODY = json.dumps({"value": RUN}).encode()


@pytest.mark.parametrize(
    "answer",
    [
        CUT,
        HANG,
        b"garbage\r\n\r\n" + THEN_CUT,
        b"HTTP/1.1 201 Created\r\nContent-Le" + THEN_CUT,
        b"HTTP/1.1 201 Created\r\nContent-Length: 0" + THEN_CUT,
        b"HTTP/1.1 201 Created\r\n" + b"X: 1\r\n" * 101 + b"\r\n" + THEN_CUT,
        b"HTTP/1.1 201 Created\r\nX: " + b"1" * 70_000 + b"\r\n\r\n" + THEN_CUT,
        b"HTTP/2 201 Created\r\n\r\n" + THEN_CUT,
        b"HTTP/1.1 201 Created\r\nContent-Length: 60\r\n\r\n{" + THEN_CUT,
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + THEN_CUT,
        b"HTTP/1.1 201 Created\r\nContent-Length: 60\r\n\r\n{",
        b"HTTP/1.1 201 Created\r\nContent-Length: 48, 49\r\n\r\n" + BODY + THEN_CUT,
        b"HTTP/1.1 201 Created\r\nContent-Length: -1\r\n\r\n" + BODY + THEN_CUT,
        reply(500, b"boom"),
        reply(503, b"starting", Retry_After="1"),
        reply(302, Location="/login"),
        reply(200),
        reply(200, b"<html>welcome</html>", content_type="text/html"),
        reply(400, b"<html>The http request header is incorrect</html>", content_type="text/html"),
        reply(404, b"<html>not found</html>", content_type="text/html"),
        reply(201, {"value": "not a guid"}),
    ],
)
def test_a_start_that_left_without_a_usable_answer_is_unknown_and_not_repeated(
    server: Server, connection: RepositoryConnection, answer: bytes
) -> None:
    server.answers = lambda _: answer
    with pytest.raises(OutcomeUnknown):
        connection.start(TASK)
    assert len(server.calls) == 1
    server.answers = lambda _: STARTED
    assert connection.start(TASK) == RUN
    assert server.calls[1].connection != server.calls[0].connection


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + STARTED,
        b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n" + STARTED,
        b"HTTP/1.1 201 X\r\nContent-Length: %d\r\nContent-Length: %d\r\n\r\n" % (len(BODY), len(BODY)) + BODY,
        b"HTTP/1.1 201\r\ncontent-LENGTH:%d\r\nX: 1\r\nx: 2\r\n\r\n" % len(BODY) + BODY,
        b"HTTP/1.1 201 X\nContent-Length: %d\n\n" % len(BODY) + BODY,
        b"HTTP/1.1 201 X\r\nTransfer-Encoding: Chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        b"HTTP/1.1 201 X\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s"
        % (len(gzip.compress(BODY)), gzip.compress(BODY)),
    ],
)
def test_an_answer_is_read_whole_and_the_connection_kept(
    server: Server, connection: RepositoryConnection, answer: bytes
) -> None:
    server.answers = lambda _: answer
    assert [connection.start(TASK), connection.start(TASK)] == [RUN, RUN]
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 X\r\n\r\n" + BODY + THEN_CUT,
        b"HTTP/1.0 201 X\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY + THEN_CUT,
        b"HTTP/1.1 201 X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY + THEN_CUT,
    ],
)
def test_a_connection_that_the_answer_ends_is_not_used_again(
    server: Server, connection: RepositoryConnection, answer: bytes
) -> None:
    server.answers = lambda _: answer
    assert [connection.start(TASK), connection.start(TASK)] == [RUN, RUN]
    assert server.connections == 2


def test_a_start_on_a_kept_connection_that_is_cut_is_unknown(
    server: Server, connection: RepositoryConnection
) -> None:
    assert connection.start(TASK) == RUN
    server.answers = lambda _: CUT
    with pytest.raises(OutcomeUnknown):
        connection.start(TASK)
    assert [call.connection for call in server.calls] == [1, 1]


def test_a_kept_connection_the_server_has_closed_is_replaced_before_a_start(
    server: Server, connection: RepositoryConnection
) -> None:
    server.answers = lambda _: STARTED + THEN_CUT
    for _ in range(5):
        assert connection.start(TASK) == RUN
        assert server.closed.acquire(timeout=5)
    assert len(server.calls) == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_a_refused_start_has_started_nothing(
    server: Server, connection: RepositoryConnection, status: int
) -> None:
    server.answers = lambda _: reply(status, b"no", content_type="text/plain")
    with pytest.raises(QlikRefused) as caught:
        connection.start(TASK)
    assert caught.value.status == status


def test_a_start_answered_429_has_started_nothing_and_says_when_to_come_back(
    server: Server, connection: RepositoryConnection
) -> None:
    server.answers = lambda _: reply(429, b"slow down", Retry_After="7")
    with pytest.raises(QlikUnavailable) as caught:
        connection.start(TASK)
    assert caught.value.retry_after == 7.0
    assert len(server.calls) == 1


def test_a_refused_connection_has_sent_nothing(site: Files | None) -> None:
    with serving(lambda _: STARTED, site) as server:
        pass
    connection = client(server, site).connection()
    with pytest.raises(QlikUnavailable, match=f"127.0.0.1:{server.port}.*refused.*configQRS.host") as caught:
        connection.start(TASK)
    assert caught.value.__cause__ is not None


def test_a_handshake_that_hangs_has_sent_nothing(files: Files) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener.getsockname()[1], lambda _: STARTED)
        connection = client(server, files, connect_timeout_seconds=0.2).connection()
        with pytest.raises(QlikUnavailable, match="in time"):
            connection.start(TASK)


def test_a_name_that_does_not_resolve_has_sent_nothing(server: Server, site: Files | None) -> None:
    for host in ("no-such-host.invalid", "a" * 70 + ".invalid"):
        with pytest.raises(QlikUnavailable):
            client(server, site, host=host).connection().start(TASK)


def test_an_answer_to_something_other_than_tls_has_sent_nothing(files: Files) -> None:
    with serving(lambda _: STARTED, None) as server:
        with pytest.raises(QlikUnavailable):
            client(server, files, connect_timeout_seconds=1).connection().start(TASK)
        assert server.calls == []


def test_a_connection_idle_too_long_is_not_used_again(server: Server, site: Files | None) -> None:
    now = [0.0]
    qrs = RepositoryClient(settings_for(server, site), threading.Event(), monotonic=lambda: now[0])
    connection = qrs.connection()
    for later in (0, MAX_IDLE_SECONDS - 1, MAX_IDLE_SECONDS + 1):
        now[0] += later
        connection.start(TASK)
    connection.close()
    assert [call.connection for call in server.calls] == [1, 1, 2]


@pytest.mark.parametrize(
    "answer",
    [
        CUT,
        HANG,
        b"garbage\r\n\r\n" + THEN_CUT,
        b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{" + THEN_CUT,
        reply(429, b"slow down", Retry_After="0"),
        reply(502, b"<html>bad gateway</html>", content_type="text/html"),
        reply(503, b"starting"),
        reply(200, b"<html>welcome</html>", content_type="text/html"),
        reply(200, b"not json"),
    ],
)
def test_a_read_is_repeated_while_the_outage_may_pass(
    server: Server, connection: RepositoryConnection, answer: bytes
) -> None:
    server.answers = lambda _: answer if len(server.calls) == 1 else reply(200, {"buildVersion": "1"})
    assert connection.about() == {"buildVersion": "1"}
    assert len(server.calls) == 2


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_read_that_is_answered_with_a_page_of_another_is_an_outage(
    server: Server, connection: RepositoryConnection, status: int
) -> None:
    server.answers = lambda _: reply(status, b"<html>no</html>", content_type="text/html")
    with pytest.raises(QlikUnavailable, match=f"{status} an HTML page, 'X'"):
        connection.about()
    server.answers = lambda _: reply(200, {"buildVersion": "1"})
    assert connection.about() == {"buildVersion": "1"}
    assert server.calls[-1].connection != server.calls[0].connection


def test_a_read_is_given_up_after_the_attempts_configured(
    server: Server, connection: RepositoryConnection
) -> None:
    server.answers = lambda _: reply(503, b"starting")
    with pytest.raises(QlikUnavailable, match="503 'starting'"):
        connection.about()
    assert len(server.calls) == 3


def test_a_read_waits_no_longer_than_configured(server: Server, site: Files | None) -> None:
    server.answers = lambda _: reply(429, b"slow down", Retry_After="3600")
    connection = client(server, site, retry=Retry(attempts=9, max_seconds=5)).connection()
    with pytest.raises(QlikUnavailable) as caught:
        connection.about()
    assert caught.value.retry_after == 3600.0
    assert len(server.calls) == 1


def test_a_stop_ends_the_pauses_between_attempts(server: Server, site: Files | None) -> None:
    stop = threading.Event()
    qrs = RepositoryClient(settings_for(server, site, retry=Retry(9, 60)), stop, first_pause=30)

    def answer(_: Call) -> bytes:
        stop.set()
        return reply(503, b"starting")

    server.answers = answer
    with pytest.raises(QlikUnavailable):
        qrs.connection().about()
    assert len(server.calls) <= 2


@pytest.mark.parametrize(("status", "kind"), [(500, QlikUnavailable), (401, QlikRefused), (404, QlikRefused)])
def test_a_read_that_would_fail_again_is_asked_once(
    server: Server, connection: RepositoryConnection, status: int, kind: type[QlikError]
) -> None:
    server.answers = lambda _: reply(status, b"no")
    with pytest.raises(kind):
        connection.about()
    assert len(server.calls) == 1


def test_the_shared_state_follows_the_answers(server: Server, site: Files | None) -> None:
    qrs = client(server, site)
    connection = qrs.connection()
    server.answers = lambda _: reply(200, {}, Date="Mon, 20 Jan 2025 19:45:15 GMT")
    connection.about()
    now = qrs.server_time()
    assert now is not None
    assert (now - dt.datetime(2025, 1, 20, 19, 45, 15, tzinfo=dt.UTC)).total_seconds() < 5
    assert qrs.reachable
    server.answers = lambda _: CUT
    with pytest.raises(OutcomeUnknown):
        connection.start(TASK)
    assert not qrs.reachable
    assert qrs.unreachable_since is not None


def test_the_environment_does_not_override_what_is_configured(
    site: Files | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(lambda _: STARTED, site) as server:
        assert client(server, site).connection().start(TASK) == RUN
    assert "authorization" not in server.calls[0].headers


def test_the_certificate_is_checked_against_server_name(files: Files) -> None:
    with serving(lambda _: STARTED, files, "sense") as server:
        assert client(server, files, server_name="sense").connection().start(TASK) == RUN
        for name in (None, "other"):
            with pytest.raises(QlikUnavailable, match=r"configQRS\.serverName"):
                client(server, files, server_name=name).connection().start(TASK)


def test_a_server_of_another_site_is_not_trusted(files: Files, tmp_path: Path) -> None:
    stranger = make_files(tmp_path)
    with serving(lambda _: STARTED, stranger) as server:
        with pytest.raises(QlikUnavailable, match=r"cert\.clientCertCA"):
            client(server, files).connection().start(TASK)
        assert server.calls == []


def test_without_verification_the_server_may_be_anyone_and_the_log_says_so_once(
    files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = make_files(tmp_path)
    with serving(lambda _: STARTED, stranger) as server:
        qrs = client(
            server,
            files,
            reject_unauthorized=False,
            client_cert=stranger.client,
            client_cert_key=stranger.key,
        )
        for _ in range(2):
            assert qrs.connection().start(TASK) == RUN
    assert [record.levelname for record in caplog.records if "rejectUnauthorized" in record.message] == [
        "WARNING"
    ]


def test_each_call_is_a_line_at_debug_without_its_query(
    server: Server, site: Files | None, caplog: pytest.LogCaptureFixture
) -> None:
    def calls() -> list[str]:
        return [one.getMessage() for one in caplog.records if getattr(one, "action", "") == "qrs_call"]

    caplog.set_level(logging.INFO, "butler_mqtt")
    connection = client(server, site).connection()
    connection.start(TASK)
    assert calls() == []
    caplog.set_level(logging.DEBUG, "butler_mqtt")
    connection.start(TASK)
    (line,) = calls()
    assert re.fullmatch(rf"POST /qrs/task/{TASK.id}/start/synchronous: 201 after \d+ ms", line)


def test_a_refused_client_certificate_never_passes_for_a_refusal(files: Files, tmp_path: Path) -> None:
    stranger = make_files(tmp_path)
    with serving(lambda _: STARTED, files) as server:
        mine = client(server, files, client_cert=stranger.client, client_cert_key=stranger.key).connection()
        # Under TLS 1.3 the refusal comes after the POST was written.
        with pytest.raises((OutcomeUnknown, QlikUnavailable)):
            mine.start(TASK)
        with pytest.raises(QlikUnavailable):
            mine.about()
        assert server.calls == []


def test_a_new_connection_reads_the_certificate_files_again(files: Files, tmp_path: Path) -> None:
    stranger = make_files(tmp_path)
    with serving(lambda _: STARTED, files) as server:
        qrs = client(server, stranger)
        connection = qrs.connection()
        with pytest.raises(QlikUnavailable):
            connection.start(TASK)
        for new, old in (
            (files.root, stranger.root),
            (files.client, stranger.client),
            (files.key, stranger.key),
        ):
            old.write_bytes(new.read_bytes())
        assert connection.start(TASK) == RUN


def test_a_certificate_file_that_cannot_be_used_is_named(files: Files, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    key = ec.generate_private_key(ec.SECP256R1())
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with serving(lambda _: STARTED, files) as server:
        for setting, path in (
            ("client_cert_ca", garbage),
            ("client_cert_ca", tmp_path / "absent.pem"),
            ("client_cert", garbage),
            ("client_cert_key", tmp_path / "absent.pem"),
            ("client_cert_key", locked),
        ):
            with pytest.raises(QlikUnavailable, match=str(path)):
                client(server, files, **{setting: path}).connection().start(TASK)


def test_a_configured_header_that_cannot_be_sent_has_sent_nothing_and_is_not_shown(
    server: Server, site: Files | None
) -> None:
    headers = (("X-Qlik-User", "UserId=secret\r\nInjected: yes"),)
    with pytest.raises(QlikUnavailable) as caught:
        client(server, site, headers=headers).connection().start(TASK)
    assert "secret" not in str(caught.value)
    assert server.calls == []

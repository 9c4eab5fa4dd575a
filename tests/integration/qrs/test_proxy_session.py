"""Calls through a Qlik proxy: one session for all connections, renewed, and no start twice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import OutcomeUnknown, QlikRefused, QlikUnavailable
from butler_mqtt.qrs.repository import RepositoryClient
from butler_mqtt.settings import QrsSettings, Retry
from tests.brokers import until
from tests.integration.qrs.scripted_server import Call, Server, reply, serving
from tests.integration.simulator.running import QUICK, TASKS, Client, Running, running

SALES = Task("fb0f317d-da91-4b86-aafa-0174ae1e8c8f", "Sales", 0)
TASK = Task(QUICK, "Quick", 0)
RUN = "9a7f2a40-1d7b-4c55-9b0a-2f1b7f1e0001"
STARTED = reply(201, {"value": RUN})
ABOUT = reply(200, {"buildVersion": "1"})
THREADS = 8


class Site:
    """The simulator with its proxy, and clients of it."""

    def __init__(self, simulator: Running, folder: Path) -> None:
        where = urlsplit(simulator.proxy_url)
        self.admin = Client(simulator).admin
        self.token_file = folder / "butler.jwt"
        self.settings = QrsSettings(
            authentication="jwt",
            host=str(where.hostname),
            port=int(where.port or 0),
            virtual_proxy="butler",
            jwt_file=self.token_file,
            client_cert_ca=simulator.certs / "root.pem",
            headers=(),
            retry=Retry(attempts=1, max_seconds=5),
        )
        self.admin("POST", "/reset")
        self.admin("DELETE", "/proxy/sessions")
        self.put_token()
        self._before = self._counts()

    def put_token(self, **fields: Any) -> None:
        self.token_file.write_text(self.admin("POST", "/proxy/tokens", fields)["token"] + "\n")

    def _counts(self) -> dict[str, int]:
        return {key: value for key, value in self.admin("GET", "/proxy").items() if isinstance(value, int)}

    def counted(self, what: str) -> int:
        """Count what came since the test began."""
        return self._counts()[what] - self._before[what]

    def users(self) -> list[str]:
        return [one["user"] for one in self.admin("GET", "/proxy")["sessions"]]

    def starts(self) -> int:
        return int(self.admin("GET", "/starts")["executions"])

    def client(self, **changes: object) -> RepositoryClient:
        settings = replace(self.settings, **changes)  # type: ignore[arg-type] # a test names fields it knows
        return RepositoryClient(settings, threading.Event())


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "site.yaml").write_text(TASKS)
    options = ("--tasks", str(folder / "site.yaml"), "--proxy-port", "0", "--switch", "alreadyRunning=second")
    with running(folder / "certs", *options) as started:
        yield started


@pytest.fixture
def site(simulator: Running, tmp_path: Path) -> Site:
    return Site(simulator, tmp_path)


HEADER_LOGIN = {
    "authentication": "header",
    "virtual_proxy": "header",
    "headers": (("hdr-usr", "LAB\\butler"),),
    "jwt_file": None,
}


def test_the_token_logs_in_and_its_user_is_who_starts(site: Site) -> None:
    site.put_token(user="LAB\\butler")
    assert site.client().connection().start(TASK)
    assert site.users() == ["LAB\\butler"]
    (call,) = site.admin("GET", "/calls?method=POST")["calls"]
    assert call["user"] == "LAB\\butler"


def test_a_header_logs_in_where_the_virtual_proxy_takes_one(site: Site) -> None:
    assert site.client(**HEADER_LOGIN).connection().start(TASK)
    assert site.users() == ["LAB\\butler"]
    assert site.counted("opened") == 1


@pytest.mark.parametrize("changes", [{}, HEADER_LOGIN], ids=["jwt", "header"])
def test_connections_of_many_threads_share_one_session(site: Site, changes: dict[str, Any]) -> None:
    client = site.client(**changes)
    together = threading.Barrier(THREADS)

    def work(_: int) -> None:
        connection = client.connection()
        together.wait()
        for _ in range(5):
            connection.about()
        connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert (site.counted("opened"), site.counted("refused")) == (1, 0)


def test_threads_that_find_the_session_over_open_one_new_session_together(site: Site) -> None:
    client = site.client()
    connections = [client.connection() for _ in range(THREADS)]
    connections[0].about()
    site.admin("DELETE", "/proxy/sessions")
    with ThreadPoolExecutor(THREADS) as pool:
        ids = list(pool.map(lambda one: one.start(TASK), connections))
    assert len(set(ids)) == site.starts() == THREADS
    assert site.counted("opened") == 2


@pytest.mark.parametrize("refusal", ["401", "redirect"])
def test_a_start_that_finds_the_session_over_is_made_once_in_a_new_session(
    site: Site, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "butler_mqtt.qrs")
    site.admin("PUT", "/switches", {"proxyRefusal": refusal})
    connection = site.client().connection()
    connection.about()
    site.admin("DELETE", "/proxy/sessions")
    assert connection.start(TASK)
    assert site.starts() == 1
    assert [one.message for one in caplog.records if "new one" in one.message] == [
        f"the session at the proxy 127.0.0.1:{site.settings.port}/butler/qrs was over: a new one is open"
    ]


def test_a_session_that_was_idle_for_too_long_is_renewed(site: Site) -> None:
    connection = site.client().connection()
    connection.about()
    site.admin("PUT", "/switches", {"proxySessionSeconds": 1})
    until(lambda: not site.users(), what="the end of the session")
    assert connection.start(TASK)
    assert site.counted("opened") == 2


def test_a_proxy_that_wants_the_token_each_time_gets_it_in_one_session(site: Site) -> None:
    site.admin("PUT", "/switches", {"proxyCredentials": "always"})
    connection = site.client().connection()
    for _ in range(3):
        connection.about()
    assert connection.start(TASK)
    assert site.counted("opened") == 1
    assert site.counted("refused") == 1


def test_a_new_token_in_the_file_is_used_with_the_next_call(site: Site) -> None:
    connection = site.client().connection()
    connection.about()
    site.put_token(user="LAB\\other")
    connection.about()
    assert site.users()[-1] == "LAB\\other"
    site.token_file.touch()
    connection.about()
    assert site.counted("opened") == 2


def test_a_token_file_that_becomes_unusable_does_not_end_the_session(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    connection = site.client().connection()
    connection.about()
    site.token_file.write_text("half a tok")
    for _ in range(2):
        connection.about()
    (warning,) = caplog.records
    assert "holds no token" in warning.message
    site.token_file.unlink()
    connection.about()
    site.admin("DELETE", "/proxy/sessions")
    with pytest.raises(QlikUnavailable, match=r"configQRS\.jwtFile: .* cannot be read: No such file"):
        connection.about()
    site.put_token()
    assert connection.start(TASK)


def test_a_token_that_is_refused_is_an_outage_that_says_why(site: Site) -> None:
    client = site.client()
    connection = client.connection()
    site.put_token(seconds=-60)
    for ask in (connection.about, lambda: connection.start(TASK)):
        with pytest.raises(QlikUnavailable, match=r"configQRS\.jwtFile \(401\): it expired on 20"):
            ask()
    assert not client.reachable
    site.put_token(claims={"user": "x", "exp": 4e9})
    with pytest.raises(QlikUnavailable, match="its claims have the names configured there"):
        connection.about()
    site.put_token(claims={"nbf": 4e9})
    with pytest.raises(QlikUnavailable, match="it is not valid before 2"):
        connection.about()
    assert site.starts() == 0
    site.put_token()
    assert connection.start(TASK)
    assert client.reachable


def test_a_header_that_is_refused_is_an_outage_that_names_it(site: Site) -> None:
    site.admin("PUT", "/switches", {"proxyRefusal": "redirect"})
    connection = site.client(**HEADER_LOGIN | {"headers": (("x-other", "v"),)}).connection()
    with pytest.raises(QlikUnavailable, match=r"our header \(302, to a login\): configQRS\.headers\.static"):
        connection.start(TASK)


def test_no_more_sessions_than_the_user_may_have_are_an_outage_that_quotes_the_page(site: Site) -> None:
    site.admin("PUT", "/switches", {"proxySessions": 0})
    with pytest.raises(QlikUnavailable, match="403 an HTML page titled 'No access: too many parallel"):
        site.client().connection().start(TASK)


def test_a_prefix_that_is_no_virtual_proxy_is_an_outage(site: Site) -> None:
    with pytest.raises(QlikUnavailable, match=r"302, to a login.*configQRS\.virtualProxy"):
        site.client(virtual_proxy="other").connection().about()


# ---- what a proxy answers, byte by byte


def client_of(server: Server, folder: Path, **changes: object) -> RepositoryClient:
    token = folder / "butler.jwt"
    token.write_text("eyJh.eyJl.c2ln")
    settings = QrsSettings(
        authentication="jwt",
        host="127.0.0.1",
        port=server.port,
        use_ssl=False,
        virtual_proxy="butler",
        jwt_file=token,
        retry=Retry(attempts=1, max_seconds=1),
        read_timeout_seconds=5,
    )
    return RepositoryClient(replace(settings, **changes), threading.Event())  # type: ignore[arg-type] # as above


def by_path(**answers: bytes) -> Callable[[Call], bytes]:
    """Answer logins and starts as named, everything else with an empty list."""

    def answer(call: Call) -> bytes:
        if "/about" in call.target:
            return answers["login"]
        return answers["start"] if "/start" in call.target else reply(200, [])

    return answer


def test_a_call_brings_the_cookies_of_the_login_and_not_the_token(tmp_path: Path) -> None:
    login = ABOUT.replace(
        b"\r\n\r\n",
        b"\r\nSet-Cookie: X-Qlik-Session-butler=abc=; Path=/; Partitioned\r\nSet-Cookie: LB=n1\r\n\r\n",
        1,
    )
    with serving(by_path(login=login, start=STARTED), None) as server:
        connection = client_of(server, tmp_path).connection()
        assert connection.start(SALES) == RUN
        connection.close()
        first, start = server.calls
    assert first.headers["authorization"] == "Bearer eyJh.eyJl.c2ln"
    assert "cookie" not in first.headers
    assert start.headers["cookie"] == "X-Qlik-Session-butler=abc=; LB=n1"
    assert "authorization" not in start.headers
    assert start.target.startswith(f"/butler/qrs/task/{SALES.id}/start/synchronous?xrfkey=")
    assert "x-qlik-user" not in start.headers


def test_cookies_are_renewed_and_deleted_as_answers_say(tmp_path: Path) -> None:
    lines = iter(
        ["LB=n1; Max-Age=60", "LB=n2", "X=1", "LB=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "X=; Max-Age=0"]
    )

    def answer(_: Call) -> bytes:
        line = next(lines, "")
        return reply(200, {}, **({"Set_Cookie": line} if line else {}))

    with serving(answer, None) as server:
        connection = client_of(server, tmp_path).connection()
        for _ in range(6):
            connection.about()
        connection.close()
        sent = [call.headers.get("cookie", "") for call in server.calls]
    assert sent == ["", "LB=n1", "LB=n2", "LB=n2; X=1", "X=1", "", ""]


def test_a_proxy_without_cookies_gets_the_token_with_each_call(tmp_path: Path) -> None:
    with serving(by_path(login=ABOUT, start=STARTED), None) as server:
        connection = client_of(server, tmp_path, virtual_proxy=None).connection()
        assert connection.start(SALES) == RUN
        assert connection.start(SALES) == RUN
        connection.close()
    assert [urlsplit(call.target).path for call in server.calls] == [
        "/qrs/about",
        f"/qrs/task/{SALES.id}/start/synchronous",
        f"/qrs/task/{SALES.id}/start/synchronous",
    ]
    assert all(call.headers["authorization"] for call in server.calls)


@pytest.mark.parametrize("status", [401, 301, 302, 303, 307, 308])
def test_a_start_that_the_proxy_refuses_again_and_again_began_nothing(status: int, tmp_path: Path) -> None:
    login = ABOUT.replace(b"\r\n\r\n", b"\r\nSet-Cookie: S=1\r\n\r\n", 1)
    with serving(by_path(login=login, start=reply(status)), None) as server:
        connection = client_of(server, tmp_path).connection()
        with pytest.raises(QlikUnavailable, match="the proxy refuses the token"):
            connection.start(SALES)
        connection.close()


def test_a_start_that_was_sent_and_not_answered_stays_in_doubt(tmp_path: Path) -> None:
    with serving(by_path(login=ABOUT, start=reply(502)), None) as server:
        connection = client_of(server, tmp_path).connection()
        with pytest.raises(OutcomeUnknown):
            connection.start(SALES)
        connection.close()


@pytest.mark.parametrize("login", [reply(502), reply(404, b"<html>"), reply(200, b"<html>")], ids=repr)
def test_a_login_that_fails_sends_no_start(login: bytes, tmp_path: Path) -> None:
    with serving(by_path(login=login, start=STARTED), None) as server:
        connection = client_of(server, tmp_path).connection()
        with pytest.raises(QlikUnavailable, match="logging in at the proxy: "):
            connection.start(SALES)
        connection.close()
        assert len(server.calls) == 1


def test_a_refusal_of_the_repository_stays_one(tmp_path: Path) -> None:
    login = ABOUT.replace(b"\r\n\r\n", b"\r\nSet-Cookie: S=1\r\n\r\n", 1)
    with serving(by_path(login=login, start=reply(403, b"Forbidden")), None) as server:
        connection = client_of(server, tmp_path).connection()
        with pytest.raises(QlikRefused):
            connection.start(SALES)
        connection.close()


def test_nothing_of_a_token_stands_in_an_error_or_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "butler_mqtt")
    with serving(lambda _: reply(401), None) as server:
        client = client_of(server, tmp_path)
        connection = client.connection()
        with pytest.raises(QlikUnavailable) as caught:
            connection.find([Selector(SelectorKind.TAG, "a")])
        connection.close()
    shown = f"{caught.value}{caplog.text}{client.settings!r}"
    assert not any(part in shown for part in ("eyJh", "eyJl", "c2ln"))

"""Who gets in to the page, under which addresses, and for how long."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.brokers import until
from tests.integration.http.daemon_with_listeners import ListeningDaemon
from tests.integration.page.conftest import ROLES, tokens

_addresses = (f"127.0.2.{number}" for number in itertools.count(1))


class FromAddress(HTTPAdapter):
    """Connects from an address of the loopback network."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, source_address=(self._address, 0))


class Visitor:
    """A browser without a screen: keeps cookies, follows nothing, comes from an address of its own."""

    def __init__(self, paged: ListeningDaemon) -> None:
        self._url = paged.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount("http://", FromAddress(next(_addresses)))

    def get(self, path: str, headers: dict[str, str] | None = None) -> requests.Response:
        return self.session.get(self._url + path, headers=headers, allow_redirects=False, timeout=30)

    def post(
        self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
    ) -> requests.Response:
        return self.session.post(
            self._url + path, data=fields, headers=headers, allow_redirects=False, timeout=30
        )

    def sign_in(self, token: str) -> requests.Response:
        return self.post("/ui/sign-in", {"token": token, "next": "/ui/health"}, {"Origin": self._url})

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', self.get("/ui/").text)
        assert found is not None
        return found[1]


@pytest.fixture
def visitor(paged: ListeningDaemon) -> Iterator[Visitor]:
    one = Visitor(paged)
    yield one
    one.session.close()


def test_a_session_is_a_cookie_that_no_script_and_no_other_site_gets(visitor: Visitor) -> None:
    answer = visitor.sign_in("wall-display")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/health")
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/ui", "Max-Age=28800"} <= {*cookie.split("; ")}
    assert "Secure" not in cookie.split("; ")
    assert "wall-display" not in cookie
    assert visitor.get("/ui/health").status_code == 200


def test_cookies_of_other_ports_and_hosts_do_not_hide_a_session(visitor: Visitor) -> None:
    """A page on another port of this host, or on a sibling of its name, can set cookies of the same name."""
    visitor.sign_in("wall-display")
    ours = f"butler_mqtt_page={visitor.session.cookies['butler_mqtt_page']}"
    visitor.session.cookies.clear()
    junk = 'butler_mqtt_page=junk; butler_mqtt_page="; butler_mqtt_page'
    sent = {"Cookie": f"{junk}; {ours}; {junk}"}
    assert visitor.get("/ui/health", sent).status_code == 200
    assert visitor.get("/ui/health", {"Cookie": junk}).status_code == 303
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', visitor.get("/ui/", sent).text)
    assert found is not None
    assert visitor.post("/ui/sign-out", {"csrf": found[1]}, sent).status_code == 303
    assert visitor.get("/ui/health", sent).status_code == 303


def test_every_answer_says_that_nothing_else_may_be_loaded(visitor: Visitor) -> None:
    for path in ("/ui/sign-in", "/ui/static/page.css", "/ui/", "/ui/static/none"):
        policy = visitor.get(path).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy


@pytest.mark.parametrize("token", ["erp", "nobody", ""])
def test_a_token_without_a_role_for_the_page_signs_nobody_in(visitor: Visitor, token: str) -> None:
    answer = visitor.sign_in(token)
    assert answer.status_code == 401
    assert "no token that may sign in" in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_token_alone_shows_nothing_of_the_page(visitor: Visitor) -> None:
    answer = visitor.get("/ui/requests?state=failed", {"Authorization": "Bearer night-operator"})
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/ui/sign-in?next=/ui/requests%3Fstate%3Dfailed"
    assert visitor.get("/ui/live").status_code == 401
    assert visitor.get("/ui/", {"X-Live-Part": "1"}).status_code == 401


def test_a_session_opens_the_page_alone(visitor: Visitor) -> None:
    visitor.sign_in("night-operator")
    assert visitor.get("/v4/requests").status_code == 401


@pytest.mark.parametrize(
    "following", ["https://evil.example", "//evil.example", "/ui/\\evil.example", "/ui/sign-out", "/v4/x"]
)
def test_signing_in_leads_nowhere_else(visitor: Visitor, following: str) -> None:
    answer = visitor.post("/ui/sign-in", {"token": "wall-display", "next": following})
    assert answer.headers["Location"] == "/ui/"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=str,
)
def test_what_another_site_sends_is_refused(visitor: Visitor, headers: dict[str, str]) -> None:
    visitor.sign_in("night-operator")
    for answer in (visitor.get("/ui/", headers), visitor.post("/ui/start", {}, headers)):
        assert answer.status_code == 403
        assert "forbidden" in answer.text


#: What only an operator's forms do.
ACTIONS = ["/ui/start", *(f"/ui/requests/x/{action}" for action in ("cancel", "retry", "discard"))]


@pytest.mark.parametrize("path", ["/ui/sign-out", *ACTIONS])
def test_a_form_of_another_session_does_nothing(visitor: Visitor, path: str) -> None:
    visitor.sign_in("night-operator")
    fields = {"kind": "tag", "value": "x", "if_running": "queue", "step": "start", "request_id": "foreign"}
    for csrf in ("", "0" * 64):
        answer = visitor.post(path, {**fields, "csrf": csrf})
        assert answer.status_code == 403
        assert "Form out of date" in answer.text
    assert visitor.get("/ui/").status_code == 200
    assert visitor.get("/ui/requests/foreign").status_code == 404


@pytest.mark.parametrize("path", ACTIONS)
def test_a_form_of_a_reader_does_nothing(visitor: Visitor, path: str) -> None:
    visitor.sign_in("wall-display")
    fields = {"kind": "tag", "value": "x", "if_running": "queue", "step": "start", "request_id": "reader"}
    answer = visitor.post(path, {**fields, "csrf": visitor.csrf()})
    assert answer.status_code == 403
    assert "role reader" in answer.text
    assert visitor.get("/ui/requests/reader").status_code == 404


def test_a_form_that_is_sent_twice_has_its_effect_once(paged: ListeningDaemon, visitor: Visitor) -> None:
    task = paged.qlik.task("Twice")
    visitor.sign_in("night-operator")
    fields = {"kind": "taskId", "value": task, "if_running": "queue", "step": "start"}
    for _ in range(2):
        answer = visitor.post("/ui/start", {**fields, "csrf": visitor.csrf(), "request_id": "page-twice"})
        assert answer.headers["Location"].startswith("/ui/requests/page-twice")
    assert paged.decided("page-twice")["totalTasksStarted"] == 1
    assert paged.qlik.posts(task) == 1


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/ui/none", 404, "There is no such page"),
        ("/ui/requests/none", 404, "No request &#39;none&#39; is known"),
        ("/ui/requests?since=yesterday", 400, "Since is &#39;yesterday&#39;"),
        ("/ui/tasks?after=x", 400, "The list has changed since"),
        ("/ui/sign-out", 405, "use the page&#39;s forms"),
    ],
)
def test_a_fault_is_a_page_that_says_what_is_wrong(
    visitor: Visitor, path: str, status: int, says: str
) -> None:
    visitor.sign_in("wall-display")
    answer = visitor.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert says in answer.text


def test_a_session_ends_with_its_token_and_outlives_a_restart(
    paged: ListeningDaemon, visitor: Visitor
) -> None:
    visitor.sign_in("wall-display")
    live = visitor.session.get(f"{paged.url}/ui/live", stream=True, timeout=60)
    events = live.iter_lines(decode_unicode=True)
    assert next(line for line in events if line.startswith("event")) == "event: begin"
    configure(paged, "night-operator", "erp")
    assert visitor.get("/ui/").status_code == 303
    # Whoever still looks is told with the next change.
    paged.post({"tag": "nobody"})
    assert next(line for line in events if line.startswith("event")) == "event: end"
    live.close()
    configure(paged, *ROLES)
    assert visitor.get("/ui/").status_code == 200
    assert paged.daemon.stop() == 0
    paged.start()
    assert visitor.get("/ui/").status_code == 200
    kept = paged.daemon.journal.with_name("journal.sqlite.sessions")
    assert kept.stat().st_mode & 0o077 == 0
    assert (visitor.session.cookies.get("butler_mqtt_page") or "none") not in kept.read_text()


def configure(paged: ListeningDaemon, *names: str) -> None:
    """Have the daemon read its configuration again, with these tokens."""
    reloads = paged.daemon.logged("configuration reloaded")
    rest: dict[str, Any] = {"auth": {"tokens": tokens(*names)}}
    paged.daemon.configure(restServerConfig=rest)
    paged.daemon.signal(signal.SIGHUP)
    until(lambda: paged.daemon.logged("configuration reloaded") > reloads, what="it was read")


def test_signing_in_is_slowed_down_after_some_attempts(visitor: Visitor) -> None:
    answers = [visitor.sign_in("guess") for _ in range(12)]
    late = answers[-1]
    assert (late.status_code, "Too many attempts" in late.text) == (429, True)
    assert int(late.headers["Retry-After"]) > 0
    assert visitor.sign_in("night-operator").status_code == 429


def test_one_who_guesses_slows_nobody_else_down(paged: ListeningDaemon, visitor: Visitor) -> None:
    while visitor.sign_in("guess").status_code != 429:
        pass
    other = Visitor(paged)
    with other.session:
        assert other.sign_in("night-operator").status_code == 303

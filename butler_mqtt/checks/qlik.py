"""Checks the Qlik Repository Service: connection, clock, rights of the user, allow-list."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from butler_mqtt.checks import qrs_certificates, qrs_token, site_behaviour, site_lists, site_refusals
from butler_mqtt.checks.finding import Finding, State, ok, unreachable, warning, wrong
from butler_mqtt.checks.site_lists import ReadJson
from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.printable import counted
from butler_mqtt.qrs.proxy_session import LoginRefused
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.qrs.transport import ExchangeFailed, HttpAnswer
from butler_mqtt.settings import QrsSettings, Retry, Settings

#: Seconds between the server's clock and ours from which on there is a warning; `Date` has whole seconds.
CLOCK_SECONDS = 5.0
#: Seconds from which on `expiresAt` and certificates are judged differently there and here.
CLOCKS_APART_SECONDS = 60.0
#: Short, since an operator waits for the result.
_RETRY = Retry(attempts=2, max_seconds=10.0)
#: Statuses about the user, not about the call.
_RIGHTS = frozenset({401, 403})
_READ = "give the user (X-Qlik-User, or the token's) read on tasks, sessions and results (docs/security.md)"


def check(settings: Settings) -> Iterator[Finding]:
    """Check everything the daemon does with the server, except starting a task."""
    qrs = replace(settings.qrs, retry=_RETRY)
    if qrs.authentication == "jwt" and qrs.jwt_file is not None:
        yield from qrs_token.check(qrs.jwt_file)
    if qrs.use_ssl:
        yield from qrs_certificates.files(qrs)
        if qrs_certificates.fault_of_files(qrs) is not None:
            return
        for finding in qrs_certificates.server(qrs):
            yield finding
            if finding.state is State.WRONG:
                return
    shared = RepositoryClient(qrs, threading.Event())
    transport = shared.transport()

    def read(path: str, query: str = "", *, xrfkey: str | None = None) -> HttpAnswer:
        return transport.exchange("GET", path, query, xrfkey=xrfkey)

    with closing(shared.connection()) as connection, closing(transport):
        connected = _connected(shared, connection)
        yield connected
        if connected.state not in {State.OK, State.WARNING}:
            return
        yield _clock(shared)
        yield from _rights(connection, read)
        yield _capacity(connection)
        yield from _allowed(settings, connection)
        try:
            yield from site_behaviour.check(read)
            yield from site_refusals.check(read)
        except ExchangeFailed as error:
            yield unreachable("qlik.connection", f"the connection was lost: {error}", "run this again")


def _connected(shared: RepositoryClient, connection: RepositoryConnection) -> Finding:
    name, place = "qlik.connection", shared.place
    try:
        about = connection.about()
    except QlikError as error:
        if _resolves(connection):
            return warning(
                name,
                f"{place} answers, except for /qrs/about: {error}",
                "requests work; check that no proxy between hides /qrs/about",
            )
        return _without(shared, error)
    return ok(name, f"{place} answers, Repository Service {about.get('buildVersion', 'of unknown build')}")


def _resolves(connection: RepositoryConnection) -> bool:
    """Return whether the server answers the calls that requests need."""
    try:
        connection.find([Selector(SelectorKind.TASK_ID, str(uuid.uuid4()))])
    except QlikError:
        return False
    return True


def _without(shared: RepositoryClient, error: QlikError) -> Finding:
    """Return why the server cannot be used at all."""
    name, text = "qlik.connection", str(error)
    if isinstance(error, QlikRefused):
        if "xsrf" in text.lower():
            advice = "a proxy between removes the xrfkey: connect to the server's port 4242 directly"
        elif "account is inactive" in text.lower():
            advice = "activate the user in the QMC, or name another in configQRS.headers.static"
        elif error.status in _RIGHTS:
            advice = f"check {_user(shared.settings)}: the user must exist and have rights"
        else:
            advice = f"this is no Repository Service: {_where(shared.settings)}"
        return wrong(name, text, advice)
    if isinstance(error.__cause__, LoginRefused):
        return wrong(name, text, "see docs/security.md, Through the Qlik proxy")
    certified = shared.settings.use_ssl and not shared.settings.through_proxy
    refused = qrs_certificates.refusal(shared.settings) if certified else None
    if refused is not None:
        return refused
    if "an HTML page" in text:
        advice = (
            "a page is no answer of the Repository Service: it has not started (see its log), or"
            f" another program answers: {_where(shared.settings)}"
        )
    elif shared.server_time() is not None:
        advice = "the server answers: check that the Repository Service has started, and its log"
    else:
        advice = "check configQRS.host and port, that the Repository Service runs, and the firewall"
    return unreachable(name, text, advice)


def _user(qrs: QrsSettings) -> str:
    """Return where the user is named whose rights count."""
    if qrs.authentication == "jwt":
        return "the user that the token in configQRS.jwtFile names"
    if qrs.authentication == "header":
        return "the user that configQRS.headers.static names"
    return "X-Qlik-User in configQRS.headers.static"


def _where(qrs: QrsSettings) -> str:
    """Return what host and port must be."""
    if qrs.through_proxy:
        return "configQRS.host and port must be the Qlik proxy's, virtualProxy one for this login"
    return "configQRS.host and port must be the repository's own, 4242"


def _clock(shared: RepositoryClient) -> Finding:
    server = shared.server_time()
    if server is None:
        return warning(
            "qlik.clock",
            "the server does not send its time",
            "a start whose answer is lost cannot be reconciled and is reported as unknown",
        )
    apart = abs((server - datetime.now(UTC)).total_seconds())
    if apart > CLOCKS_APART_SECONDS:
        return wrong(
            "qlik.clock",
            f"the server's clock and ours are {apart:.0f} s apart",
            "synchronise both (NTP: timedatectl here, w32tm on Windows); expiresAt and issuedAt are compared "
            "with our clock",
        )
    if apart > CLOCK_SECONDS:
        return warning(
            "qlik.clock",
            f"the server's clock and ours are {apart:.0f} s apart",
            "synchronise both; expiresAt and issuedAt are compared with our clock",
        )
    return ok("qlik.clock", f"the server's clock and ours are {apart:.0f} s apart")


def _rights(connection: RepositoryConnection, read: ReadJson) -> Iterator[Finding]:
    unknown = str(uuid.uuid4())
    selector = Selector(SelectorKind.TASK_ID, unknown)
    try:
        found = connection.find([selector])[selector]
        if isinstance(found, QlikRefused):
            raise found
    except QlikError as error:
        yield wrong("qlik.tasks", f"tasks cannot be read: {error}", _advice(error))
        return
    count = _count(read)
    if count == 0:
        yield wrong(
            "qlik.tasks",
            "the user sees no task at all: it has no right to read any, or is not known to Qlik Sense, or the"
            " site has none",
            _READ,
        )
    elif count is None:
        yield ok("qlik.tasks", "the user may read tasks; how many it sees is not known")
    else:
        yield ok("qlik.tasks", f"the user sees {counted(count, 'task')}")
    try:
        connection.executions([unknown])
    except QlikError as error:
        yield wrong("qlik.executions", f"sessions and results cannot be read: {error}", _advice(error))
    else:
        yield ok("qlik.executions", "execution sessions and results can be read")


def _count(read: ReadJson) -> int | None:
    """Count the tasks that the user sees, by their list where needed; None if neither can be read."""
    try:
        count = site_lists.count(read)
        if isinstance(count, int):
            return count
        rows = site_lists.rows_of(read("/task/full"))
    except ExchangeFailed:
        return None
    return None if rows is None else len(rows)


def _advice(error: QlikError) -> str:
    if not isinstance(error, QlikRefused):
        return "the server fails to answer this: see the Repository Service's log, and run this again"
    if error.status in _RIGHTS:
        return _READ
    return (
        "the server does not understand a call of the daemon: check that configQRS.host and port are the "
        "Repository Service itself, and its version"
    )


def _capacity(connection: RepositoryConnection) -> Finding:
    try:
        engines = connection.capacity()
    except QlikError as error:
        return warning(
            "site.capacity",
            f"the schedulers cannot be read: {error}",
            "startTask.maxConcurrentReloads: auto has no effect for this user",
        )
    if not engines:
        return warning("site.capacity", "the server shows no scheduler", "auto has no effect for this user")
    return ok("site.capacity", f"the schedulers run {engines} reloads at one time")


def _allowed(settings: Settings, connection: RepositoryConnection) -> Iterator[Finding]:
    """Check whether each entry of the allow-list matches a task."""
    allow = settings.start_task_filter
    if not allow.enable:
        yield ok("filter", "startTaskFilter is off: every task may be started")
        return
    selectors = [Selector(SelectorKind.TASK_ID, task_id) for task_id in sorted(allow.task_ids)]
    selectors += [Selector(SelectorKind.TAG, tag) for tag in allow.tags]
    selectors += [
        Selector(SelectorKind.CUSTOM_PROPERTY, value, name) for name, value in allow.custom_properties
    ]
    if not selectors:
        yield warning("filter", "startTaskFilter is on and allows nothing", "name tasks in allowTask")
        return
    try:
        answers = connection.find(selectors)
    except QlikError as error:
        yield wrong("filter", f"the allow-list cannot be resolved: {error}", "see the lines above")
        return
    allowed: dict[str, Task] = {}
    for selector, answer in answers.items():
        if not answer or isinstance(answer, QlikRefused):
            yield warning(
                "filter",
                f"allowTask has an entry that matches no task: {selector.as_json()}",
                "a misspelling?",
            )
        else:
            allowed |= {task.id: task for task in answer}
    yield ok("filter", f"startTaskFilter allows {counted(len(allowed), 'task')}")

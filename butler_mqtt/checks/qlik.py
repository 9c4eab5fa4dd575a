"""Tries the Qlik Repository Service: connection, clock, rights of the user, allow-list."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from butler_mqtt.checks import qrs_certificates, site_behaviour, site_lists
from butler_mqtt.checks.finding import Finding, State, ok, unreachable, warning, wrong
from butler_mqtt.checks.site_lists import ReadJson
from butler_mqtt.domain.model import Selector, SelectorKind, Task
from butler_mqtt.errors import QlikError, QlikRefused
from butler_mqtt.qrs.repository import RepositoryClient, RepositoryConnection
from butler_mqtt.qrs.transport import ExchangeFailed, HttpAnswer, Transport
from butler_mqtt.settings import Retry, Settings

#: Seconds between the server's clock and ours that are worth a line; `Date` has whole seconds.
CLOCK_SECONDS = 5.0
#: As many make `expiresAt` and certificates mean something else there than here.
CLOCKS_APART_SECONDS = 60.0
#: An operator waits for the answer: a server that is down is not asked for a minute.
_RETRY = Retry(attempts=2, max_seconds=10.0)
#: Statuses that speak of the user, not of the question.
_RIGHTS = frozenset({401, 403})
_READ = "give the user in X-Qlik-User read on tasks, execution sessions and results (docs/security.md)"


def check(settings: Settings) -> Iterator[Finding]:
    """Try everything the daemon does with the server, short of starting a task."""
    qrs = replace(settings.qrs, retry=_RETRY)
    if qrs.use_ssl:
        yield from qrs_certificates.files(qrs)
        for finding in qrs_certificates.server(qrs):
            yield finding
            if finding.state is State.WRONG:
                return
    shared, transport = RepositoryClient(qrs, threading.Event()), Transport(qrs)

    def read(path: str, query: str = "") -> HttpAnswer:
        return transport.exchange("GET", path, query)

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
        except ExchangeFailed as error:
            yield unreachable("qlik.connection", f"the connection was lost: {error}", "run this again")


def _connected(shared: RepositoryClient, connection: RepositoryConnection) -> Finding:
    name, place = "qlik.connection", shared.place
    try:
        about = connection.about()
    except QlikError as error:
        if _finds(connection):
            return warning(
                name,
                f"{place} answers, except to the question for its build: {error}",
                "requests that name tasks go on; see that nothing on the way hides /qrs/about",
            )
        return _without(shared, error)
    return ok(name, f"{place} answers, Repository Service {about.get('buildVersion', 'of unknown build')}")


def _finds(connection: RepositoryConnection) -> bool:
    """See whether the server answers what the daemon asks all day."""
    try:
        connection.find([Selector(SelectorKind.TASK_ID, str(uuid.uuid4()))])
    except QlikError:
        return False
    return True


def _without(shared: RepositoryClient, error: QlikError) -> Finding:
    """Say why the server cannot be used at all."""
    name, text = "qlik.connection", str(error)
    if isinstance(error, QlikRefused):
        if "xsrf" in text.lower():
            advice = "something on the way takes away the xrfkey: connect to the server's port 4242 directly"
        elif error.status in _RIGHTS:
            advice = "check X-Qlik-User in configQRS.headers.static: the user must exist and have rights"
        else:
            advice = "this is no Repository Service: configQRS.host and port must be its own, 4242"
        return wrong(name, text, advice)
    refused = qrs_certificates.refusal(shared.settings) if shared.settings.use_ssl else ""
    if refused:
        return wrong(
            name,
            f"{shared.place}: {refused}",
            "take client.pem and its key from this site's own export, not expired",
        )
    if shared.server_time() is not None:
        advice = "the server is there: see that the Repository Service has started, and its log"
    else:
        advice = "check configQRS.host and port, that the Repository Service runs, and the firewall"
    return unreachable(name, text, advice)


def _clock(shared: RepositoryClient) -> Finding:
    server = shared.server_time()
    if server is None:
        return warning(
            "qlik.clock",
            "the server does not tell its time",
            "a start whose answer is lost cannot be settled and is reported as unknown",
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
    count = _seen(read)
    if count == 0:
        yield warning("qlik.tasks", "the user sees no task at all", _READ)
    elif count is None:
        yield ok("qlik.tasks", "the user may ask for tasks; how many it sees cannot be told")
    else:
        yield ok("qlik.tasks", f"the user sees {count} tasks")
    try:
        connection.executions([unknown])
    except QlikError as error:
        yield wrong("qlik.executions", f"sessions and results cannot be read: {error}", _advice(error))
    else:
        yield ok("qlik.executions", "execution sessions and results can be read")


def _seen(read: ReadJson) -> int | None:
    """Count the tasks that the user sees, by their list where need be; None if the server does not tell."""
    try:
        count = site_lists.number_of(read("/task/count"))
        if count is not None:
            return count
        rows = site_lists.rows_of(read("/task/full"))
    except ExchangeFailed:
        return None
    return None if rows is None else len(rows)


def _advice(error: QlikError) -> str:
    if not isinstance(error, QlikRefused):
        return "the server does not get this done: look into the repository's log, and run this again"
    if error.status in _RIGHTS:
        return _READ
    return (
        "the server does not understand what the daemon needs: see that configQRS.host and port are the "
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
    """See whether each entry of the allow-list means a task."""
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
        yield wrong("filter", f"the allow-list cannot be looked up: {error}", "see the lines above")
        return
    allowed: dict[str, Task] = {}
    for selector, answer in answers.items():
        if not answer or isinstance(answer, QlikRefused):
            yield warning(
                "filter", f"allowTask names what no task has: {selector.as_json()}", "a misspelling?"
            )
        else:
            allowed |= {task.id: task for task in answer}
    yield ok("filter", f"startTaskFilter allows {len(allowed)} tasks")

"""Tries the Qlik Repository Service: connection, clock, rights of the user, allow-list."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

from butler_mqtt.checks import certificates, site
from butler_mqtt.checks.finding import Finding, State, ok, unreached, warning, wrong
from butler_mqtt.errors import QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.model import Selector, SelectorKind, Task
from butler_mqtt.qrs import Connection, Qrs
from butler_mqtt.qrs.transport import Answer, ExchangeFailed, Transport
from butler_mqtt.settings import Retry, Settings

#: Seconds between the server's clock and ours that are worth a line; `Date` has whole seconds.
CLOCK_SECONDS = 5.0
#: As many make `expiresAt` and certificates mean something else there than here.
CLOCKS_APART_SECONDS = 60.0
#: An operator waits for the answer: a server that is down is not asked for a minute.
_RETRY = Retry(attempts=2, max_seconds=10.0)


def check(settings: Settings) -> Iterator[Finding]:
    """Try everything the daemon does with the server, short of starting a task."""
    qrs = replace(settings.qrs, retry=_RETRY)
    if qrs.use_ssl:
        yield from certificates.files(qrs)
        for finding in certificates.server(qrs):
            yield finding
            if finding.state is State.WRONG:
                return
    shared = Qrs(qrs, threading.Event())
    with closing(shared.connection()) as connection:
        connected = _connected(shared, connection)
        yield connected
        if connected.state is not State.OK:
            return
        yield _clock(shared)
        yield from _rights(connection)
        yield _capacity(connection)
        yield from _allowed(settings, connection)
    yield from _site(Transport(qrs))


def _connected(shared: Qrs, connection: Connection) -> Finding:
    name, place = "qlik.connection", shared.place
    try:
        about = connection.about()
    except QlikUnavailable as error:
        refused = certificates.refusal(shared.settings) if shared.settings.use_ssl else ""
        if refused:
            return wrong(
                name,
                f"{place}: {refused}",
                "take client.pem and its key from this site's own export, not expired",
            )
        return unreached(
            name,
            str(error),
            "check configQRS.host and port, that the Repository Service runs, and the firewall",
        )
    except QlikRefused as error:
        if "xsrf" in str(error).lower():
            advice = "something on the way takes away the xrfkey: connect to the server's port 4242 directly"
        else:
            advice = "check X-Qlik-User in configQRS.headers.static: the user must exist and have rights"
        return wrong(name, str(error), advice)
    return ok(name, f"{place} answers, Repository Service {about.get('buildVersion', 'of unknown build')}")


def _site(transport: Transport) -> Iterator[Finding]:
    def read(path: str, query: str = "") -> Answer:
        return transport.exchange("GET", path, query)

    with closing(transport):
        try:
            yield from site.check(read)
        except ExchangeFailed as error:
            yield unreached("qlik.connection", f"the connection was lost: {error}", "run this again")


def _clock(shared: Qrs) -> Finding:
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
            "synchronise both (NTP); expiresAt and issuedAt are compared with our clock",
        )
    if apart > CLOCK_SECONDS:
        return warning(
            "qlik.clock",
            f"the server's clock and ours are {apart:.0f} s apart",
            "synchronise both; expiresAt and issuedAt are compared with our clock",
        )
    return ok("qlik.clock", f"the server's clock and ours are {apart:.0f} s apart")


def _rights(connection: Connection) -> Iterator[Finding]:
    unknown = str(uuid.uuid4())
    advice = "give the user in X-Qlik-User read on tasks, execution sessions and results (docs/security.md)"
    try:
        found = connection.find([Selector(SelectorKind.TASK_ID, unknown)])
        count = connection.task_count()
    except QlikError as error:
        yield wrong("qlik.tasks", f"tasks cannot be read: {error}", advice)
        return
    if any(isinstance(answer, QlikRefused) for answer in found.values()):
        yield wrong("qlik.tasks", "a search for a task by its id is refused", advice)
        return
    if count == 0:
        yield warning("qlik.tasks", "the user sees no task at all", advice)
    else:
        yield ok("qlik.tasks", f"the user sees {count} tasks")
    try:
        connection.executions([unknown])
    except QlikError as error:
        yield wrong("qlik.executions", f"sessions and results cannot be read: {error}", advice)
    else:
        yield ok("qlik.executions", "execution sessions and results can be read")


def _capacity(connection: Connection) -> Finding:
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


def _allowed(settings: Settings, connection: Connection) -> Iterator[Finding]:
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

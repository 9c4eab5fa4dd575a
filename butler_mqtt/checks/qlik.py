"""Tries the Qlik Repository Service: certificates, connection, user, rights, and how this site behaves."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from butler_mqtt.checks.finding import Finding, ok, unreached, warning, wrong
from butler_mqtt.errors import QlikError, QlikRefused, QlikUnavailable
from butler_mqtt.model import Selector, SelectorKind, Task
from butler_mqtt.qrs import Connection, Qrs
from butler_mqtt.settings import Qrs as QrsSettings
from butler_mqtt.settings import Settings

#: Days before the end of a certificate from which on it is worth a line.
SOON_DAYS = 30
#: Seconds between the server's clock and ours that are worth a line; `Date` has whole seconds.
CLOCK_SECONDS = 5.0


def check(settings: Settings) -> Iterator[Finding]:
    """Try everything the daemon does with the server, short of starting a task."""
    qrs = settings.qrs
    if qrs.use_ssl:
        yield from _certificates(qrs)
    shared = Qrs(qrs, threading.Event())
    with closing(shared.connection()) as connection:
        yield from _server(settings, shared, connection)


def _certificates(qrs: QrsSettings) -> Iterator[Finding]:
    for name, path in (("clientCert", qrs.client_cert), ("clientCertCA", qrs.client_cert_ca)):
        if path is not None:
            yield _validity(f"qlik.{name}", path)
    if qrs.client_cert is not None and qrs.client_cert_key is not None:
        yield _pair(qrs.client_cert, qrs.client_cert_key)


def _validity(name: str, path: Path) -> Finding:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return wrong(name, f"{path} cannot be read: {error}", "export the certificates as PEM in the QMC")
    days = (certificate.not_valid_after_utc - datetime.now(UTC)).days
    if certificate.not_valid_before_utc > datetime.now(UTC):
        return wrong(name, f"{path} is not valid yet", "look at this machine's clock")
    if days < 0:
        return wrong(name, f"{path} ended {-days} days ago", "export new certificates in the QMC")
    if days < SOON_DAYS:
        return warning(name, f"{path} ends in {days} days", "export new certificates in the QMC in time")
    return ok(name, f"{path} is valid for {days} more days")


def _pair(certificate_path: Path, key_path: Path) -> Finding:
    """See whether the key belongs to the certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        return wrong(
            "qlik.clientCertKey",
            f"{key_path} cannot be read: {error}",
            "export the certificates as PEM with the secret key and without a password",
        )
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        return wrong(
            "qlik.clientCertKey",
            f"{key_path} is not the key of {certificate_path}",
            "take both files from the same export",
        )
    return ok("qlik.clientCertKey", f"{key_path} belongs to {certificate_path}")


def _server(settings: Settings, shared: Qrs, connection: Connection) -> Iterator[Finding]:
    place = f"{settings.qrs.host}:{settings.qrs.port}"
    try:
        about = connection.about()
    except QlikUnavailable as error:
        yield unreached(
            "qlik.connection",
            str(error),
            "check configQRS.host and port, serverName where the certificate has another name, the "
            "certificates, and the firewall",
        )
        return
    except QlikRefused as error:
        yield wrong(
            "qlik.connection", str(error), "check X-Qlik-User in configQRS.headers.static and its rights"
        )
        return
    build = about.get("buildVersion", "of unknown build")
    yield ok("qlik.connection", f"{place} answers, Repository Service {build}")
    yield _clock(shared)
    yield from _rights(settings, connection)


def _clock(shared: Qrs) -> Finding:
    server = shared.server_time()
    if server is None:
        return warning(
            "qlik.clock",
            "the server does not tell its time",
            "a start whose answer is lost cannot be settled and is reported as unknown",
        )
    apart = abs((server - datetime.now(UTC)).total_seconds())
    if apart > CLOCK_SECONDS:
        return warning(
            "qlik.clock",
            f"the server's clock and ours are {apart:.0f} s apart",
            "synchronise both; expiresAt and issuedAt are compared with our clock",
        )
    return ok("qlik.clock", f"the server's clock and ours are {apart:.0f} s apart")


def _rights(settings: Settings, connection: Connection) -> Iterator[Finding]:
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
    yield _escaping(connection)
    yield _capacity(connection)
    yield from _allowed(settings, connection)
    yield _form(connection)


def _escaping(connection: Connection) -> Finding:
    """See whether a quote in a tag is understood as it is escaped: without effect, and without a fault."""
    selector = Selector(SelectorKind.TAG, "butler-mqtt's check \\ of quotes")
    try:
        answer = connection.find([selector])[selector]
    except QlikError as error:
        answer = error if isinstance(error, QlikRefused) else ()
    if isinstance(answer, QlikRefused):
        return warning(
            "site.quotes",
            f"a quote in a tag is refused by the server: {answer}",
            "avoid tags and property values with a quote or a backslash",
        )
    return ok("site.quotes", "quotes and backslashes in tags and values are understood")


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


def _form(connection: Connection) -> Finding:
    """Tell in which form this site lists tasks; the daemon manages with both."""
    if connection.form_is_common:
        return ok(
            "site.form", "/task/full lists tasks in their common form: the concrete lists are asked too"
        )
    return ok("site.form", "/task/full lists tasks with tags and custom properties")

"""
Checks of a configuration beyond the schema: values that must fit each other, and files.

Parts that are switched off are not checked: in a file made for Butler they
may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from butler_mqtt import pem_files
from butler_mqtt.config import web_page_checks
from butler_mqtt.config.yaml_file import Document, Place
from butler_mqtt.contract import topics
from butler_mqtt.domain.model import EMPTY_GUID
from butler_mqtt.loopback import is_loopback
from butler_mqtt.qrs import jwt_file
from butler_mqtt.settings import MqttSettings, QrsSettings, RestSettings, Settings

_MQTT: Final = ("Butler", "mqttConfig")
_QRS: Final = ("Butler", "configQRS")
_CERT: Final = ("Butler", "cert")
_REST: Final = ("Butler", "restServerConfig")
_MONITORING: Final = ("Butler", "monitoring")
#: A part of X-Qlik-User written with a colon, as some pages on the web show it.
_COLONS: Final = re.compile(r"(?:^|;)\s*(?:UserDirectory|UserId)\s*:", re.IGNORECASE)
#: Keys whose files must hold a private key; the others name certificates.
_KEYS: Final = frozenset({"clientCertKey", "keyFile", "key"})
#: Headers that the program or its HTTP client writes itself, in lower case.
_OWN_HEADERS: Final = frozenset(
    {"connection", "content-length", "host", "transfer-encoding", "x-qlik-xrfkey"}
)

#: The same with a way to log in.
_OWN_WITH: Final = {"jwt": frozenset({"authorization", "cookie"}), "header": frozenset({"cookie"})}


def check(values: Settings, document: Document, butler: dict[str, Any], *, check_files: bool) -> None:
    """
    Add a problem to *document* for each fault in *values*.

    *butler* holds what is in the file, without defaults. A place that has a
    problem already gets none that follows from it.
    """
    if values.mqtt.enable:
        _topics(values.mqtt, document)
        _credentials(document, butler["mqttConfig"])
        _azure(document)
        if values.mqtt.tls.enable:
            _pair(document, (*_MQTT, "tls"), "certFile", "keyFile", butler["mqttConfig"]["tls"])
    _headers(values.qrs, document)
    _proxy(values.qrs, document, check_files=check_files)
    if values.qrs.use_ssl and not values.qrs.through_proxy:
        _required(document, _CERT, ("clientCert", "clientCertKey"), butler["cert"], "useSSL: true")
    _tokens(document, butler["restServerConfig"])
    if values.rest.enable:
        _unauthenticated(values.rest, document, butler["restServerConfig"])
        if values.rest.tls.enable:
            section = butler["restServerConfig"]["tls"]
            _required(document, (*_REST, "tls"), ("cert", "key"), section, "tls.enable: true")
        _listeners(values, document)
    web_page_checks.check(values, document, butler)
    if check_files:
        for place, file in _files(values):
            if document.is_valid(place) and (fault := _pem_fault(place, file)):
                document.add_problem(place, f"file {file} {fault}")


def reason(error: OSError | ValueError) -> str:
    """Return in words why a file could not be read."""
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, IsADirectoryError):
        return "is a directory, not a file"
    if isinstance(error, PermissionError):
        return "must not be read by the user this program runs as; change its owner or mode"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return str(error)


def _topics(mqtt: MqttSettings, document: Document) -> None:
    named = {
        "taskStartTopic": mqtt.task_start_topic,
        "taskStartReplyTopic": mqtt.task_start_reply_topic,
        "statusTopic": mqtt.status_topic,
        "taskEventTopic": mqtt.task_event_topic,
    }
    for key, topic in named.items():
        # Events go to a topic one level longer.
        fault = topics.problem(f"{topic}/{EMPTY_GUID}" if key == "taskEventTopic" and topic else topic)
        _topic_fault(document, (*_MQTT, key), topic, fault)
    for index, allowed in enumerate(mqtt.reply_topic_allow):
        _topic_fault(document, (*_MQTT, "replyTopicAllow", index), allowed, topics.filter_problem(allowed))
    for (first, topic), (second, other) in combinations(named.items(), 2):
        # Events go below taskEventTopic.
        overlap = topic == other or (second == "taskEventTopic" and topic.startswith(f"{other}/"))
        here, there = (*_MQTT, first), (*_MQTT, second)
        if overlap and document.is_valid(here, there):
            described = " and ".join(
                f"{place[-1]} {named[str(place[-1])]!r} ({_written_in(document, place)})"
                for place in (here, there)
            )
            document.add_problem(
                here if here in document.lines else there,
                f"{described} overlap; each needs its own topic",
            )


def _written_in(document: Document, place: Place) -> str:
    return f"line {document.lines[place]}" if place in document.lines else "the default"


def _topic_fault(document: Document, place: Place, topic: str, fault: str | None) -> None:
    if fault is None and topic.startswith("$"):
        fault = "must not begin with $, which belongs to the broker"
    if fault and document.is_valid(place):
        document.add_problem(place, f"{topic[:60]!r} {fault}")


def _credentials(document: Document, section: dict[str, Any]) -> None:
    given = [key for key in ("password", "passwordFile") if section.get(key) is not None]
    if len(given) == 2:
        line = document.line((*_MQTT, "password"))
        document.add_problem(
            (*_MQTT, "passwordFile"), f"is set beside password (line {line}); keep one of them"
        )
    for key in given[:1]:
        if section.get("username") is None and document.is_valid((*_MQTT, "username"), (*_MQTT, key)):
            document.add_problem((*_MQTT, key), "is set without username; add username or remove it")


def _azure(document: Document) -> None:
    """Refuse a switch of Butler's that chooses another broker, though its section is ignored otherwise."""
    place = (*_MQTT, "azureEventGrid", "enable")
    value: Any = document.value
    for step in place:
        value = value.get(step) if isinstance(value, dict) else None
    if value is True:
        document.add_problem(
            place,
            "is true, and the keys beside it are not read here; write `enable: false`, and its clientId, "
            "clientCertFile and clientKeyFile as mqttConfig.clientId, tls.certFile and tls.keyFile",
        )


def _pair(document: Document, place: Place, first: str, second: str, section: dict[str, Any]) -> None:
    for key, other in ((first, second), (second, first)):
        if section.get(key) is not None and section.get(other) is None and document.is_valid((*place, other)):
            document.add_problem(
                (*place, key), f"is set without {other}; both are needed to log in with a certificate"
            )


def _required(
    document: Document, place: Place, keys: tuple[str, ...], section: dict[str, Any], because: str
) -> None:
    for key in keys:
        if section.get(key) is None and document.is_valid((*place, key)):
            document.add_problem(
                (*place, key), f"is missing, and {because} needs it; allowed: the path of a PEM file"
            )


def _headers(qrs: QrsSettings, document: Document) -> None:
    place = (*_QRS, "headers", "static")
    names = [name.lower() for name, _ in qrs.headers]
    if not document.is_valid(place):
        return
    if qrs.authentication == "header" and not set(names) - {"x-qlik-user"}:
        document.add_problem(
            place,
            "lacks the header that the virtual proxy takes the user from, such as hdr-usr",
        )
    if "x-qlik-user" not in names and not qrs.through_proxy:
        document.add_problem(
            place, "lacks the header X-Qlik-User, e.g. UserDirectory=INTERNAL; UserId=sa_repository"
        )
    for index, (name, (_, value)) in enumerate(zip(names, qrs.headers, strict=True)):
        if name == "x-qlik-user" and _COLONS.search(value):
            # The value itself is not quoted: headers may hold secrets.
            document.add_problem(
                (*place, index), "has colons, which the server refuses (403); write UserDirectory=…; UserId=…"
            )
        if name in _OWN_HEADERS or name in _OWN_WITH.get(qrs.authentication, ()):
            document.add_problem((*place, index), f"{name} is written by this program itself; remove it")
        elif name in names[:index]:
            document.add_problem((*place, index), f"{name} stands twice; remove one of them")


def _proxy(qrs: QrsSettings, document: Document, *, check_files: bool) -> None:
    """Check what belongs to a login at a proxy: that it is there, and not without that login."""
    prefix, file = (*_QRS, "virtualProxy"), (*_QRS, "jwtFile")
    if qrs.virtual_proxy is not None and not qrs.through_proxy:
        document.add_problem(
            prefix, "is set, and authentication: certificates knows no virtual proxy; write jwt or header"
        )
    if qrs.authentication != "jwt":
        if qrs.jwt_file is not None:
            document.add_problem(file, f"is set, and authentication is {qrs.authentication}; write jwt")
    elif qrs.jwt_file is None:
        if document.is_valid(file):
            document.add_problem(
                file, "is missing, and authentication: jwt needs it; write the path of a file"
            )
    elif check_files and document.is_valid(file):
        try:
            jwt_file.read(qrs.jwt_file)
        except (OSError, ValueError) as error:
            document.add_problem(file, f"file {qrs.jwt_file} {reason(error)}")


def _tokens(document: Document, section: dict[str, Any]) -> None:
    place = (*_REST, "auth", "tokens")
    names = [item["name"] for item in section["auth"].get("tokens", ())]
    for index, name in enumerate(names):
        if name in names[:index]:
            line = document.line((*place, names.index(name)))
            document.add_problem(
                (*place, index), f"has the name of the token in line {line}; names distinguish callers"
            )


def _unauthenticated(rest: RestSettings, document: Document, section: dict[str, Any]) -> None:
    host, allow, tokens = (*_REST, "serverHost"), (*_REST, "allowUnauthenticated"), (*_REST, "auth", "tokens")
    if section["auth"].get("tokens") or rest.allow_unauthenticated or is_loopback(rest.server_host):
        return
    if not document.is_valid(host, allow, tokens):
        return
    document.add_problem(
        host,
        f"{rest.server_host!r} lets other machines start tasks without a token; "
        f"write `auth: {{ tokens: [ {{ name: …, tokenFile: … }} ] }}` {document.where(tokens, _REST)}, "
        f"or `allowUnauthenticated: true` {document.where(allow, _REST)}, "
        "or listen on 127.0.0.1",
    )


def _listeners(values: Settings, document: Document) -> None:
    rest, monitoring = values.rest, values.monitoring
    one_address = (rest.server_host, rest.server_port) == (monitoring.host, monitoring.port)
    if (
        monitoring.enable
        and one_address
        and document.is_valid((*_MONITORING, "port"), (*_REST, "serverPort"))
    ):
        line = document.line((*_REST, "serverPort"))
        document.add_problem(
            (*_MONITORING, "port"), f"{monitoring.port} is taken by restServerConfig (line {line})"
        )


def _files(values: Settings) -> Iterator[tuple[Place, Path]]:
    """Yield the PEM files that will be used."""
    files: list[tuple[Place, Path | None]] = []
    if values.mqtt.enable and values.mqtt.tls.enable:
        tls, place = values.mqtt.tls, (*_MQTT, "tls")
        files += [
            ((*place, "caFile"), tls.ca_file),
            ((*place, "certFile"), tls.cert_file),
            ((*place, "keyFile"), tls.key_file),
        ]
    if values.qrs.use_ssl:
        qrs = values.qrs  # through a proxy without a client certificate
        files += [((*_CERT, "clientCert"), qrs.client_cert), ((*_CERT, "clientCertKey"), qrs.client_cert_key)]
        if qrs.reject_unauthorized:
            files.append(((*_CERT, "clientCertCA"), qrs.client_cert_ca))
    if values.rest.enable and values.rest.tls.enable:
        server, place = values.rest.tls, (*_REST, "tls")
        files += [((*place, "cert"), server.cert), ((*place, "key"), server.key), ((*place, "ca"), server.ca)]
    return ((place, file) for place, file in files if file is not None)


def _pem_fault(place: Place, file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            content = opened.read(1_048_576)
    except (OSError, ValueError) as error:
        return reason(error)
    return pem_files.fault(content, key=place[-1] in _KEYS)

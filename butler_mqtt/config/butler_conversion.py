"""
What a configuration of Butler (2 to 16) becomes here: values, and a note wherever one is not as it was.

Pure: `cli` reads the file and writes the result into the shipped configuration.
Butler's keys are those of its file templates; what they mean in their own
place is in `older_butler` and `schemas/butler-keys.json`.
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from butler_mqtt.config import older_butler, schema
from butler_mqtt.config.yaml_file import Document, Place, dotted
from butler_mqtt.errors import ConfigError, Problem
from butler_mqtt.loopback import is_loopback

#: The keys that Butler has and that mean the same here, below `Butler`.
_SHARED: Final[tuple[tuple[str, ...], ...]] = (
    ("logLevel",),
    *(("mqttConfig", key) for key in ("enable", "brokerHost", "brokerPort", "taskStartTopic")),
    *(("configQRS", key) for key in ("authentication", "host", "port", "useSSL", "rejectUnauthorized")),
    ("configQRS", "headers", "static"),
    *(("cert", key) for key in ("clientCert", "clientCertKey", "clientCertCA")),
    ("startTaskFilter", "enable"),
    *(("startTaskFilter", "allowTask", key) for key in ("taskId", "tag", "customProperty")),
    *(("restServerConfig", key) for key in ("enable", "serverHost", "serverPort")),
    *(("restServerConfig", "tls", key) for key in ("enable", "cert", "key", "ca")),
    *(("keyValueStore", key) for key in ("enable", "maxKeysPerNamespace")),
    ("restServerEndpointsEnable", "keyValueStore"),
)
_LISTS: Final = frozenset({"static", "taskId", "tag", "customProperty"})
_FILES: Final = frozenset({"clientCert", "clientCertKey", "clientCertCA", "cert", "key", "ca"})
_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_AZURE: Final = ("mqttConfig", "azureEventGrid")
#: The shared keys, and the sections they stand in.
_PARTS: Final = frozenset(path[:length] for path in _SHARED for length in range(1, len(path) + 1))
#: Why keys of sections that stay are left out; that of a section is for the rest of its keys.
_REASONS: Final[dict[tuple[str, ...], str]] = {
    ("mqttConfig",): "notifications stay with Butler",
    ("mqttConfig", "subscriptionRootTopic"): "nothing but taskStartTopic is subscribed to",
    ("mqttConfig", "qlikSenseCloud"): "events of Qlik Cloud stay with Butler",
    _AZURE: "it was off",
    ("restServerConfig",): "there is one listener",
    ("restServerEndpointsEnable",): "with REST tasks can be started, and the rest stays with Butler",
}
#: What replaces sections that mean nothing here, by the section's name; the others stay with Butler.
_INSTEAD: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            *("slackConfig", "slackNotification", "teamsConfig", "teamsNotification", "emailNotification"),
            *("webhookNotification", "incidentTool"),
        ),
        "here: alerts, docs/alerts.md, and events over MQTT, docs/executions.md",
    ),
    **dict.fromkeys(
        ("heartbeat", "uptimeMonitor", "influxDb", "dockerHealthCheck"),
        "here: health and metrics, docs/monitoring.md",
    ),
    **dict.fromkeys(
        ("fileLogging", "logDirectory", "crashFile"), "here: the log on standard error, docs/operations.md"
    ),
    "scriptLog": "here: startTask.scriptLogLines, docs/executions.md",
    "restServerApiDocGenerate": "here: openapi.json, docs/rest.md",
}
_STAYS: Final = "stay with Butler, which may run beside this"


@dataclass(frozen=True, slots=True)
class Note:
    """A comment: what was changed and why, and lines that a person may put in the place of ours."""

    text: str
    instead: tuple[str, ...] = ()


@dataclass(slots=True)
class Conversion:
    """
    The configuration that was made.

    Paths are below `Butler`. `notes` go by the key that they stand above, `()`
    for the end of the file; `choices` is what a person must decide, in words;
    `left_out` has sections that mean nothing here, by what replaces them.
    """

    values: dict[tuple[str, ...], Any] = field(default_factory=dict)
    notes: dict[tuple[str, ...], list[Note]] = field(default_factory=dict)
    choices: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def note(self, path: tuple[str, ...], text: str, *instead: str) -> None:
        """Add a comment above the key at *path*; *instead* are lines to be used in its place."""
        self.notes.setdefault(path, []).append(Note(text, instead))

    def choose(self, path: tuple[str, ...], text: str, *instead: str) -> None:
        """Add such a comment for a person to decide on."""
        self.note(path, text, *instead)
        written = [f"`{line}`" for line in instead] if len(instead) < 2 else ["the lines that stand there"]
        named = "" if text.startswith(name := ".".join(path)) else f"{name}: "
        self.choices.append(" ".join([f"{named}{text}", *written]))


def convert(source: Path, document: Document, folder: Path, environ: Mapping[str, str]) -> Conversion:
    """
    Make our configuration of Butler's.

    Args:
        source: Where the file is; its relative paths start there.
        document: The file as it was read, before `older_butler` moved anything.
        folder: Where ours will be.
        environ: The values of `${VAR}`, as for `loader.load`.

    Raises:
        ConfigError: It is not Butler's file, or ours already.
    """
    _recognise(source, document)
    older_butler.translate(document)
    schema.apply(document, environ)
    return _Converting(source, document, folder).result()


def _recognise(source: Path, document: Document) -> None:
    if document.problems:
        raise ConfigError(str(source), document.problems)
    butler = document.value.get("Butler") if isinstance(document.value, dict) else None
    if not isinstance(butler, dict):
        problem = Problem("Butler", "is missing, so this is no configuration of Butler; name its file")
        raise ConfigError(str(source), [problem])
    if not isinstance(butler.get("configQRS"), dict):
        problem = Problem(
            "Butler.configQRS", "is missing, so this is no configuration of Butler 2 or newer; name its file"
        )
        raise ConfigError(str(source), [problem])
    for place in schema.keys_of(schema.schema()):
        login = place[-1] == "authentication" and _value(document, place) in ("jwt", "header")
        if (place[1:] and place[1:] not in _PARTS and _value(document, place) is not None) or login:
            problem = Problem(
                dotted(place),
                f"is a key of this program, so the file is converted already: butler-mqtt check -c {source}",
                document.line(place),
            )
            raise ConfigError(str(source), [problem])


def _value(document: Document, place: Place) -> Any:
    value = document.value
    for step in place:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def shown(value: object) -> str:
    """Return a value of the file on one line, cut where it is long."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "a section"
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


class _Converting:
    """One conversion; each part looks at one thing that may not stay as it is."""

    def __init__(self, source: Path, document: Document, folder: Path) -> None:
        self._source = source
        self._folder = folder
        self._document = document
        self._made = Conversion()

    def result(self) -> Conversion:
        self._shared()
        self._problems()
        self._moved()
        self._topic()
        self._azure()
        self._rest()
        self._filter()
        self._left_out()
        return self._made

    def _at(self, *path: str) -> Any:
        return _value(self._document, ("Butler", *path))

    def _where(self, *path: str) -> str:
        line = self._document.lines.get(("Butler", *path))
        return f" (line {line})" if line else ""

    def _is(self, *path: str) -> Any:
        """Return the value that was taken over, None where there is none."""
        return self._made.values.get(path)

    def _shared(self) -> None:
        for path in _SHARED:
            *above, key = path
            holder = self._at(*above)
            if not isinstance(holder, dict) or key not in holder:
                continue
            if not self._document.is_valid(("Butler", *path)):
                continue  # told by its problem
            value = holder[key]
            if key in _LISTS:
                self._made.values[path] = value or []
            elif key in _FILES:
                self._file(path, value)
            else:
                self._made.values[path] = value

    def _file(self, path: tuple[str, ...], value: str | None) -> None:
        """Take over a path: one that is relative starts from the folder of the file that has it."""
        if not value:
            self._made.values[path] = None
        elif _WINDOWS_PATH.match(value):
            self._report(
                path,
                f"was {shown(value)}{self._where(*path)}, on another machine: copy the file, and name it",
            )
        elif value.startswith(("/", "${", "$CREDENTIALS_DIRECTORY/")):
            self._made.values[path] = value
        else:
            absolute = Path(os.path.normpath(self._source.absolute().parent / value))
            inside = absolute.is_relative_to(self._folder)
            written = str(absolute.relative_to(self._folder) if inside else absolute)
            self._made.values[path] = value if written == os.path.normpath(value) else written
            if self._made.values[path] != value:
                self._made.note(
                    path, f"was {shown(value)}{self._where(*path)}, seen from the folder of that file"
                )

    def _problems(self) -> None:
        """Name what cannot be used; the shipped value stays."""
        document = self._document
        for problem in sorted(document.problems, key=lambda one: one.line or 0):
            found = (one for one in document.invalid if dotted(document.names.get(one, one)) == problem.path)
            path = tuple(map(str, next(found, ())[1:]))
            key = next((known for known in _SHARED if path[: len(known)] == known), None)
            if key is None:
                key = path[:1] if path[:1] in _PARTS else ()
            line = f" (line {problem.line})" if problem.line else ""
            text = f"{problem.path.removeprefix('Butler.')}{line} is not taken over: {problem.message}"
            self._report(key, text)

    def _report(self, path: tuple[str, ...], text: str, *instead: str) -> None:
        """Have a person decide, unless it is in a section that is off."""
        if path and self._is(path[0], "enable") is False:
            self._made.note(path, text, *instead)
        else:
            self._made.choose(path, text, *instead)

    def _moved(self) -> None:
        for new, old in self._document.names.items():
            path = new[1 : new.index(0)] if 0 in new else new[1:]
            if 0 in new and new[-1] != "name":
                continue
            was = "headerKey and headerValue" if 0 in new else str(old[-1])
            self._made.note(
                tuple(map(str, path)),
                f"was {old[1]}.{was}{self._where(*map(str, old[1:]))}, its place in older Butlers",
            )

    def _topic(self) -> None:
        path = ("mqttConfig", "taskStartTopic")
        if path in self._made.values and ("Butler", *path) not in self._document.lines:
            self._report(
                path,
                "was no key: Butler before 5 takes requests on this topic, and it is kept. Once no sender "
                "uses it any more, write",
                "taskStartTopic: qliksense/task/start",
            )

    def _azure(self) -> None:
        section = self._at(*_AZURE)
        if not isinstance(section, dict) or section.get("enable") is not True:
            return
        client, certificate, key = (
            json.dumps(section.get(name) or "…", ensure_ascii=False)
            for name in ("clientId", "clientCertFile", "clientKeyFile")
        )
        self._made.values["mqttConfig", "enable"] = False
        self._made.choose(
            ("mqttConfig", "enable"),
            f"azureEventGrid.enable was true{self._where(*_AZURE, 'enable')}, a login with a certificate, "
            "which other keys describe here. In place of those of these names write",
            "enable: true",
            f"clientId: {client}",
            "username: …  # the authentication name of this client at Event Grid",
            f"tls: {{ enable: true, certFile: {certificate}, keyFile: {key} }}",
        )

    def _rest(self) -> None:
        section, start = "restServerConfig", ("restServerEndpointsEnable", "senseStartTask")
        if isinstance(self._at(section), dict) and "enable" not in self._at(section):
            self._made.choose(
                (section, "enable"),
                "was no key: Butler 2 listens always, on every address. To take requests over REST, write",
                "enable: true",
            )
        host = self._is(section, "serverHost")
        if self._is(section, "enable") and isinstance(host, str) and not is_loopback(host):
            del self._made.values[section, "serverHost"]
            self._made.choose(
                (section, "serverHost"),
                f"was {shown(host)}{self._where(section, 'serverHost')}, where others may start tasks "
                "without a token. Give each caller one (butler-mqtt token add NAME), or write "
                "allowUnauthenticated: true, and then",
                f"serverHost: {host}",
            )
        ca = self._made.values.pop((section, "tls", "ca"), None)
        if ca is not None:
            self._report(
                (section, "tls", "ca"),
                f"was {shown(ca)}{self._where(section, 'tls', 'ca')}, intermediate certificates: append them "
                "to the file of cert. Here, ca would let clients log in with certificates",
            )
        if self._is(section, "enable") and self._at(*start) is False:
            self._made.choose(
                (section, "enable"),
                f"is true, but {'.'.join(start)} was false{self._where(*start)}: here tasks can be started "
                "over REST while this is true. If they must not, write",
                "enable: false",
            )

    def _filter(self) -> None:
        if self._is("startTaskFilter", "enable"):
            self._made.choose(
                ("startTaskFilter", "enable"),
                "was for REST alone: here the lists hold for MQTT too, and are compared with the task that "
                "was found. Add what is started over MQTT",
            )

    def _left_out(self) -> None:
        groups: dict[tuple[str, str], list[str]] = {}
        for path in self._keys():
            if path[:1] not in _PARTS:
                self._made.left_out.setdefault(_INSTEAD.get(path[0], _STAYS), []).append(path[0])
            elif path == ("cert", "clientCertPassphrase"):
                if self._at(*path):
                    self._made.choose(
                        ("cert", "clientCertKey"),
                        f"clientCertPassphrase{self._where(*path)} is left out, since the key must have none "
                        "here. Write it without one:",
                        "openssl pkey -in client_key.pem -out plain_key.pem",
                    )
            elif path != _AZURE or self._at(*path, "enable") is not True:
                reason = _REASONS.get(path) or _REASONS[path[:1]]
                line = f"  {path[-1]}: {shown(self._at(*path))}{self._where(*path)}"
                groups.setdefault((path[0], reason), []).append(line)
        for (section, reason), lines in groups.items():
            self._made.note((section,), f"left out, since {reason}:", *lines)

    def _keys(self) -> Iterator[tuple[str, ...]]:
        """Yield Butler's keys that mean nothing here, as far as they are known."""
        ignored = schema.butler_keys()
        for name, section in self._at().items():
            if (name,) not in _PARTS:
                if name in ignored["Butler"]:
                    yield (name,)
                continue
            for key in section if isinstance(section, dict) else ():
                path = (name, key)
                switch = name == "restServerEndpointsEnable"
                if path not in _PARTS and (switch or key in ignored.get(f"Butler.{name}", ())):
                    yield path

"""
The configuration file as `settings.Settings`.

Read once and checked whole: all problems are reported together, with their
lines. Secrets go into the settings alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from butler_mqtt import settings
from butler_mqtt.config import cross_checks, older_butler, schema, sender_checks, yaml_file
from butler_mqtt.config.alert_section import AlertSection
from butler_mqtt.config.yaml_file import Document, Place
from butler_mqtt.errors import ConfigError, Problem

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Values = TypeVar("Values", bound=DataclassInstance)

#: Butler's own file has 60 kB.
_MAX_FILE_BYTES: Final = 1_048_576
_MAX_SECRET_BYTES: Final = 65_536
_JOURNAL_FILE: Final = "butler-mqtt.sqlite"
#: Butler's sections that call somebody; alerts do that here.
_NOTIFICATIONS: Final = (
    *("emailNotification", "slackNotification", "teamsNotification", "webhookNotification"),
    "incidentTool",
)
#: Where a Qlik proxy listens.
_PROXY_PORT: Final = 443
_TOKENS: Final = ("Butler", "restServerConfig", "auth", "tokens")
_LOG_LEVELS: Final = {"verbose": "debug", "silly": "debug"}


def load(
    path: Path,
    environ: Mapping[str, str],
    *,
    check_files: bool = True,
    log_in: bool = True,
    url_fault: Callable[[str], str | None] | None = None,
) -> settings.Settings:
    """
    Read the configuration file at *path*.

    Args:
        path: YAML in UTF-8 with the root key `Butler`; relative paths in it
            start from its folder.
        environ: The values of `${VAR}`, with `STATE_DIRECTORY` and
            `CREDENTIALS_DIRECTORY` of systemd.
        check_files: Whether certificates, passwords and tokens in files are
            read; without, such tokens are missing.
        log_in: Whether the broker's password is read from its file; a sender
            needs it, and none of the other files.
        url_fault: Says what is wrong with a URL that alerts go to, None where
            nothing is; without, such URLs are taken as they are.

    Raises:
        ConfigError: The file cannot be used; it names every problem found.
    """
    document = read(path)
    older = older_butler.translate(document)
    butler, ignored = schema.apply(document, environ)
    reading = _Reading(document, butler, path.absolute().parent, environ, check_files, log_in, url_fault)
    values = replace(reading.values(ignored), older=older)
    cross_checks.check(values, document, butler, check_files=check_files)
    sender_checks.check(values, document, butler, [rule.name for rule in values.rules])
    if butler.get("rules"):
        # The language of rules is read for those who have some.
        from butler_mqtt.config import rule_checks  # noqa: PLC0415 -- as above

        rule_checks.check(values, document, butler)
    if document.problems:
        raise ConfigError(str(path), sorted(document.problems, key=lambda problem: problem.line or 0))
    return values


def read(path: Path) -> Document:
    """
    Read the file at *path* as it is, whoever's configuration it is.

    Raises:
        ConfigError: It cannot be read, or is no YAML.
    """
    try:
        document = yaml_file.parse(_text(path))
        if document.value is None:
            raise yaml_file.YamlError(Problem("file", "is empty; everything stands under the key `Butler`"))
    except yaml_file.YamlError as error:
        raise ConfigError(str(path), [error.problem]) from None
    return document


def _text(path: Path) -> str:
    try:
        content = _bytes(path, _MAX_FILE_BYTES)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem("file", f"is not UTF-8: byte 0x{content[error.start]:02x}; save it as UTF-8", line)
    except (OSError, ValueError) as error:
        problem = Problem("file", cross_checks.reason(error))
    raise yaml_file.YamlError(problem)


def _bytes(path: Path, limit: int) -> bytes:
    """Read a file of at most *limit* bytes; an endless device is read no further."""
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return content


def _is_on(section: object) -> bool:
    """Return whether a section of Butler's is on: by its own switch, else by that of one of its parts."""
    if not isinstance(section, dict):
        return False
    if "enable" in section:
        return section["enable"] is not False
    switches = [part["enable"] for part in section.values() if isinstance(part, dict) and "enable" in part]
    return any(switch is not False for switch in switches) if switches else bool(section)


def _snake(key: str) -> str:
    """Return the name of the setting for a key: `client_cert_ca` for `clientCertCA`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()


def _allowing(lists: Mapping[str, Any], *, enable: bool) -> settings.StartTaskFilter:
    """Return the filter of an `allowTask`."""
    return settings.StartTaskFilter(
        enable,
        frozenset(task_id.lower() for task_id in lists.get("taskId", ())),
        tuple(lists.get("tag", ())),
        tuple((pair["name"], pair["value"]) for pair in lists.get("customProperty", ())),
    )


class _Reading:
    """Makes settings of one file's values; other settings keep their defaults."""

    def __init__(
        self,
        document: Document,
        butler: dict[str, Any],
        folder: Path,
        environ: Mapping[str, str],
        check_files: bool,
        log_in: bool,
        url_fault: Callable[[str], str | None] | None,
    ) -> None:
        self._document = document
        self._butler = butler
        self._folder = folder
        self._environ = environ
        self._check_files = check_files
        self._log_in = log_in
        self._url_fault = url_fault

    def values(self, ignored: tuple[str, ...]) -> settings.Settings:
        defaults = settings.Settings()
        level = self._butler.get("logLevel", defaults.log_level)
        rules = [self._rule(item, index) for index, item in enumerate(self._butler.get("rules", ())) if item]
        return settings.Settings(
            log_level=_LOG_LEVELS.get(level, level),
            mqtt=replace(
                self._mqtt(defaults.mqtt),
                rule_filters=tuple(one for rule in rules if rule.enable for one in rule.topics),
            ),
            qrs=self._qrs(defaults.qrs),
            start_task_filter=self._filter(defaults.start_task_filter),
            start_task=self._filled(defaults.start_task, self._butler["startTask"]),
            journal=self._journal(defaults.journal),
            rest=self._rest(defaults.rest),
            web_page=self._web_page(defaults.web_page),
            key_value_store=self._key_value_store(defaults.key_value_store),
            monitoring=self._filled(defaults.monitoring, self._butler["monitoring"]),
            senders=self._senders(),
            unknown_senders=self._butler.get("unknownSenders", defaults.unknown_senders),
            rules=tuple(rules),
            alerts=self._alerts(),
            ignored=ignored,
            notifications=self._notifications(),
        )

    def _filled(self, defaults: Values, section: Mapping[str, Any], **made: object) -> Values:
        """Return *defaults* with the values of *section*, and with those *made* of it elsewhere."""
        kinds = {field.name: str(field.type) for field in fields(defaults)}
        given = {
            name: self._typed(value, kinds[name])
            for key, value in section.items()
            if (name := _snake(key)) in kinds and name not in made
        }
        return replace(defaults, **given, **made)

    def _typed(self, value: Any, kind: str) -> Any:
        """Return a value of the file as the type of its field."""
        if value is None:
            return None
        if "Path" in kind:
            return self._folder / value
        if "float" in kind:
            return float(value)
        if kind.startswith("tuple"):
            return tuple(value)
        return str(value) if kind == "str" else value

    def _mqtt(self, defaults: settings.MqttSettings) -> settings.MqttSettings:
        section = self._butler["mqttConfig"]
        password = section.get("password")
        file = section.get("passwordFile")
        enabled = self._log_in and section.get("enable", defaults.enable)
        if file is not None and password is None and enabled:
            password = self._secret(file, ("Butler", "mqttConfig", "passwordFile"))
        tls = self._filled(defaults.tls, section["tls"])
        topics = tuple(sender.topic for sender in self._senders() if sender.topic is not None)
        return self._filled(defaults, section, tls=tls, password=password, sender_topics=topics)

    def _qrs(self, defaults: settings.QrsSettings) -> settings.QrsSettings:
        section = self._butler["configQRS"] | self._butler["cert"]
        static = section["headers"].get("static")
        made: dict[str, object] = {
            "retry": self._filled(defaults.retry, section["retry"]),
            "headers": defaults.headers,
        }
        if section.get("authentication", defaults.authentication) != defaults.authentication:
            # The repository's own port takes certificates only, and the proxy's none.
            made |= {"client_cert": None, "client_cert_key": None, "headers": ()}
            section = {"port": _PROXY_PORT} | section
        if static is not None:
            made["headers"] = tuple((item["name"], item["value"]) for item in static)
        prefix = section.get("virtualProxy")
        return self._filled(defaults, section, virtual_proxy=prefix and prefix.strip("/"), **made)

    def _filter(self, defaults: settings.StartTaskFilter) -> settings.StartTaskFilter:
        section = self._butler["startTaskFilter"]
        return _allowing(section["allowTask"], enable=section.get("enable", defaults.enable))

    def _senders(self) -> tuple[settings.Sender, ...]:
        return tuple(
            self._filled(
                settings.Sender(item["name"]),
                item,
                # One without lists lets nothing through, one that is not there everything.
                allow_task=_allowing(item["allowTask"], enable=True) if "allowTask" in item else None,
            )
            for item in self._butler.get("senders", ())
        )

    def _journal(self, defaults: settings.JournalSettings) -> settings.JournalSettings:
        section = self._butler["journal"]
        url = section.get("url")
        place: Place = ("Butler", "journal", "url")
        if url is None:
            # systemd separates several directories by colons.
            state = self._environ.get("STATE_DIRECTORY", "").split(":")[0]
            file = (Path(state) if state else self._folder) / _JOURNAL_FILE
        elif found := re.fullmatch(r"sqlite(?:\+pysqlite)?:///(?!:memory:|file:)(.+)", url):
            file = self._folder / found[1]
        else:
            file = Path(_JOURNAL_FILE)
            scheme = re.match(r"[A-Za-z0-9+.-]+(?=:)", url)
            what = (
                f"is a URL of {scheme[0]!r}" if scheme and scheme[0] != "sqlite" else "names no SQLite file"
            )
            self._document.add_problem(place, f"{what}; allowed: null, or sqlite:///<file>")
        if "?" in str(file):
            self._document.add_problem(
                place, "the journal's path holds `?`, which ends a path in a URL; choose another"
            )
        return self._filled(defaults, section, url=f"sqlite:///{file}")

    def _rest(self, defaults: settings.RestSettings) -> settings.RestSettings:
        section = self._butler["restServerConfig"]
        enabled = section.get("enable", defaults.enable)
        tokens = [
            settings.Token(
                item["name"], sha256, item.get("role", "sender"), self._time(item.get("expiresAt"), place)
            )
            for index, item in enumerate(section["auth"].get("tokens", ()))
            if (sha256 := self._sha256(item, index, enabled))
            for place in [(*_TOKENS, index, "expiresAt")]
        ]
        return self._filled(
            defaults, section, tls=self._filled(defaults.tls, section["tls"]), tokens=tuple(tokens)
        )

    def _web_page(self, defaults: settings.WebPageSettings) -> settings.WebPageSettings:
        section = self._butler["webPage"]
        origins = tuple(origin.lower() for origin in section.get("origins", ()))
        return self._filled(defaults, section, origins=origins)

    def _key_value_store(self, defaults: settings.KeyValueStoreSettings) -> settings.KeyValueStoreSettings:
        endpoints = self._butler["restServerEndpointsEnable"].get("keyValueStore", defaults.endpoints)
        return self._filled(defaults, self._butler["keyValueStore"], endpoints=endpoints)

    def _notifications(self) -> tuple[str, ...]:
        """Return Butler's sections that call somebody and are not switched off."""
        root = self._document.value
        whole = root.get("Butler") if isinstance(root, dict) else None
        sections = whole if isinstance(whole, dict) else {}
        return tuple(name for name in _NOTIFICATIONS if _is_on(sections.get(name)))

    def _alerts(self) -> settings.AlertSettings:
        return AlertSection(
            self._document,
            self._butler["alerts"],
            secret=self._secret,
            check_files=self._check_files,
            url_fault=self._url_fault,
        ).read()

    def _sha256(self, item: Mapping[str, Any], index: int, enabled: bool) -> str | None:
        place: Place = (*_TOKENS, index)
        sha256, file = item.get("sha256"), item.get("tokenFile")
        if (sha256 is None) == (file is None):
            self._document.add_problem(place, "needs one of sha256 and tokenFile")
        elif file is None:
            return str(sha256).lower()
        elif enabled and self._check_files and (token := self._secret(file, (*place, "tokenFile"))):
            if re.fullmatch(r"[!-~]+", token):
                return hashlib.sha256(token.encode()).hexdigest()
            self._document.add_problem(
                (*place, "tokenFile"), f"file {self._folder / file} holds more than one word of ASCII"
            )
        return None

    def _rule(self, item: Mapping[str, Any], index: int) -> settings.RuleSettings:
        topics, when = item.get("topic", ()), item.get("when")
        webhook, coalesce = item.get("webhook"), item.get("coalesce")
        place: Place = ("Butler", "rules", index, "webhook")
        if webhook is not None:
            webhook = self._webhook(webhook, (*place, "secretFile"))
        if coalesce is not None:
            coalesce = self._filled(settings.Coalesce(), coalesce)
        return self._filled(
            settings.RuleSettings(name=item["name"]),
            item,
            topics=(topics,) if isinstance(topics, str) else tuple(topics),
            webhook=webhook,
            # `when: true` is a boolean of YAML's.
            when=str(when).lower() if isinstance(when, bool) else when,
            start=item["start"],
            coalesce=coalesce,
        )

    def _webhook(self, section: Mapping[str, Any], place: Place) -> settings.Webhook:
        secret, file = None, section.get("secretFile")
        if file is not None:
            # Without its file it is still a webhook whose callers sign.
            secret = (self._secret(file, place) or "").encode() if self._check_files else b""
        return self._filled(settings.Webhook(), section, secret=secret)

    def _time(self, text: str | None, place: Place) -> datetime | None:
        """Read a time of which the schema knows the form, but not whether the calendar has it."""
        if text is None:
            return None
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError:
            self._document.add_problem(place, f"is {text!r}, which the calendar or the clock does not have")
            return None

    def _secret(self, file: str, place: Place) -> str | None:
        """Read a secret from a file, less the newline at its end."""
        path = self._folder / file
        try:
            secret = _bytes(path, _MAX_SECRET_BYTES).decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            self._document.add_problem(place, f"file {path} is not UTF-8")
        except (OSError, ValueError) as error:
            self._document.add_problem(place, f"file {path} {cross_checks.reason(error)}")
        else:
            if secret:
                return secret
            self._document.add_problem(place, f"file {path} is empty")
        return None

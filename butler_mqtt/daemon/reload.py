"""SIGHUP: which changes of the configuration take effect at once, and which wait for a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace

from butler_mqtt import logs
from butler_mqtt.errors import ConfigError
from butler_mqtt.printable import counted
from butler_mqtt.settings import Settings

#: Where the file has what the settings have elsewhere or under another name.
_SECTIONS = {
    "mqtt": "mqttConfig",
    "qrs": "configQRS",
    "rest": "restServerConfig",
}
_ELSEWHERE = {
    "configQRS.clientCert": "cert.clientCert",
    "configQRS.clientCertKey": "cert.clientCertKey",
    "configQRS.clientCertCa": "cert.clientCertCA",
    "configQRS.headers": "configQRS.headers.static",
    "configQRS.useSsl": "configQRS.useSSL",
    "restServerConfig.tokens": "restServerConfig.auth.tokens",
    "keyValueStore.endpoints": "restServerEndpointsEnable.keyValueStore",
    "startTaskFilter.taskIds": "startTaskFilter.allowTask.taskId",
    "startTaskFilter.tags": "startTaskFilter.allowTask.tag",
    "startTaskFilter.customProperties": "startTaskFilter.allowTask.customProperty",
}

#: Settings that follow from others, which are named.
_DERIVED = frozenset({"mqttConfig.senderTopics", "mqttConfig.ruleFilters"})

#: Problems of a refused file that are logged.
MAX_PROBLEMS = 20

_log = logging.getLogger("butler_mqtt.daemon")


class Reload:
    """
    Reads the configuration again and uses what can be used without a restart.

    Args:
        settings: As it runs.
        reread: Reads and checks the file; raises ConfigError.
        apply: Passes the changed settings to the parts, those before first.
    """

    def __init__(
        self,
        settings: Settings,
        reread: Callable[[], Settings],
        apply: Callable[[Settings, Settings], None],
    ) -> None:
        self._settings = settings
        self._reread = reread
        self._apply = apply

    def run(self) -> None:
        """Reload; a configuration that cannot be used is logged and changes nothing."""
        try:
            read = self._reread()
        except ConfigError as error:
            _log_refused(error)
            return
        before, self._settings = self._settings, live(self._settings, read)
        changed = list(differences(before, self._settings))
        waiting = list(differences(self._settings, read))
        logs.set_level(self._settings.log_level)
        self._apply(before, self._settings)
        _log.info(
            "configuration reloaded; changed: %s; certificates are read at each new connection",
            ", ".join(changed) or "nothing",
            extra={"action": "reloaded"},
        )
        new = set(self._settings.mqtt.rule_filters) - set(before.mqtt.rule_filters)
        if new:
            _log.info(
                "%s subscribed to now; messages on them are judged from the line rules_subscribed on",
                counted(len(new), "new topic filter of rules is", "new topic filters of rules are"),
                extra={"action": "rules_subscribing"},
            )
        if waiting:
            _log.warning(
                "these changes wait for a restart: %s", ", ".join(waiting), extra={"action": "restart_needed"}
            )


def _log_refused(error: ConfigError) -> None:
    """Log each problem as a line of its own: the log escapes what would end a line."""
    count = len(error.problems)
    _log.error(
        "the configuration is not reloaded, everything stays as it was: %s: %s problem%s",
        error.source,
        count,
        "" if count == 1 else "s",
        extra={"action": "reload_refused"},
    )
    lines = [" ".join(str(problem).split()) for problem in error.problems[:MAX_PROBLEMS]]
    if count > MAX_PROBLEMS:
        lines.append(f"and {count - MAX_PROBLEMS} more: butler-mqtt check names them all")
    for line in lines:
        _log.error("not reloaded: %s", line, extra={"action": "reload_refused"})


def live(running: Settings, read: Settings) -> Settings:
    """Return *running* with what may change meanwhile: log level, gates, senders, tokens, rules, alerts."""
    return replace(
        running,
        log_level=read.log_level,
        start_task_filter=read.start_task_filter,
        senders=read.senders,
        unknown_senders=read.unknown_senders,
        mqtt=replace(
            running.mqtt, sender_topics=read.mqtt.sender_topics, rule_filters=read.mqtt.rule_filters
        ),
        alerts=read.alerts,
        rest=replace(running.rest, tokens=read.rest.tokens),
        rules=read.rules,
        ignored=read.ignored,
        notifications=read.notifications,
        older=read.older,
    )


def differences(running: object, read: object, path: str = "") -> Iterator[str]:
    """Name the keys whose values differ, as the file has them; no values."""
    if is_dataclass(running) and is_dataclass(read):
        for field in fields(running):
            here = _path(path, field.name)
            yield from differences(getattr(running, field.name), getattr(read, field.name), here)
    elif running != read and path not in _DERIVED:
        yield path


def _path(outer: str, name: str) -> str:
    if not outer:
        return _SECTIONS.get(name, _key(name))
    path = f"{outer}.{_key(name)}"
    return _ELSEWHERE.get(path, path)


def _key(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)

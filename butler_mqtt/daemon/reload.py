"""Which changes of the configuration take effect in a running daemon, and which wait for a restart. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

from butler_mqtt.settings import Settings

#: Where the file has what the settings have elsewhere or under another name.
_SECTIONS = {
    "log_level": "logLevel",
    "mqtt": "mqttConfig",
    "qrs": "configQRS",
    "start_task": "startTask",
    "start_task_filter": "startTaskFilter",
    "rest": "restServerConfig",
}
_ELSEWHERE = {
    "configQRS.clientCert": "cert.clientCert",
    "configQRS.clientCertKey": "cert.clientCertKey",
    "configQRS.clientCertCa": "cert.clientCertCA",
    "configQRS.headers": "configQRS.headers.static",
    "configQRS.useSsl": "configQRS.useSSL",
    "restServerConfig.tokens": "restServerConfig.auth.tokens",
    "startTaskFilter.taskIds": "startTaskFilter.allowTask.taskId",
    "startTaskFilter.tags": "startTaskFilter.allowTask.tag",
    "startTaskFilter.customProperties": "startTaskFilter.allowTask.customProperty",
}


def live(running: Settings, read: Settings) -> Settings:
    """Give *running* with what may change while it runs: log level, allow-list, tokens."""
    return replace(
        running,
        log_level=read.log_level,
        start_task_filter=read.start_task_filter,
        rest=replace(running.rest, tokens=read.rest.tokens),
        ignored=read.ignored,
    )


def differences(running: object, read: object, path: str = "") -> Iterator[str]:
    """Name the keys whose values differ, as the file has them; the values are not told."""
    if is_dataclass(running) and is_dataclass(read):
        for field in fields(running):
            here = _path(path, field.name)
            yield from differences(getattr(running, field.name), getattr(read, field.name), here)
    elif running != read:
        yield path


def _path(outer: str, name: str) -> str:
    if not outer:
        return _SECTIONS.get(name, name)
    first, *rest = name.split("_")
    path = f"{outer}.{first}{''.join(word.capitalize() for word in rest)}"
    return _ELSEWHERE.get(path, path)

"""Which changes of the configuration take effect in a running daemon, and which wait for a restart. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

from butler_mqtt.settings import Settings

#: Fields of the settings by the section of the file they are read from, where the two differ.
_SECTIONS = {
    "log_level": "logLevel",
    "mqtt": "mqttConfig",
    "qrs": "configQRS",
    "start_task": "startTask",
    "start_task_filter": "startTaskFilter",
    "rest": "restServerConfig",
}
_CERT = {"client_cert": "clientCert", "client_cert_key": "clientCertKey", "client_cert_ca": "clientCertCA"}


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
    if name in _CERT:
        return f"cert.{_CERT[name]}"
    if name == "headers":
        return f"{outer}.headers.static"
    if name == "use_ssl":
        return f"{outer}.useSSL"
    first, *rest = name.split("_")
    return f"{outer}.{first}{''.join(word.capitalize() for word in rest)}"

"""Where an installed service keeps its files, for commands that are typed on its machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: The configuration file in the current folder, which comes first.
DEFAULT_CONFIG = Path("config.yaml")


@dataclass(frozen=True, slots=True)
class ServicePlaces:
    """
    The files that docs/install.md and the Debian package make.

    `config` is the configuration; `directories` are by the names of the
    variables in which systemd passes the service its own.
    """

    config: Path
    directories: Mapping[str, Path]


SERVICE = ServicePlaces(
    Path("/etc/butler-mqtt/config.yaml"),
    {
        "CREDENTIALS_DIRECTORY": Path("/etc/butler-mqtt/credentials"),
        "STATE_DIRECTORY": Path("/var/lib/butler-mqtt"),
    },
)


def found_config(service: ServicePlaces = SERVICE) -> Path:
    """Return the configuration of a command that is given none, whether there is one or not."""
    return service.config if not is_there(DEFAULT_CONFIG) and is_there(service.config) else DEFAULT_CONFIG


def environ_for(
    config: Path, environ: Mapping[str, str], service: ServicePlaces = SERVICE
) -> Mapping[str, str]:
    """
    Return the variables that *config* may name.

    For that of the service they are those that systemd gives it, with the
    originals of its credentials: a terminal has none of them. What *environ*
    holds goes before.
    """
    if config.absolute() != service.config.absolute():
        return environ
    return {name: str(path) for name, path in service.directories.items() if is_there(path)} | dict(environ)


def is_there(path: Path) -> bool:
    """Return whether *path* exists; one that this user may not look at does."""
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True

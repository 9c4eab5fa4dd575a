"""Small configuration files for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import indent

import pytest

from butler_mqtt.config import loader
from butler_mqtt.errors import ConfigError
from butler_mqtt.settings import Settings

#: Two lines, so that what a test adds begins in line 3.
HEAD = "Butler:\n  configQRS: {host: sense.test, useSSL: false}\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
#: A file may hold both, for either use.
PEM = CERTIFICATE + KEY
NOTHING: Mapping[str, str] = {}


def load(folder: Path, sections: str, environ: Mapping[str, str] = NOTHING) -> Settings:
    """Load a file of `configQRS` and *sections*."""
    return load_whole(folder, HEAD + indent(sections, "  "), environ)


def load_whole(folder: Path, text: str | bytes, environ: Mapping[str, str] = NOTHING) -> Settings:
    """Load a file that holds *text* and nothing else."""
    file = folder / "config.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return loader.load(file, environ)


def problems(folder: Path, sections: str, environ: Mapping[str, str] = NOTHING) -> list[str]:
    """Return the problems of a file of `configQRS` and *sections*, as an operator reads them."""
    return problems_of_whole(folder, HEAD + indent(sections, "  "), environ)


def problems_of_whole(folder: Path, text: str | bytes, environ: Mapping[str, str] = NOTHING) -> list[str]:
    """Return the problems of a file that holds *text* and nothing else."""
    with pytest.raises(ConfigError) as caught:
        load_whole(folder, text, environ)
    return [str(problem) for problem in caught.value.problems]

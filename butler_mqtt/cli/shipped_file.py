"""The shipped configuration as a template: values filled in, everything else as it is; and writing it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import butler_mqtt
from butler_mqtt.config import yaml_file


class InitError(Exception):
    """No configuration can be written; the text says why and what to do."""


def template() -> str:
    """
    Return the text of the configuration as it is shipped.

    Raises:
        InitError: This installation lacks it.
    """
    root = Path(butler_mqtt.__file__).parent.parent
    if (root / "pyproject.toml").exists():
        return (root / "config.yaml").read_text("utf-8")
    for file in metadata.files("butler-mqtt") or []:
        if file.as_posix().endswith("share/butler-mqtt/config.yaml"):
            return Path(str(file.locate())).read_text("utf-8")
    raise InitError("share/butler-mqtt/config.yaml is missing from this installation: install it again")


def filled(text: str, values: dict[tuple[str, ...], str | int | None]) -> str:
    """
    Put values into a configuration; every other line, comments too, stays as it is.

    Raises:
        InitError: The text has no such key.
    """
    left = dict(values)
    lines = []
    for path, line in _keys(text.splitlines()):
        if path[1:] in left:
            lines.append(f"{line.partition(':')[0]}: {_scalar(left.pop(path[1:]))}")
        else:
            lines.append(line)
    if left:
        raise InitError(f"the shipped config.yaml has no key {'.'.join(next(iter(left)))}")
    return "\n".join([*lines, ""])


def _keys(lines: Sequence[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each line with the path of its key, empty for comments."""
    above: list[tuple[int, str]] = []
    for line in lines:
        fitting = re.match(r"( *(?:- )?)(\w+):", line)
        if fitting is None:
            yield (), line
            continue
        depth = len(fitting[1])
        above = [one for one in above if one[0] < depth] + [(depth, fitting[2])]
        yield tuple(key for _, key in above), line


def _scalar(value: str | int | None) -> str:
    """Return a value as YAML: bare where that parses to the same text, else in quotes."""
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    bare = re.fullmatch(r"[\w./@=; -]+", value) is not None
    if bare and yaml_file.plain(f"key: {value}") == {"key": value}:
        return value
    return json.dumps(value, ensure_ascii=False)


def write(path: Path, text: str, *, secret: bool, force: bool) -> None:
    """
    Write the file whole or not at all; only its owner may read it if it holds a secret.

    Raises:
        InitError: It exists and *force* is not given.
        OSError: The folder cannot be written.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o600 if secret else 0o644)
        if force:
            temporary.replace(path)
        else:
            # A link is refused where a file is; a replacement would not be.
            path.hardlink_to(temporary)
    except FileExistsError:
        raise InitError(f"{path} exists already; --force replaces it") from None
    finally:
        temporary.unlink(missing_ok=True)

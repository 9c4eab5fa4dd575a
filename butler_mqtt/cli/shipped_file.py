"""The shipped configuration as a template: values filled in, everything else as it is; and writing it."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import butler_mqtt
from butler_mqtt.config import yaml_file

_NO_NOTES: Mapping[tuple[str, ...], Sequence[str]] = {}


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


def filled(
    text: str,
    values: Mapping[tuple[str, ...], object],
    notes: Mapping[tuple[str, ...], Sequence[str]] = _NO_NOTES,
) -> str:
    """
    Put values into a configuration; every other line, comments too, stays as it is.

    Args:
        text: The configuration.
        values: By path below `Butler`; a list replaces what stands below its key.
        notes: Lines of comments to stand above a key, those at `()` at the end.

    Raises:
        InitError: The text has no such key.
    """
    left = {*values, *notes}
    lines = []
    replaced: tuple[str, ...] | None = None
    for path, line in _keys(text.splitlines()):
        if replaced is not None and path[: len(replaced)] == replaced:
            continue
        replaced = None
        key = path[1:]
        indent = line[: len(line) - len(line.lstrip())]
        if key and key in notes:
            lines += [f"{indent}# {note}" for note in notes[key]]
        if key and key in values:
            value = values[key]
            lines += _pair(line.partition(":")[0], value)
            replaced = path if isinstance(value, list) else None
        else:
            lines.append(line)
        left.discard(key)
    if left - {()}:
        raise InitError(f"the shipped config.yaml has no key {'.'.join(min(left - {()}))}")
    end = [f"# {note}" for note in notes.get((), ())]
    return "\n".join([*lines, *([""] if end else []), *end, ""])


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


def _pair(key: str, value: object) -> list[str]:
    """Return the lines of a key, indented already, with its value."""
    if not isinstance(value, list) or not value:
        return [f"{key}: {_scalar(value)}"]
    lines = [f"{key}:"]
    inner = " " * (len(key) - len(key.lstrip()) + 2)
    for item in value:
        parts = [f"{name}: {_scalar(one)}" for name, one in item.items()] if isinstance(item, dict) else []
        first, *others = parts or [_scalar(item)]
        lines += [f"{inner}- {first}", *(f"{inner}  {other}" for other in others)]
    return lines


def _scalar(value: object) -> str:
    """Return a value as YAML: bare where that parses to the same text, else in quotes."""
    if not isinstance(value, str):
        return json.dumps(value)
    bare = re.fullmatch(r"[\w./@=; -]+", value) is not None
    if bare and yaml_file.plain(f"key: {value}") == {"key": value}:
        return value
    # JSON leaves these as they are, and YAML breaks lines at some of them and refuses the others.
    return re.sub(
        r"[\x7f-\x9f\u2028\u2029\ufeff]",
        lambda found: f"\\u{ord(found[0]):04x}",
        json.dumps(value, ensure_ascii=False),
    )


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

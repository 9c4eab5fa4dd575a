"""
The schema of a configuration: known keys, types and ranges; and values from the environment.

`schemas/config.schema.json` defines what is allowed; the `description` of each
part is the text of its error. `schemas/butler-keys.json` lists the keys that
Butler has and this program ignores.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

import jsonschema

from butler_mqtt.config.yaml_file import Document, Place, dotted, scalar

#: `$${` stands for `${`; the form without braces is systemd's.
_REFERENCE: Final = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\}"
    r"|^\$(?P<directory>CREDENTIALS_DIRECTORY)(?=/)|\$\{[^}]*\}?"
)
#: The `format` of a section that is not there when it is null.
_EXPLICIT: Final = "explicit"
#: Where systemd puts the files of `LoadCredential=` (systemd.exec(5), version 247 and later).
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
#: Keys whose values are never shown, sections of which few values are, and the keys of these.
_SECRET: Final = frozenset({"password", "sha256", "url"})
_SECRET_SECTIONS: Final = frozenset({"headers", "auth"})
_SHOWN_THERE: Final = frozenset({"name", "role", "expiresAt"})


@cache
def schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the configuration."""
    return _packaged("config.schema.json")


@cache
def butler_keys() -> dict[str, list[str]]:
    """Return the keys of Butler that have no meaning here, by the dotted path of their section."""
    return {place: keys for place, keys in _packaged("butler-keys.json").items() if isinstance(keys, list)}


def apply(document: Document, environ: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """
    Return the section `Butler`, with values from the environment, and the keys that are ignored.

    Absent and empty sections are empty dicts, empty lists are lists. Values
    that break the schema become problems of *document* and are left out, so
    that the rest can be checked further. Ignored keys are dotted paths below
    `Butler`.
    """
    preparation = _Preparation(document, environ)
    data = preparation.prepare(schema(), document.value, ())
    validator = jsonschema.Draft202012Validator(schema())
    for error in validator.iter_errors(data):
        _add_problem(document, error)
    for place in document.invalid:
        _drop(data, place)
    butler = data.get("Butler", {}) if isinstance(data, dict) else {}
    return _with_sections(schema()["properties"]["Butler"], butler), tuple(preparation.ignored)


def keys_of(part: Mapping[str, Any], place: Place = ()) -> Iterator[Place]:
    """Yield the place of every key that *part* of the schema has, sections included, list items not."""
    for key, inner in _resolved(part).get("properties", {}).items():
        yield (*place, key)
        yield from keys_of(inner, (*place, key))


def _packaged(name: str) -> dict[str, Any]:
    text = resources.files("butler_mqtt").joinpath("schemas", name).read_text("utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = part.get("$ref")
    return schema()["$defs"][reference.rpartition("/")[2]] if reference else part


def _types(part: Mapping[str, Any]) -> list[str]:
    types = part.get("type", [])
    return [types] if isinstance(types, str) else types


def _empty(part: Mapping[str, Any]) -> dict[str, Any] | list[Any] | None:
    """Return what null stands for: an empty section or list, whose entries may all be commented out."""
    kind = next(iter(_types(part)), "")
    if kind not in {"object", "array"} or part.get("format") == _EXPLICIT:
        return None
    return {} if kind == "object" else []


def _with_sections(part: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Return *value* with an empty section for each that *part* of the schema has and *value* lacks."""
    sections = {
        key: inner
        for key, inner in part["properties"].items()
        if inner.get("type") in ("object", ["object", "null"]) and inner.get("format") != _EXPLICIT
    }
    return value | {
        key: _with_sections(inner, value.get(key, {}))
        for key, inner in sections.items()
        if isinstance(value.get(key, {}), dict)
    }


class _Preparation:
    """One walk through the values along the schema."""

    def __init__(self, document: Document, environ: Mapping[str, str]) -> None:
        self.ignored: list[str] = []
        self._reported = False
        self._document = document
        self._environ = environ

    def prepare(self, part: Mapping[str, Any], value: Any, place: Place) -> Any:
        part = _resolved(part)
        if value is None:
            value = _empty(part)
        if isinstance(value, dict) and "properties" in part:
            return self._section(part, value, place)
        if isinstance(value, list) and "items" in part:
            return [self.prepare(part["items"], item, (*place, index)) for index, item in enumerate(value)]
        if isinstance(value, str):
            return self._text(part, value, place)
        return value

    def _section(self, part: Mapping[str, Any], value: dict[str, Any], place: Place) -> dict[str, Any]:
        prepared: dict[str, Any] = {}
        known = part["properties"]
        for key, inner in value.items():
            if key in butler_keys().get(dotted(place), ()):
                self.ignored.append(dotted((*place[1:], key)))
            elif key not in known and part.get("additionalProperties", True):
                # Switches of Butler's, of which one means something here: named as one.
                self.ignored += [name for name in [dotted(place[1:])] if name not in self.ignored]
            else:
                # An unknown key is left for the schema to refuse.
                prepared[key] = self.prepare(known[key], inner, (*place, key)) if key in known else inner
        # A required key is missed in an absent section too.
        return _with_sections(part, prepared) if place else prepared

    def _text(self, part: Mapping[str, Any], value: str, place: Place) -> Any:
        if part.get("format") == "verbatim":
            return value

        def fill(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            name = found["name"] or found["directory"]
            if name is None:
                self._document.add_problem(
                    place, "holds `${` without a variable's name and `}`; `$${` is a plain `${`"
                )
                return found[0]
            if found["default"] is not None:
                return self._environ.get(name) or found["default"]
            if name not in self._environ:
                self._document.add_problem(
                    place, f"the environment variable {name} is not set{self._hint(name)}"
                )
            return self._environ.get(name, found[0])

        text = _REFERENCE.sub(fill, value)
        if place == ("Butler", "logLevel"):
            text = text.strip().lower()  # as Butler reads it
        if part.get("format") == "path" and not text:
            return None
        return _converted(text, _types(part)) if text != value else text

    def _hint(self, name: str) -> str:
        """Return what to do about a variable that is not set, once."""
        if name != _CREDENTIALS or self._reported:
            return ""
        self._reported = True
        # systemd sets INVOCATION_ID for each service.
        if "INVOCATION_ID" in self._environ:
            return (
                "; systemd has not loaded the LoadCredential= files: it is older than 247, or in a container"
                " that cannot mount them; let the service read them where they are"
                " (docs/install.md#without-loadcredential)"
            )
        return "; at the command line: export CREDENTIALS_DIRECTORY=/etc/butler-mqtt/credentials"


def _converted(text: str, types: list[str]) -> Any:
    """Return *text* of the environment, where everything is text, as a value of one of *types*."""
    if not text and "null" in types:
        return None
    meant = scalar(text)
    wanted = (bool, "boolean"), (int, "integer"), (int, "number"), (float, "number")
    return meant if any(type(meant) is kind and name in types for kind, name in wanted) else text


def _add_problem(document: Document, error: jsonschema.ValidationError) -> None:
    """Add an error of the schema in words."""
    place = tuple(error.absolute_path)
    part = error.schema if isinstance(error.schema, dict) else {}
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        for key in instance:
            if key not in part["properties"]:
                document.add_problem((*place, key), _unknown(part, place, key))
    elif error.validator == "required":
        for key in part["required"]:
            if key not in instance and document.is_valid((*place, key)):
                wanted = _resolved(part["properties"][key])["description"]
                document.add_problem((*place, key), f"is missing; allowed: {wanted}")
    elif document.is_valid(place):
        shown = _shown(document, place, instance, _types(part))
        document.add_problem(place, f"is {shown}; allowed: {part['description']}")


def _shown(document: Document, place: Place, value: object, types: list[str]) -> str:
    """Return the value at *place* as the file has it, `***` for a secret."""
    if isinstance(value, dict | list) or place not in document.written:
        return "a section of keys" if isinstance(value, dict) else "a list"
    if place[-1:] and (
        place[-1] in _SECRET or (_SECRET_SECTIONS & set(place) and place[-1] not in _SHOWN_THERE)
    ):
        return "***"
    text = document.written[place]
    if value is None:
        return text or "empty"
    if "@" in text:  # perhaps user:password@host
        text = "***@" + text.rpartition("@")[2]
    text = text if len(text) <= 60 else text[:60] + "…"
    if "${" in text:
        return f"{text!r}, for which the environment holds something else"
    if not isinstance(value, str):
        return text
    return repr(text) if not types or "string" in types else f"{text!r} (text)"


def _unknown(part: Mapping[str, Any], place: Place, key: str) -> str:
    """Return the problem of an unknown key, with the place of the key that was most likely meant."""
    here = [(*place, name) for name in (*part["properties"], *butler_keys().get(dotted(place), ()))]
    everywhere = [*keys_of(schema())]
    everywhere += [(*outer.split("."), name) for outer, names in butler_keys().items() for name in names]
    meant = (
        _near(key, here, 0.75)
        or next((known for known in everywhere if known[-1] == key), None)
        or _near(key, here, 0.6)
        or _near(key, everywhere, 0.6)
    )
    if meant is None:
        return f"unknown key; known here: {', '.join(sorted(part['properties']))}"
    return f"unknown key; did you mean {dotted(meant)}?"


def _near(key: str, places: list[Place], cutoff: float) -> Place | None:
    by_name = {str(place[-1]).lower(): place for place in reversed(places)}
    name = key[:100].lower()
    # `port` means brokerPort, although their letters differ; `transport` does not end with the word Port.
    word = name[:1].upper() + name[1:]
    longer = [known for known, place in by_name.items() if len(name) > 3 and str(place[-1]).endswith(word)]
    found = longer or difflib.get_close_matches(name, by_name, n=1, cutoff=cutoff)
    return by_name[found[0]] if found else None


def _drop(data: Any, place: Place) -> None:
    """
    Remove the value at *place*; in a list, the whole list, since positions name places.

    Of the rules only the one is gone, and None in its place, so that the others are checked further.
    """
    if place[:2] == ("Butler", "rules") and len(place) > 2 and isinstance(place[2], int):
        data["Butler"]["rules"][place[2]] = None
        return
    first = next((index for index, step in enumerate(place) if isinstance(step, int)), len(place))
    *outer, key = place[:first] or ("Butler",)
    for step in outer:
        data = data.get(step, {}) if isinstance(data, dict) else {}
    if isinstance(data, dict):
        data.pop(key, None)

"""
The schema of requests, and what it refuses in words.

The schema is loaded and compiled once, at import.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from itertools import islice
from typing import Any, TypeAlias

import fastjsonschema
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

#: The path of a value: keys of objects and positions in arrays.
Path: TypeAlias = tuple[str | int, ...]

#: The schema as a JSON value.
SCHEMA: dict[str, Any] = json.loads(
    resources.files("butler_mqtt").joinpath("schemas/request.schema.json").read_text("utf-8")
)
#: Matches a whole GUID with dashes, in any letter case.
GUID = re.compile(SCHEMA["properties"]["taskId"]["pattern"])
#: Matches a whole `requestId`.
REQUEST_ID = re.compile(SCHEMA["properties"]["requestId"]["pattern"])

#: Faults read: a bound for hostile bodies, and enough to choose from.
MAX_FAULTS = 20

_VALIDATOR = Draft202012Validator(SCHEMA)
#: The schema as one function: ten times as quick to find nothing wrong, and worse at naming what is.
#: To it, as to Python, 1 is the same as true; so the types are named for the latter alone.
_well_formed = fastjsonschema.compile(
    SCHEMA
    | {
        "properties": SCHEMA["properties"]
        | {"allMustExist": SCHEMA["properties"]["allMustExist"] | {"type": ["boolean", "string"]}}
    },
    use_default=False,
    use_formats=False,
)
_TYPES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}


def faults(body: object) -> tuple[list[str], list[str]]:
    """
    Judge the body of a request.

    Returns:
        The task ids that are no GUIDs, as `taskId[1] is 'abc'`, and all other
        problems, those deepest in the body first. Both empty: well-formed.
    """
    try:
        _well_formed(body)
    except fastjsonschema.JsonSchemaException:
        pass
    else:
        return [], []
    found = list(islice(_VALIDATOR.iter_errors(body), MAX_FAULTS))
    bad_ids: list[str] = []
    problems: list[str] = []
    for fault in sorted(found, key=lambda fault: -len(fault.absolute_path)):
        schema: Any = fault.schema
        if fault.validator == "pattern" and schema.get("format") == "uuid":
            bad_ids.append(f"{_place(fault)} is {shown(fault.instance)}")
        else:
            problems.extend(_reported(fault))
    return bad_ids, problems


def faults_beside(body: object, filled: Mapping[Path, bool]) -> list[tuple[Path, str]]:
    """
    Judge the body of a request that is not complete yet.

    Args:
        body: The body, with any text at the places to be filled.
        filled: These places, and whether what fills them may be of any type; else it is text.

    Returns:
        The place and the problem of each fault that filling cannot mend.
    """
    problems: list[tuple[Path, str]] = []
    for fault in islice(_VALIDATOR.iter_errors(body), MAX_FAULTS):
        place = tuple(fault.absolute_path)
        if place in filled and (filled[place] or fault.validator != "type"):
            continue
        schema: Any = fault.schema
        instance: Any = fault.instance
        if fault.validator == "additionalProperties":
            unknown = [key for key in instance if key not in schema["properties"]]
            problems += [((*place, key), f"unknown key{_hint(key, schema['properties'])}") for key in unknown]
        elif fault.validator == "pattern" and schema.get("format") == "uuid":
            problems.append((place, f"{_place(fault)} must be a GUID, is {shown(fault.instance)}"))
        else:
            problems += [(place, text) for text in _reported(fault)]
    return problems


def shown(value: object) -> str:
    """Write a value for an error text: strings quoted and cut, of the rest what it is."""
    if not isinstance(value, str):
        return _kind(value)
    return repr(value if len(value) <= 80 else value[:79] + "…")


def _reported(fault: ValidationError) -> Iterator[str]:
    place = _place(fault)
    found: Any = fault.instance
    expected: Any = fault.validator_value
    schema: Any = fault.schema
    match fault.validator:
        case "additionalProperties":
            where = f"{place}: " if fault.absolute_path else ""
            known = schema["properties"]
            for key in islice((key for key in found if key not in known), MAX_FAULTS):
                yield f"{where}unknown key {shown(key)}{_hint(key, known)}"
        case "required":
            if fault.message.endswith("is a required property"):
                yield f"{place} lacks {fault.message.removesuffix(' is a required property')}"
        case "type":
            names = [expected] if isinstance(expected, str) else expected
            allowed = " or ".join(f"an {name}" if name[0] in "ao" else f"a {name}" for name in names)
            yield f"{place} must be {allowed}, is {_kind(found)}"
        case "enum":
            allowed = " or ".join(
                f"'{value}'" if isinstance(value, str) else json.dumps(value) for value in expected
            )
            yield f"{place} must be {allowed}, is {shown(found)}"
        case "minLength" | "minItems":
            yield f"{place} is empty"
        case "maxItems":
            yield f"{place} has {len(found)} entries, {expected} are allowed"
        case "maxLength":
            yield f"{place} has {len(found)} characters, {expected} are allowed"
        case _:
            yield f"{place} must be {schema['description']}, is {shown(found)}"


def _place(fault: ValidationError) -> str:
    """Write the path to the fault as in `customProperty[0].value`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault.absolute_path)
    return "".join(steps).removeprefix(".") or "the request"


def _kind(value: object) -> str:
    return _TYPES.get(type(value)) or f"the number {str(value)[:40]}"


def _hint(key: str, known: Iterable[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(key[:80].lower(), by_lower, n=1)
    return f", did you mean '{by_lower[near[0]]}'?" if near else ""

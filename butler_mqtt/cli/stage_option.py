"""The option `--stage`: one stage of a request on one line."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

StageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="KEY=VALUE,...",
        help="A stage, once for each in their order, in place of the options that select tasks; keys: tag, "
        "taskId, taskName, customProperty (NAME=VALUE), match (KIND=any|all), name, onFailure.",
    ),
]

_KEYS = ("tag", "taskId", "taskName", "customProperty", "name", "match", "onFailure")
#: A comma separates only before a key, so that names of tasks may have some.
_SEPARATOR = re.compile(rf",\s*(?=(?:{'|'.join(_KEYS)})=)")


def stage_of(text: str) -> dict[str, Any]:
    """
    Read one stage as it stands on the command line; the rest is validated with the request.

    Raises:
        typer.BadParameter: A part is not `KEY=VALUE` with a known key, or something is given twice.
    """
    stage: dict[str, Any] = {}
    for part in _SEPARATOR.split(text):
        key, equals, value = part.partition("=")
        if not equals or key not in _KEYS:
            raise typer.BadParameter(
                f"'{part}' is not KEY=VALUE with one of the keys {', '.join(_KEYS)}", param_hint="--stage"
            )
        if key in {"name", "onFailure"}:
            if key in stage:
                raise typer.BadParameter(f"'{text}' has {key} twice", param_hint="--stage")
            stage[key] = value
        elif key in {"customProperty", "match"}:
            name, equals, inner = value.partition("=")
            if not equals:
                raise typer.BadParameter(f"'{part}' has no = after {key}=", param_hint="--stage")
            if key == "match":
                stage.setdefault(key, {})[name] = inner
            else:
                stage.setdefault(key, []).append({"name": name, "value": inner})
        else:
            stage.setdefault(key, []).append(value)
    return stage

"""The options that select tasks, and the request that they mean."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from butler_mqtt.cli.stage_option import stage_of

TagOption = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TEXT", help="Tasks with this tag; may be repeated.")
]
TaskIdOption = Annotated[
    list[str] | None, typer.Option("--task-id", metavar="GUID", help="The task with this id (GUID).")
]
TaskNameOption = Annotated[
    list[str] | None, typer.Option("--task-name", metavar="TEXT", help="The task with this name.")
]
CustomPropertyOption = Annotated[
    list[str] | None,
    typer.Option("--custom-property", metavar="NAME=VALUE", help="Tasks with this custom property value."),
]
MatchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--match",
        metavar="KIND=any|all",
        help="Whether any (default) or all must fit; KIND is tag, customProperty, or criteria "
        "(all: only tasks that every kind of option selects).",
    ),
]
AllMustExistOption = Annotated[
    bool, typer.Option("--all-must-exist", help="Start nothing if anything is not found or not allowed.")
]


def request_document(
    tag: list[str] | None,
    task_id: list[str] | None,
    task_name: list[str] | None,
    custom_property: list[str] | None,
    match: list[str] | None,
    all_must_exist: bool,
    stage: list[str] | None = None,
) -> dict[str, Any]:
    """
    Make the request that the options mean; it is validated as any other.

    Raises:
        typer.BadParameter: Nothing is selected, or a pair has no `=`.
    """
    document: dict[str, Any] = {"tag": tag, "taskId": task_id, "taskName": task_name}
    pairs = _pairs(custom_property, "--custom-property")
    document["customProperty"] = [{"name": name, "value": value} for name, value in pairs]
    document = {kind: values for kind, values in document.items() if values}
    if stage:
        if document or match:
            raise typer.BadParameter("select tasks in each --stage, not beside it", param_hint="--stage")
        document["stages"] = [stage_of(one) for one in stage]
    if not document:
        raise typer.BadParameter(
            "name at least one: --tag, --task-id, --task-name, --custom-property, or --stage"
        )
    if match:
        document["match"] = dict(_pairs(match, "--match"))
    if all_must_exist:
        document["allMustExist"] = True
    return document


def _pairs(texts: list[str] | None, option: str) -> list[tuple[str, str]]:
    pairs = []
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{text}' has no =", param_hint=option)
        pairs.append((name, value))
    return pairs

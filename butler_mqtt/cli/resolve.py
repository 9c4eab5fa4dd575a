"""`butler-mqtt resolve`: its options; the server is asked in `resolve_report`."""

from __future__ import annotations

from butler_mqtt.cli.options import ConfigOption, JsonOption, LongOption, end, read_settings
from butler_mqtt.cli.selection import (
    AllMustExistOption,
    CustomPropertyOption,
    MatchOption,
    TagOption,
    TaskIdOption,
    TaskNameOption,
    request_document,
)
from butler_mqtt.cli.stage_option import StageOption


def resolve(
    tag: TagOption = None,
    task_id: TaskIdOption = None,
    task_name: TaskNameOption = None,
    custom_property: CustomPropertyOption = None,
    match: MatchOption = None,
    all_must_exist: AllMustExistOption = False,
    stage: StageOption = None,
    as_json: JsonOption = False,
    long: LongOption = False,
    config: ConfigOption = None,
) -> None:
    """
    Ask the Qlik server which tasks a request selects.

    It also shows which of them are denied and which run, and starts nothing.
    """
    from butler_mqtt.cli import resolve_report  # noqa: PLC0415 -- the other commands need none of this

    document = request_document(tag, task_id, task_name, custom_property, match, all_must_exist, stage)
    end(resolve_report.resolve(read_settings(config), document, as_json=as_json, long=long))

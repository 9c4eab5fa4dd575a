"""What `butler-mqtt review` prints: each line says what to do."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from butler_mqtt.cli import printing
from butler_mqtt.cli.requests_list import local
from butler_mqtt.cli.result_table import cut_id
from butler_mqtt.cli.terminal import echo
from butler_mqtt.clock import now_ms
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal.usage import UsageReader
from butler_mqtt.printable import counted, escaped, wrapped
from butler_mqtt.reviews import site_review
from butler_mqtt.reviews.remark import Remark, Review, Topic
from butler_mqtt.settings import Settings

#: Lines of one part that people are shown; JSON has them all.
SHOWN = 20
_DAY = 86_400_000
_HEADINGS = {
    Topic.NOT_FOUND: "Selectors that found nothing",
    Topic.GONE: "Tasks that are gone",
    Topic.ASKED: "Tags and values in use",
    Topic.FAILING: "Tasks that fail or are skipped",
    Topic.NO_MATCH: "Entries of the configuration without a task",
    Topic.UNMATCHED: "Rules that match no message",
    Topic.SILENT: "Senders not heard of for long",
}


def review(settings: Settings, file: Path, *, days: int, as_json: bool) -> ExitCode:
    """
    Review the last *days* of the journal and print what is found.

    Returns:
        OK whatever is found, UNAVAILABLE when the Qlik server could not be asked.

    Raises:
        JournalError: The journal cannot be read.
    """
    # An outage is a line of the review already: it is not logged too.
    logging.getLogger("butler_mqtt").addHandler(logging.NullHandler())
    until = now_ms()
    with UsageReader(file) as reader, printing.progress() as progress:
        progress.add_task("reading the journal, asking the Qlik server")
        found = site_review.review(settings, reader, until - days * _DAY, until)
    if as_json:
        printing.print_json(_document(found))
    else:
        _print(found, days)
    return ExitCode.OK if found.not_asked is None else ExitCode.UNAVAILABLE


def _print(found: Review, days: int) -> None:
    site = f"; the Qlik server shows {counted(found.tasks, 'task')}" if found.tasks is not None else ""
    printing.print_text(
        f"the last {counted(days, 'day')}: {counted(found.requests, 'request')}{site}", "bold"
    )
    for topic, heading in _HEADINGS.items():
        remarks = [one for one in found.remarks if one.topic is topic]
        echo("")
        if topic is Topic.NO_MATCH and found.not_asked is not None:
            printing.print_text(f"{heading}: not known", "bold")
            continue
        printing.print_text(heading if remarks else f"{heading}: none", "bold")
        _print_part(remarks, found.left_out.get(topic, 0))
    if found.not_asked is not None:
        printing.print_error(f"the Qlik server could not be asked: {found.not_asked}")


def _print_part(remarks: Sequence[Remark], left_out: int) -> None:
    for advice, those in groupby(remarks[:SHOWN], key=lambda one: one.advice):
        for remark in those:
            echo(wrapped(f"  {escaped(remark.text)}{_last(remark)}", sys.stdout, hanging=4))
        # Once for all in a row that it is for.
        echo(wrapped(f"    → {escaped(advice)}", sys.stdout, hanging=6))
    more = len(remarks) - SHOWN + left_out
    if more > 0:
        echo(f"  and {more} more: --json")


def _last(remark: Remark) -> str:
    if remark.last is None:
        return ""
    last = remark.last
    sender = f" from {escaped(last.sender)}" if last.sender else ""
    request_id = cut_id(last.request_id) if sys.stdout.isatty() else last.request_id
    return f"; last {local(last.received_at)[:16]}, request {escaped(request_id)}{sender}"


def _document(found: Review) -> dict[str, object]:
    return {
        "since": stamp_ms(found.since),
        "until": stamp_ms(found.until),
        "requests": found.requests,
        "tasks": found.tasks,
        "notAsked": found.not_asked,
        "remarks": [_entry(one) for one in found.remarks],
        "leftOut": {topic.value: count for topic, count in found.left_out.items()},
    }


def _entry(remark: Remark) -> dict[str, object]:
    entry: dict[str, object] = {"topic": remark.topic.value, **remark.facts}
    if remark.last is not None:
        entry["last"] = {
            "requestId": remark.last.request_id,
            "receivedAt": stamp_ms(remark.last.received_at),
            "sender": remark.last.sender,
            "door": remark.last.door,
        }
    return entry | {"text": remark.text, "advice": remark.advice}

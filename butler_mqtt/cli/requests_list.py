"""`requests`, `requests ID` and `requests export`: requests in the journal, for people and for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from butler_mqtt import clock
from butler_mqtt.audit import requests_summary
from butler_mqtt.audit.requests_choice import owner, retry_sender
from butler_mqtt.audit.requests_timeline import Step, steps
from butler_mqtt.cli import printing
from butler_mqtt.cli.requests_export import record
from butler_mqtt.cli.result_table import Cell, ResultTable, cut_id
from butler_mqtt.contract.timestamps import stamp_ms
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.journal.request_rows import RequestRows
from butler_mqtt.journal.search import GOING_ON, OPEN, Filters, Search

#: Seconds between two polls of whether the file has changed.
FOLLOW_SECONDS = 0.5
#: Open requests whose changes `--follow` shows; the oldest are dropped.
MAX_WATCHED = 1000
#: New requests read at a time.
MAX_NEW = 500

#: Of a time, what a narrow terminal shows: neither year nor offset.
_TO_SECONDS, _TO_MILLISECONDS = slice(5, 19), slice(5, 23)
_HEADINGS = ("arrived", "request", "door, from", "asked for", "tasks", "state")

Show = Callable[[Sequence[RequestRows]], None]


def listing(
    journal: Path, filters: Filters, *, limit: int, as_json: bool, follow: bool, long: bool = False
) -> ExitCode:
    """
    Print the newest requests that match.

    Args:
        journal: The file.
        filters: Which requests.
        limit: How many at most.
        as_json: One line of JSON each, else a table.
        follow: Print new and changed ones too, oldest first, until interrupted.
        long: With ids and times whole, also on a narrow terminal.

    Returns:
        FAILED when there are none, without *follow*.

    Raises:
        JournalError: The journal cannot be read.
    """
    with Search(journal) as search:
        if follow:
            _follow(search, filters, limit, _lines if as_json else partial(_rows, long=long))
        requests_rows = search.requests_rows(search.find(filters, limit))
        if not requests_rows:
            printing.print_error(f"no request in {journal} matches")
            return ExitCode.FAILED
        if as_json:
            _lines(reversed(requests_rows))
        else:
            _table(requests_rows, long=long)
    return ExitCode.OK


def timeline(journal: Path, request_id: str, *, as_json: bool, follow: bool) -> ExitCode:
    """
    Print every step of the requests with one id; arguments and result as of `listing`.

    *request_id* may be the beginning of one, as a list on a narrow terminal shows it.

    Raises:
        JournalError: The journal cannot be read.
    """
    with Search(journal) as search:
        ids = search.ids(request_id)
        if len(ids) > 1:
            return printing.failed(f"several requests begin with {request_id}: {', '.join(ids)}")
        if not ids:
            return printing.failed(
                f"no request {request_id} is in {journal}; butler-mqtt requests lists the newest"
            )
        request_id = ids[0]
        requests_rows = search.requests_rows(search.named(request_id))
        if as_json:
            printing.print_json(_whole(request_id, requests_rows))
            return ExitCode.OK
        senders = dict.fromkeys(
            ["retry of " + request_id, *(retry_sender(one, requests_rows) for one in requests_rows)]
        )
        printed: set[Step] = set()
        _print_steps(requests_rows, printed)
        for sender in senders:
            for retried in search.requests_rows(search.find(Filters(stated=sender), 10)):
                printing.print_line(f"retried by request {retried.request['request_id']}, {sender}")
        version = search.version()
        while follow:
            version = _wait(search, version)
            _print_steps(search.requests_rows(search.named(request_id)), printed, headings=False)
    return ExitCode.OK


def export(journal: Path, since: int | None, until: int | None) -> ExitCode:
    """
    Print all requests of a period, oldest first, one line of JSON each.

    Raises:
        JournalError: The journal cannot be read.
    """
    with Search(journal) as search:
        for request_rows in search.each(since, until):
            _lines([request_rows])
    return ExitCode.OK


# ---- following


def _follow(search: Search, filters: Filters, limit: int, show: Show) -> NoReturn:
    """Show the newest, then new and changed ones; ended by an interrupt."""
    version = search.version()
    newest = search.requests_rows(search.find(filters, limit))
    show(newest)
    last = max(search.find(Filters(), 1), default=0)
    # Matching or not: an open request may match once it has its tasks or its code.
    watched = {one.request["id"]: _signature(one) for one in newest if _in_progress(one)}
    while True:
        version = _wait(search, version)
        changed = [
            one
            for one in search.requests_rows(list(watched))
            if _signature(one) != watched[one.request["id"]]
        ]
        for rows in _new(search, last):
            last = rows[-1]
            changed += search.requests_rows(rows)
            _show_matching(search, filters, changed, show)
            _watch(watched, changed)
            changed = []
        _show_matching(search, filters, changed, show)
        _watch(watched, changed)


def _show_matching(
    search: Search, filters: Filters, requests_rows: Sequence[RequestRows], show: Show
) -> None:
    if requests_rows:
        matching = set(
            search.find(filters, len(requests_rows), among=[one.request["id"] for one in requests_rows])
        )
        show([one for one in requests_rows if one.request["id"] in matching])


def _watch(watched: dict[int, tuple[object, ...]], requests_rows: Sequence[RequestRows]) -> None:
    for request_rows in requests_rows:
        watched.pop(request_rows.request["id"], None)
        if _in_progress(request_rows):
            watched[request_rows.request["id"]] = _signature(request_rows)
    for row in list(watched)[:-MAX_WATCHED]:
        del watched[row]


def _new(search: Search, last: int) -> Iterable[list[int]]:
    while rows := search.after(last, MAX_NEW):
        yield rows
        last = rows[-1]


def _wait(search: Search, version: int) -> int:
    while (now := search.version()) == version:
        time.sleep(FOLLOW_SECONDS)
    return now


def _in_progress(request_rows: RequestRows) -> bool:
    executing = {
        row["id"] for row in request_rows.runs.values() if row["state"] not in {"ended", "none", "unknown"}
    }
    return request_rows.request["state"] in OPEN or any(
        start["state"] in GOING_ON and (start["state"] != "running" or start["run"] in executing)
        for start in request_rows.starts
    )


def _signature(request_rows: RequestRows) -> tuple[object, ...]:
    return (request_rows.request["state"], *(start["state"] for start in request_rows.starts))


# ---- printing


def _lines(requests_rows: Iterable[RequestRows]) -> None:
    for request_rows in requests_rows:
        printing.print_json(record(request_rows))


def _rows(requests_rows: Iterable[RequestRows], *, long: bool) -> None:
    short = sys.stdout.isatty() and not long
    for request_rows in requests_rows:
        cells = _cells(request_rows)
        if short:
            parts = [cell.text if cell.short is None else cell.short for cell in cells]
            del parts[_HEADINGS.index("tasks")]
            printing.print_line("  ".join(parts), hanging=16)
        else:
            printing.print_line("  ".join(cell.text for cell in cells))


def _table(requests_rows: Sequence[RequestRows], *, long: bool) -> None:
    # Their names would leave no room; those that failed stand in the state.
    table = ResultTable(_HEADINGS, wide_only=frozenset({"tasks"}))
    for request_rows in reversed(requests_rows):
        table.add(*_cells(request_rows))
    table.show(long=long)


def _cells(request_rows: RequestRows) -> tuple[Cell, ...]:
    request = request_rows.request
    arrived = local(request["received_at"])
    state, style = requests_summary.state(request_rows)
    return (
        Cell(arrived, short=arrived[_TO_SECONDS]),
        printing.id_cell(request["request_id"]),
        Cell(requests_summary.origin(request_rows)),
        Cell(
            requests_summary.asked(request_rows),
            short=requests_summary.asked(request_rows, as_id=cut_id),
        ),
        Cell(requests_summary.tasks(request_rows)),
        Cell(state, style),
    )


def _print_steps(requests_rows: Sequence[RequestRows], printed: set[Step], *, headings: bool = True) -> None:
    """Print the steps that are not in *printed*, and add them to it."""
    for number, request_rows in enumerate(requests_rows, 1):
        if headings:
            which = _which(number, requests_rows) if len(requests_rows) > 1 else ""
            request = request_rows.request
            state, _ = requests_summary.state(request_rows)
            printing.print_line(f"request {request['request_id']}{which}: {state}", hanging=2)
            printing.print_line(f"  from: {requests_summary.origin(request_rows)}", hanging=8)
            if request["document"]:
                printing.print_line(f"  asked: {request['document']}", hanging=9)
            else:
                printing.print_line(f"  received: {requests_summary.received(request_rows)}", hanging=12)
        for step in steps(request_rows):
            if step not in printed:
                printed.add(step)
                _print_step(step)


def _print_step(step: Step) -> None:
    when = local(step.time)
    if sys.stdout.isatty():
        when = when[_TO_MILLISECONDS]
    first, *more = step.text.split("\n")
    printing.print_line(f"  {when}  {first}", hanging=len(when) + 4)
    for line in more:
        printing.print_line(" " * (len(when) + 6) + line)


def _which(number: int, requests_rows: Sequence[RequestRows]) -> str:
    holder = owner(requests_rows)
    belongs = "" if holder in {None, number} else f"; the id belongs to number {holder}"
    return f" ({number} of {len(requests_rows)} with this id{belongs})"


def _whole(request_id: str, requests_rows: Sequence[RequestRows]) -> dict[str, object]:
    requests = [{**record(one), "steps": [step.as_json() for step in steps(one)]} for one in requests_rows]
    return {"requestId": request_id, "time": stamp_ms(time.time_ns() // 1_000_000), "requests": requests}


def local(milliseconds: int) -> str:
    """Write a time of the journal as local time."""
    when = clock.from_ms(milliseconds)
    return "" if when is None else clock.local(when).isoformat(" ", "milliseconds")

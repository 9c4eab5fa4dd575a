"""
The script log of a reload: a reference first, then the download.

Until May 2025 the reference is had by the result's `fileReferenceID`, since
then by the result's own id; which of the two a server knows is found by trying.
"""

from __future__ import annotations

from butler_mqtt.errors import QlikRefused
from butler_mqtt.qrs import filters, json_fields
from butler_mqtt.qrs.task_lists import Read

#: Statuses of a server that does not know this reference, or has no log yet.
_NOT_HERE = frozenset({400, 404})


def last_lines(read: Read, download: Read, task_id: str, result_id: str, lines: int) -> list[str] | None:
    """
    Read the last *lines* of the log of one result; None while the server has none.

    Raises:
        QlikUnavailable: The server could not be asked.
        QlikRefused: The server refuses to answer.
    """
    for path, query in _references(read, task_id, result_id):
        try:
            reference = json_fields.reference(json_fields.part(read(path, query), "value"))
            if reference is None:
                continue
            text = download(f"/download/reloadtask/{reference}/script.log")
        except QlikRefused as error:
            if error.status not in _NOT_HERE:
                raise
            continue
        return str(text).splitlines()[-lines:]
    return None


def _references(read: Read, task_id: str, result_id: str) -> list[tuple[str, str]]:
    chosen = filters.encode(filters.any_of("id", [result_id]))
    rows = json_fields.objects(read("/executionresult/full", f"filter={chosen}"))
    new = (f"/reloadtask/{task_id}/scriptlogfile", f"executionResultId={result_id}")
    file = json_fields.reference(rows[0].get("fileReferenceID")) if rows else None
    # Not `scriptLogAvailable`: it was false on recorded results that had a log.
    if file is None:
        return [new]
    return [(f"/reloadtask/{task_id}/scriptlog", f"fileReferenceId={file}"), new]

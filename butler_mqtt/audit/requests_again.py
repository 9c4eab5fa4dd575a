"""The request that asks again for the tasks of an old one that failed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from butler_mqtt.audit import requests_choice
from butler_mqtt.audit.requests_choice import Declined
from butler_mqtt.journal.request_rows import RequestRows
from butler_mqtt.journal.search import OPEN, Search

#: States of starts that are retried. Those whose outcome is unknown may be running.
FAILED = frozenset({"failed", "aborted", "skippedByQlik", "notStarted", "expired"})
_SELECTORS = ("taskId", "taskName", "tag", "customProperty", "match", "stages", "allMustExist")
_OPTIONS = ("ifRunning", "dryRun")


def retried(
    journal: Path,
    request_id: str,
    number: int | None = None,
    states: frozenset[str] = FAILED,
    task_id: str | None = None,
) -> dict[str, Any]:
    """
    Make the request that asks again for what failed of an old one.

    Args:
        journal: The file that holds the old one.
        request_id: Its id; of several that ask for the same the newest is meant.
        number: Which of several, as `requests ID` numbers them.
        states: Of the starts that are asked for again.
        task_id: This task only.

    Raises:
        Declined: There is nothing to ask for again.
        JournalError: The journal cannot be read.
    """
    requests_rows, request_rows = _meant(journal, request_id, number)
    if request_rows.held:
        raise Declined(f"request {request_id} is held: butler-mqtt requests resume {request_id}")
    if request_rows.request["state"] in OPEN:
        raise Declined(
            f"request {request_id} is still open: butler-mqtt requests {request_id} shows what it waits for"
        )
    document = _again(request_rows, states, task_id)
    if document is None:
        raise Declined(_nothing_failed(request_rows))
    return document | {
        "requestId": f"retry-{secrets.token_hex(8)}",
        "sender": requests_choice.retry_sender(request_rows, requests_rows),
    }


def owner(journal: Path, request_id: str, number: int | None = None) -> str | None:
    """
    Return whose the old request is, as `domain.senders` has it; who asks for it again acts for that sender.

    Raises:
        Declined, JournalError: As `retried`.
    """
    identity: str | None = _meant(journal, request_id, number)[1].request["identity"]
    return identity


def _meant(journal: Path, request_id: str, number: int | None) -> tuple[Sequence[RequestRows], RequestRows]:
    """Return all requests that had an id, and the one of them that is meant."""
    with Search(journal) as search:
        requests_rows = search.requests_rows(search.named(request_id))
    if not requests_rows:
        raise Declined(f"no request {request_id} is in {journal}")
    those = requests_rows if number is None else [requests_choice.numbered(request_id, requests_rows, number)]
    understood = [one for one in those if one.request["document"] is not None]
    if not understood:
        raise Declined(f"request {request_id} was never understood; send a new one")
    return requests_rows, requests_choice.choose(request_id, requests_rows, understood)


def _again(request_rows: RequestRows, states: frozenset[str], task_id: str | None) -> dict[str, Any] | None:
    """Make the request for what failed; None when nothing did."""
    document = json.loads(request_rows.request["document"])
    if "cancel" in document:
        return None
    kept = {key: document[key] for key in _OPTIONS if key in document}
    failed = list(dict.fromkeys(row["task_id"] for row in request_rows.starts if row["state"] in states))
    if task_id is not None:
        return {"taskId": [task_id], **kept} if task_id in failed else None
    if failed and request_rows.stages:
        return {"stages": _stages(request_rows, document["stages"], states), **kept}
    if failed:
        return {"taskId": failed, **kept}
    if request_rows.request["state"] == "refused" and not request_rows.starts:
        # Its tasks were never resolved; the same selectors are sent again.
        return {key: document[key] for key in _SELECTORS if key in document} | kept
    return None


def _stages(
    request_rows: RequestRows, asked: list[dict[str, Any]], states: frozenset[str]
) -> list[dict[str, Any]]:
    """Return the stages with what failed, in their order: one must not begin before the other here either."""
    again: list[dict[str, Any]] = []
    for number, plan in enumerate(asked, 1):
        those = [row for row in request_rows.starts if row["stage"] == number and row["state"] in states]
        if those:
            stage: dict[str, Any] = {"taskId": [row["task_id"] for row in those]}
            again.append(stage | {key: plan[key] for key in ("name", "onFailure") if key in plan})
    return again


def _nothing_failed(request_rows: RequestRows) -> str:
    if "cancel" in json.loads(request_rows.request["document"]):
        return f"request {request_rows.request['request_id']} is a cancel; butler-mqtt cancel sends a new one"
    doubtful = [row["task_name"] for row in request_rows.starts if row["state"] == "unknown"]
    if doubtful:
        return (
            f"it is not known whether these began: {', '.join(doubtful)}; check them in the QMC, "
            "then retry with --unknown"
        )
    return f"nothing of request {request_rows.request['request_id']} has failed"

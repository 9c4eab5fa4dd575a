"""
Butler's own form of a start request: the array body, and the answer its clients read. Pure.

Read in Butler 16.0.4, `src/routes/rest_server/sense_start_task.js` and
`src/api/sense_start_task.js`: item types, keys, order, and what
`allTaskIdsMustExist` holds back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from butler_mqtt.domain.model import EMPTY_GUID
from butler_mqtt.errors import RequestError

_GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")

#: The keys of `payload` by the item's type; what else it holds is ignored, as Butler does.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "starttaskid": ("taskId",),
    "starttasktag": ("tag",),
    "starttaskcustomproperty": ("customPropertyName", "customPropertyValue"),
    "keyvaluestore": (),
}
#: States of a start for which Butler would say "started": it began, or it waits for its turn.
_TAKEN = frozenset({"tasksStarted", "tasksQueued", "tasksPending"})

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What a Butler client asks.

    `ids` are as sent, that of the path first, malformed ones included.
    `key_values` counts the items for Butler's key-value store.
    """

    ids: tuple[object, ...] = ()
    tags: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    all_ids: bool = False
    key_values: int = 0

    def request(self) -> str | None:
        """Write it as a request of ours (design 4.1); None when it names nothing that could be started."""
        good = [one for one in self.ids if _is_guid(one)]
        if not (good or self.tags or self.pairs):
            return None
        wanted: dict[str, object] = {}
        if good:
            wanted["taskId"] = good
        if self.tags:
            wanted["tag"] = list(self.tags)
        if self.pairs:
            wanted["customProperty"] = [{"name": name, "value": value} for name, value in self.pairs]
        if self.all_ids and good:
            wanted["allMustExist"] = "taskId"
            if len(good) < len(self.ids):
                # No task has this id, so a malformed one holds the others back as an unknown one does.
                wanted["taskId"] = [*good, EMPTY_GUID]
        return json.dumps(wanted, ensure_ascii=False)


def read(items: list[Any], path_task_id: str | None, *, all_ids: bool) -> Asked:
    """
    Read Butler's array.

    Args:
        items: The body, JSON already read.
        path_task_id: The id of the path, None for `-` and none.
        all_ids: `allTaskIdsMustExist`.

    Raises:
        RequestError: `invalid_request` with the place of what is wrong.
    """
    ids: list[object] = [] if path_task_id is None else [path_task_id]
    tags: list[str] = []
    pairs: list[Pair] = []
    key_values = 0
    for index, item in enumerate(items):
        kind, payload = _item(index, item)
        if kind == "starttaskid":
            ids.append(payload["taskId"])
        elif kind == "starttasktag":
            tags.append(_text(index, payload, "tag"))
        elif kind == "starttaskcustomproperty":
            name = _text(index, payload, "customPropertyName")
            pairs.append((name, _text(index, payload, "customPropertyValue")))
        else:
            key_values += 1
    return Asked(tuple(ids), tuple(tags), tuple(pairs), all_ids, key_values)


def answer(asked: Asked, state: Mapping[str, Any] | None) -> dict[str, object]:
    """
    Compose Butler's answer.

    Args:
        asked: What was asked.
        state: The present state of the request as `GET /v4/requests/{id}` tells it;
            None when nothing was asked that could be started.
    """
    tasks = [
        (entry, name in _TAKEN)
        for name, entries in (state or {}).items()
        if name.startswith("tasks") and name != "tasksNotFound"
        for entry in entries
    ]
    missing = {one["taskId"] for one in (state or {}).get("tasksNotFound", ()) if "taskId" in one}
    return {
        "tasksId": _ids(asked, tasks, missing),
        "tasksTag": _matched(tasks, "tag"),
        "tasksTagDenied": _denied(asked.tags, tasks, "tag", lambda tag: {"tag": tag}, str.casefold),
        "tasksCP": _matched(tasks, "customProperty"),
        "tasksCPDenied": _denied(
            asked.pairs, tasks, "customProperty", lambda pair: {"name": pair[0], "value": pair[1]}, _folded
        ),
    }


_Entries = list[tuple[Mapping[str, Any], bool]]


def _ids(asked: Asked, tasks: _Entries, missing: set[str]) -> dict[str, object]:
    lists: dict[str, list[dict[str, object]]] = {"started": [], "invalid": [], "denied": []}
    known = {entry["taskId"]: (entry, taken) for entry, taken in tasks}
    # An id that is sent twice is one task and one start: it is listed once.
    unique = {one.lower() if isinstance(one, str) else json.dumps(one): one for one in asked.ids}
    bad = {key for key, one in unique.items() if not _is_guid(one) or key in missing or key not in known}
    for key, one in unique.items():
        if key in bad:
            lists["invalid"].append({"taskId": one})
        elif not known[key][1] or (asked.all_ids and bad):
            lists["denied"].append({"taskId": one})
        else:
            lists["started"].append(_task(known[key][0]))
    return dict(lists)


def _matched(tasks: _Entries, kind: str) -> list[dict[str, object]]:
    return [
        _task(entry) for entry, taken in tasks if taken and any(kind in one for one in entry["selectors"])
    ]


def _denied(
    asked: Iterable[Any],
    tasks: _Entries,
    kind: str,
    entry_of: Callable[[Any], dict[str, object]],
    folded: Callable[[Any], object],
) -> list[dict[str, object]]:
    """List the tags, or pairs, of which at least one task may not be started."""
    refused = set()
    for entry, taken in tasks:
        if taken or entry["status"] != "denied":
            continue
        for selector in entry["selectors"]:
            if kind in selector:
                value = selector[kind]
                refused.add(folded(value if isinstance(value, str) else (value["name"], value["value"])))
    unique = {folded(one): one for one in asked}
    return [entry_of(one) for key, one in unique.items() if key in refused]


def _folded(pair: Pair) -> Pair:
    return pair[0].casefold(), pair[1].casefold()


def _task(entry: Mapping[str, Any]) -> dict[str, object]:
    return {"taskId": entry["taskId"], "taskName": entry["taskName"]}


def _is_guid(one: object) -> bool:
    return isinstance(one, str) and _GUID.fullmatch(one) is not None


def _item(index: int, item: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(item, dict):
        raise _wrong(f"[{index}] is not an object with 'type' and 'payload'")
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise _wrong(f"[{index}].type is {json.dumps(kind)[:80]}, not one of {', '.join(_KEYS)}")
    payload = item.get("payload")
    if not isinstance(payload, dict):
        raise _wrong(f"[{index}].payload is not an object")
    for key in _KEYS[kind]:
        if key not in payload:
            raise _wrong(f"[{index}].payload.{key} is missing")
    return kind, payload


def _text(index: int, payload: Mapping[str, Any], key: str) -> str:
    value = payload[key]
    if not isinstance(value, str) or not value:
        raise _wrong(f"[{index}].payload.{key} is not a text")
    return value


def _wrong(details: str) -> RequestError:
    return RequestError("invalid_request", "Invalid request", details)

"""
Butler's own form of a start request: the array body, and the answer its clients read. No I/O.

Read in Butler 16.0.4, `src/routes/rest_server/sense_start_task.js` and
`src/api/sense_start_task.js`: item types, keys, order, and what
`allTaskIdsMustExist` holds back.

What is no text is taken as Butler 16 takes it, measured at Fastify 5.12.8 with
its default options and Butler's schema, and read in `src/qrs_util/get_tasks.js`
for what the schema leaves open, the keys of `payload`:

- An item without `type` passes and is skipped. A `type` of another value is 400;
  an array that holds one right value is that value.
- `payload` is an object or absent, never converted; an item that is null, a text,
  a number or an array is 400.
- A number or boolean as tag, name or value is searched as its JavaScript text
  (`5.0` is `5`). Null, an object or a missing key finds nothing in a custom
  property, and in a tag ends the call with 500 or finds nothing.
- An id that is no text is `invalid`, as sent. (Butler leaves out one that is missing.)
- A key that occurs twice has its last value; `charset` is not read, the body is UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from butler_mqtt.contract import parameter_values
from butler_mqtt.contract.selectors import AnyCase, any_case
from butler_mqtt.domain.model import EMPTY_GUID, Parameter
from butler_mqtt.errors import RequestError

_GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")

_TYPES = ("starttaskid", "starttasktag", "starttaskcustomproperty", "keyvaluestore")
#: What Butler needs of a parameter; it skips an item without.
_STORED = ("namespace", "key", "value")
#: The keys of `payload` that are read, by the item's type; what else it holds is ignored, as Butler does.
_SEARCHED: Mapping[str, tuple[str, ...]] = {
    "starttasktag": ("tag",),
    "starttaskcustomproperty": ("customPropertyName", "customPropertyValue"),
    "keyvaluestore": _STORED,
}
#: Lists of the state whose tasks Butler reports as started: they run, or are queued.
_STARTED = frozenset({"tasksStarted", "tasksQueued", "tasksPending"})

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ButlerRequest:
    """
    What Butler's array asks for.

    `ids` are as sent, that of the path first, malformed ones included.
    `all_ids` is `allTaskIdsMustExist`. `key_values` are the items for
    Butler's key-value store, each with the milliseconds for which it is kept (0: for ever),
    `unusable` names the items that can find or store nothing, and why.
    """

    ids: tuple[object, ...] = ()
    tags: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    all_ids: bool = False
    key_values: tuple[tuple[Parameter, int], ...] = ()
    unusable: tuple[str, ...] = ()

    def request(self) -> str | None:
        """Return it as a request of this program, JSON text; None when it names nothing to start."""
        valid = [one for one in self.ids if _is_guid(one)]
        if not (valid or self.tags or self.pairs):
            return None
        wanted: dict[str, object] = {}
        if valid:
            wanted["taskId"] = valid
        if self.tags:
            wanted["tag"] = list(self.tags)
        if self.pairs:
            wanted["customProperty"] = [{"name": name, "value": value} for name, value in self.pairs]
        if self.all_ids and valid:
            wanted["allMustExist"] = "taskId"
            if len(valid) < len(self.ids):
                # No task has this id, so a malformed one holds the others back as an unknown one does.
                wanted["taskId"] = [*valid, EMPTY_GUID]
        return json.dumps(wanted, ensure_ascii=False)


def read(items: list[Any], path_task_id: str | None, *, all_ids: bool) -> ButlerRequest:
    """
    Read Butler's array.

    Args:
        items: The body, already parsed.
        path_task_id: The id of the path, None for `-` and none.
        all_ids: `allTaskIdsMustExist`.

    Raises:
        RequestError: `invalid_request`, with the place of the fault.
    """
    ids: list[object] = [] if path_task_id is None else [path_task_id]
    tags: list[str] = []
    pairs: list[Pair] = []
    key_values: list[tuple[Parameter, int]] = []
    unusable: list[str] = []
    for index, item in enumerate(items):
        kind, payload = _item(index, item)
        texts = [_text(payload.get(key)) for key in _SEARCHED.get(kind, ())]
        if not kind:
            unusable.append(f"[{index}] has no type")
        elif kind == "starttaskid":
            ids.append(payload.get("taskId"))
        elif not all(texts):
            key = _SEARCHED[kind][texts.index("")]
            unusable.append(f"[{index}].payload.{key} is {_shown(payload, key)}")
        elif kind == "keyvaluestore":
            key_values.append((Parameter(*texts), _milliseconds(payload.get("ttl"))))
        elif kind == "starttasktag":
            tags.append(texts[0])
        else:
            pairs.append((texts[0], texts[1]))
    return ButlerRequest(tuple(ids), tuple(tags), tuple(pairs), all_ids, tuple(key_values), tuple(unusable))


def answer(asked: ButlerRequest, state: Mapping[str, Any] | None) -> dict[str, object]:
    """
    Return Butler's answer.

    Args:
        asked: The array.
        state: The present state of the request as `GET /v4/requests/{id}` returns it;
            None when the array names nothing to start.
    """
    tasks = [
        (entry, name in _STARTED)
        for name, entries in (state or {}).items()
        if name.startswith("tasks") and name != "tasksNotFound"
        for entry in entries
    ]
    missing = {one["taskId"] for one in (state or {}).get("tasksNotFound", ()) if "taskId" in one}
    return {
        "tasksId": _ids(asked, tasks, missing),
        "tasksTag": _matched(tasks, "tag"),
        "tasksTagDenied": _denied(asked.tags, tasks, "tag", lambda tag: {"tag": tag}, any_case),
        "tasksCP": _matched(tasks, "customProperty"),
        "tasksCPDenied": _denied(
            asked.pairs, tasks, "customProperty", lambda pair: {"name": pair[0], "value": pair[1]}, _folded
        ),
    }


_Entries = list[tuple[Mapping[str, Any], bool]]


def _ids(asked: ButlerRequest, tasks: _Entries, missing: set[str]) -> dict[str, object]:
    lists: dict[str, list[dict[str, object]]] = {"started": [], "invalid": [], "denied": []}
    known = {entry["taskId"]: (entry, started) for entry, started in tasks}
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
        _task(entry) for entry, started in tasks if started and any(kind in one for one in entry["selectors"])
    ]


def _denied(
    asked: Iterable[Any],
    tasks: _Entries,
    kind: str,
    entry_of: Callable[[Any], dict[str, object]],
    folded: Callable[[Any], object],
) -> list[dict[str, object]]:
    """Return the tags, or pairs, that select a task which may not be started."""
    refused = set()
    for entry, started in tasks:
        if started or entry["status"] != "denied":
            continue
        for selector in entry["selectors"]:
            if kind in selector:
                value = selector[kind]
                refused.add(folded(value if isinstance(value, str) else (value["name"], value["value"])))
    unique = {folded(one): one for one in asked}
    return [entry_of(one) for key, one in unique.items() if key in refused]


def _folded(pair: Pair) -> tuple[AnyCase, AnyCase]:
    return any_case(pair[0]), any_case(pair[1])


def _task(entry: Mapping[str, Any]) -> dict[str, object]:
    return {"taskId": entry["taskId"], "taskName": entry["taskName"]}


def _is_guid(one: object) -> bool:
    return isinstance(one, str) and _GUID.fullmatch(one) is not None


def _item(index: int, item: Any) -> tuple[str, dict[str, Any]]:
    """Return the type, "" for none, and the payload; raises RequestError for what Butler refuses too."""
    if not isinstance(item, dict):
        raise _wrong(f"[{index}] is not an object with 'type' and 'payload'")
    kind = item.get("type", "")
    if isinstance(kind, list) and len(kind) == 1:
        kind = kind[0]
    if "type" in item and kind not in _TYPES:
        raise _wrong(f"[{index}].type is {json.dumps(item['type'])[:80]}, not one of {', '.join(_TYPES)}")
    payload = item.get("payload", None if kind else {})
    if not isinstance(payload, dict):
        raise _wrong(f"[{index}].payload is not an object")
    return kind, payload


def _text(value: object) -> str:
    """Return a value as the text that is searched for; "" for one that no tag and no property can have."""
    return parameter_values.as_text(value) if isinstance(value, str | int | float) else ""


def _milliseconds(ttl: object) -> int:
    """Return a time to live as Butler's `parseInt` reads it; 0, for ever, where it is no number."""
    found = re.match(r"[+-]?[0-9]{1,15}", _text(ttl).strip())
    return max(0, int(found[0])) if found else 0


def _shown(payload: Mapping[str, Any], key: str) -> str:
    return json.dumps(payload[key])[:80] if key in payload else "missing"


def _wrong(details: str) -> RequestError:
    return RequestError("invalid_request", "Invalid request", details)

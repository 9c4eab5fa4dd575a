"""
From the bytes of a request to a `model.Request`, or to the exact reason why not.

Pure. The schema decides about keys, types and characters; times, rules across
keys and the number of selectors are decided here.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson

from butler_mqtt.contract import parameter_values, schema_errors, shell_quoting, stage_plans, strict_json
from butler_mqtt.contract.selectors import grouped, match_of, matches, selectors_of
from butler_mqtt.domain.model import Parameter, Request, SelectorKind
from butler_mqtt.errors import RequestError

#: Keys that are refused with `not_supported`, never ignored, while `keyValueStore` is off.
PARAMETERS = ("parameters", "parametersTtlSeconds")

#: Problems named in one refusal.
MAX_PROBLEMS = 5

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):([0-5][0-9]))"
)

_ERRORS = {
    "invalid_json": "Invalid JSON",
    "invalid_request": "Invalid request",
    "invalid_task_id": "Invalid task ID format",
    "not_supported": "Not supported",
    "too_large": "Request too large",
    "too_many_tasks": "Too many tasks",
}
_DEFAULTS = {"allMustExist": False, "dryRun": False, "stopRunning": False, "wait": "started"}
_TIMES = ("issuedAt", "expiresAt", "notBefore")
_NOT_IN_FINGERPRINT = frozenset({"requestId", "issuedAt", "expiresAt", "replyTopic", "wait"})
_BESIDE_CANCEL = frozenset({"cancel", "stopRunning", "requestId", "sender", *_TIMES[:2], "replyTopic"})
_KINDS = tuple(SelectorKind)
_REWRITTEN = frozenset({"match", "stages", "parameters", *_KINDS})
_NEEDED = "at least one taskId, taskName, tag or customProperty"
_REPEATS = 10  # entries read per selector allowed, so that a flood of duplicates costs little


def parse(
    payload: bytes,
    *,
    max_bytes: int,
    path_task_id: str | None = None,
    max_selectors: int = 200,
    parameters: bool = False,
) -> Request:
    """
    Read one request.

    Args:
        payload: The body as it arrived: a JSON object or a GUID alone, NULs behind
            it or not; it may be empty when there is a path id.
        max_bytes: The longest payload read.
        path_task_id: The task id of a REST path; it goes before those of the body.
        max_selectors: How many different selectors one request may have.
        parameters: Whether it may have parameters: the key-value store is on.

    Raises:
        RequestError: `invalid_json`, `invalid_request`, `invalid_task_id`,
            `not_supported`, `too_large` or `too_many_tasks`, with the sender's
            `request_id` where the body had a valid one. Nothing else is raised.
    """
    if len(payload) > max_bytes:
        # At least: what is far too large is cut before it comes here.
        raise _refusal("too_large", f"the request has at least {len(payload)} bytes, {max_bytes} are allowed")
    body = _read(payload, empty_is_object=path_task_id is not None)
    try:
        if not parameters:
            _refuse_parameters(body)
        _refuse_flood(body, max_selectors)
        times = _check(body, path_task_id)
        return _request(body, times, path_task_id, max_selectors)
    except RequestError as refused:
        refused.request_id = _request_id(body)
        topic = body.get("replyTopic") if isinstance(body, dict) else None
        refused.reply_topic = topic if isinstance(topic, str) else None
        raise


def reread(document: str) -> Request:
    """Read a request again from its own `Request.document`, whatever the limits are today."""
    return parse(document.encode(), max_bytes=sys.maxsize, max_selectors=sys.maxsize // 10, parameters=True)


def _read(payload: bytes, *, empty_is_object: bool) -> Any:
    try:
        text = strict_json.decode(payload)
        task_id = shell_quoting.bare_guid(text)
        if task_id is not None:
            return {SelectorKind.TASK_ID.value: [task_id]}
        if not text.strip() and empty_is_object:
            return {}
        return shell_quoting.loads(text)
    except strict_json.JsonError as error:
        details = str(error) if payload.strip(b"\0") else "the request is empty"
        raise _refusal("invalid_json", details) from None


def _request_id(body: object) -> str | None:
    found = body.get("requestId") if isinstance(body, dict) else None
    return found if isinstance(found, str) and schema_errors.REQUEST_ID.match(found) else None


def _refuse_parameters(body: object) -> None:
    asked = [key for key in PARAMETERS if isinstance(body, dict) and key in body]
    if asked:
        names = ", ".join(f"'{name}'" for name in asked)
        need = "needs" if len(asked) == 1 else "need"
        raise _refusal(
            "not_supported", f"{names} {need} keyValueStore.enable: true in the daemon's configuration"
        )


def _refuse_flood(body: object, max_selectors: int) -> None:
    if not isinstance(body, dict) or not any(isinstance(value, list) for value in body.values()):
        return
    stages = body.get("stages")
    holders = [body, *(stages if isinstance(stages, list) else ())]
    entries = sum(
        len(holder[kind])
        for holder in holders
        if isinstance(holder, dict)
        for kind in _KINDS
        if isinstance(holder.get(kind), list)
    )
    if max(entries, len(holders)) > max_selectors * _REPEATS:
        raise _too_many(entries, max_selectors)


def _too_many(count: int, allowed: int) -> RequestError:
    return _refusal("too_many_tasks", f"the request has {count} selectors, {allowed} are allowed")


def _refusal(code: str, details: str) -> RequestError:
    return RequestError(code, _ERRORS[code], details)


def _check(body: Any, path_task_id: str | None) -> dict[str, datetime]:
    """Return the times of a body that is well-formed; raises RequestError naming the problems."""
    bad_ids, problems = schema_errors.faults(body)
    if path_task_id is not None and not schema_errors.GUID.match(path_task_id):
        bad_ids.insert(0, f"path id is {schema_errors.shown(path_task_id)}")
    times: dict[str, datetime] = {}
    for key in _TIMES:
        text = body.get(key) if isinstance(body, dict) else None
        if isinstance(text, str):
            try:
                times[key] = _time(text)
            except ValueError as error:
                problems.append(f"{key} is {schema_errors.shown(text)}: {error}")
    if problems:
        problems += [f"{bad}, not a GUID" for bad in bad_ids]
        raise _refusal("invalid_request", "; ".join(problems[:MAX_PROBLEMS]))
    if bad_ids:
        details = "Task ID must be a valid GUID: " + "; ".join(bad_ids[:MAX_PROBLEMS])
        raise _refusal("invalid_task_id", details)
    return times


def _time(text: str) -> datetime:
    """Read an RFC 3339 time; raises ValueError with a reason to show."""
    parts = _TIME.fullmatch(text)
    if not parts:
        raise ValueError("not an RFC 3339 time with offset, such as 2031-01-31T08:00:00+01:00")
    year, month, day, hour, minute, second = (int(part) for part in parts.groups()[:6])
    offset = timedelta(hours=int(parts[9] or 0), minutes=int(parts[10] or 0))
    zone = timezone(-offset if parts[8].startswith("-") else offset)
    micros = int((parts[7] or "0")[:6].ljust(6, "0"))
    leap = second == 60
    try:
        time = datetime(year, month, day, hour, minute, second - leap, micros, zone).astimezone(UTC)
        if not leap:
            return time
        if (time.hour, time.minute) != (23, 59):
            raise ValueError("second 60 exists only at 23:59 UTC")
        return time.replace(microsecond=0) + timedelta(seconds=1)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999") from None


# From a well-formed body to the request.


def _request(
    body: dict[str, Any], times: dict[str, datetime], path_task_id: str | None, max_selectors: int
) -> Request:
    selectors = selectors_of(body, path_task_id)
    stages = stage_plans.read(body.get("stages", ()))
    count = sum([len(stage.selectors) for stage in stages], len(selectors))
    if count > max_selectors:
        raise _too_many(count, max_selectors)
    match = match_of(body)
    parameters = parameter_values.read(body.get("parameters", {}))
    if faults := list(itertools.islice(parameter_values.problems(parameters), MAX_PROBLEMS)):
        raise _refusal("invalid_request", "; ".join(faults))
    normal = {
        key: value for key, value in body.items() if key not in _REWRITTEN and _DEFAULTS.get(key) != value
    }
    normal.update(grouped(selectors))
    for key, time in times.items():
        normal[key] = _written(time)
    if match:
        normal["match"] = match
    if parameters:
        normal["parameters"] = _by_namespace(parameters)
    if stages:
        normal["stages"] = [stage_plans.written(stage) for stage in stages]
    _check_together(normal, [bool(stage.selectors) for stage in stages])
    meaning = {key: value for key, value in normal.items() if key not in _NOT_IN_FINGERPRINT}
    if meaning.get("ifRunning") == "queue":
        # The contract's own default, said outright.
        del meaning["ifRunning"]
    return Request(
        document=_written_out(normal).decode(),
        fingerprint=hashlib.sha256(_written_out(meaning)).hexdigest(),
        request_id=body.get("requestId"),
        sender=body.get("sender"),
        selectors=selectors or stage_plans.selectors(stages),
        match_tag=matches(match, "tag"),
        match_custom_property=matches(match, "customProperty"),
        match_criteria=matches(match, "criteria"),
        all_must_exist=body.get("allMustExist", False),
        if_running=body.get("ifRunning"),
        dry_run=body.get("dryRun", False),
        wait=body.get("wait", "started"),
        issued_at=times.get("issuedAt"),
        expires_at=times.get("expiresAt"),
        not_before=times.get("notBefore"),
        reply_topic=body.get("replyTopic"),
        stages=stages,
        cancel=body.get("cancel"),
        stop_running=body.get("stopRunning", False),
        parameters=parameters,
        parameters_ttl_ms=math.ceil(body.get("parametersTtlSeconds", 0) * 1000),
    )


def _by_namespace(parameters: Iterable[Parameter]) -> dict[str, dict[str, str]]:
    """Write parameters as the key of a request, every value as the text that is stored."""
    values: dict[str, dict[str, str]] = {}
    for one in parameters:
        values.setdefault(one.namespace, {})[one.key] = one.value
    return values


def _check_together(normal: dict[str, object], stages_filled: list[bool]) -> None:
    """Apply the rules across keys."""
    named = [kind for kind in _KINDS if kind in normal]
    if "cancel" in normal:
        if beside := sorted(set(normal) - _BESIDE_CANCEL):
            raise _refusal("invalid_request", f"'cancel' stands alone, not with {', '.join(beside)}")
    elif "parametersTtlSeconds" in normal and "parameters" not in normal:
        raise _refusal("invalid_request", "'parametersTtlSeconds' is only for 'parameters'")
    elif "stopRunning" in normal:
        raise _refusal("invalid_request", "'stopRunning' is only for 'cancel'")
    elif stages_filled:
        beside = [*named, *(["match"] if "match" in normal else ())]
        if beside:
            raise _refusal("invalid_request", f"'stages' excludes {', '.join(beside)} beside it")
        if not all(stages_filled):
            place = f"stages[{stages_filled.index(False)}]"
            raise _refusal("invalid_request", f"{place} names no task: it needs {_NEEDED}")
    elif not named:
        raise _refusal("invalid_request", f"the request names no task: it needs {_NEEDED}")


def _written_out(value: dict[str, object]) -> bytes:
    """Write equal objects as the same bytes."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _written(time: datetime) -> str:
    return time.isoformat().removesuffix("+00:00") + "Z"

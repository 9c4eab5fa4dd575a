"""The QRS endpoints, without transport and without faults."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime

from butler_mqtt.simulator import entity_lists
from butler_mqtt.simulator.call import Answer, Call, Refusal, guid
from butler_mqtt.simulator.definitions import derived_id
from butler_mqtt.simulator.filter_language import FilterError
from butler_mqtt.simulator.filter_matching import bind
from butler_mqtt.simulator.notifications import Subscription, new_handle
from butler_mqtt.simulator.server_clock import stamp
from butler_mqtt.simulator.site import Site
from butler_mqtt.simulator.tasks import MODIFIED_BY, SimulatedTask

XSRF = "XSRF prevention check failed. Possible XSRF discovered."
INACTIVE = "Your account is inactive. Contact your administrator to activate it."
NO_ENDPOINT = "No matching endpoint found"
_KEY = re.compile(r"[0-9a-zA-Z]{16}")
_USER = re.compile(r"\s*UserDirectory=([^;]+);\s*UserId=(\S.*?)\s*", re.IGNORECASE)
_USER_SYNC = 2
_CHANGE_TYPES = {"undefined": 0, "add": 1, "update": 2, "delete": 3}
Handler = Callable[[Site, Call], Answer]


def answer(site: Site, call: Call) -> Answer:
    """Answer one call, with all its effects on *site*."""
    try:
        _check(site, call)
        handler = _handler(call)
        if handler is not None:
            return handler(site, call)
        found = entity_lists.answer(site, call)
    except Refusal as refusal:
        return Answer.refusal(refusal, escaped=site.switches.error_text == "escaped")
    return found or Answer.text(404, NO_ENDPOINT)


def _check(site: Site, call: Call) -> None:
    key = call.parameters.get("xrfkey", "")
    sent = call.headers.get(b"x-qlik-xrfkey", b"").decode("latin-1")
    if _KEY.fullmatch(key) is None or not hmac.compare_digest(key, sent):
        raise Refusal(403, XSRF)
    match = _USER.fullmatch(call.headers.get(b"x-qlik-user", b"").decode("latin-1"))
    if match is not None:
        call.user = f"{match[1]}\\{match[2]}"
        call.record.user = call.user
    elif site.switches.user_header == "required":
        raise Refusal(403, "Forbidden")
    if site.switches.user_account == "inactive":
        raise Refusal(403, INACTIVE)
    if not call.complete:
        raise Refusal(400, "Missing parameter value(s)")


def _handler(call: Call) -> Handler | None:
    for pattern, handler in _ROUTES.get((call.method, len(call.segments)), ()):
        if all(want in ("*", got) for want, got in zip(pattern, call.segments, strict=True)):
            return handler
    return None


# -- starting and stopping


def _task(site: Site, text: str) -> SimulatedTask:
    task = site.tasks.get(guid(text))
    if task is None:
        raise Refusal(int(site.switches.unknown_task), f"No task with id {text}")
    return task


def _task_by_name(site: Site, call: Call) -> SimulatedTask:
    name = call.parameter("name").casefold()
    for task in site.tasks:
        if task.document["name"].casefold() == name:
            return task
    raise Refusal(int(site.switches.unknown_task), f"No task with name {call.parameters['name']}")


def _tasks(site: Site, call: Call) -> list[SimulatedTask]:
    ids = call.document()
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise Refusal(400, "The request body is not a list of ids")
    return [_task(site, one) for one in ids]


def _named(site: Site, call: Call, *tasks: SimulatedTask) -> None:
    """Record the tasks that a call is about, and refuse a user who may not start or stop them."""
    call.record.task_ids = tuple(task.id for task in tasks)
    if site.switches.rights != "full":
        raise Refusal(403, "Forbidden")


def _start(site: Site, call: Call, *tasks: SimulatedTask) -> Answer:
    _named(site, call, *tasks)
    for task in tasks:
        site.start(task, call.user, call.record, synchronous=False)
    return Answer.nothing()


def _start_synchronous(site: Site, call: Call, task: SimulatedTask) -> Answer:
    _named(site, call, task)
    if task.kind == _USER_SYNC and site.switches.user_sync_synchronous == "400":
        raise Refusal(400, "A user synchronization cannot be started synchronously")
    execution_id = site.start(task, call.user, call.record, synchronous=True)
    if site.switches.synchronous_body == "string":
        return Answer(201, b'"%s"' % execution_id.encode())
    return Answer(201, b'{"value":"%s"}' % execution_id.encode())


def _stop(site: Site, call: Call, *tasks: SimulatedTask) -> Answer:
    _named(site, call, *tasks)
    for task in tasks:
        site.stop(task)
    return Answer.nothing()


# -- script logs


def _script_log(site: Site, call: Call) -> Answer:
    if site.switches.script_log == "new":
        raise Refusal(404, NO_ENDPOINT)
    result = site.executions.script_logs.get(guid(call.parameter("filereferenceid")))
    if result is None or result.task.id != guid(call.segments[1]):
        raise Refusal(404, "No such script log")
    return Answer.json({"value": result.file_reference})


def _script_log_file(site: Site, call: Call) -> Answer:
    if site.switches.script_log == "old":
        raise Refusal(404, NO_ENDPOINT)
    result = site.executions.results.get(guid(call.parameter("executionresultid")))
    if result is None or result.task.id != guid(call.segments[1]) or not result.has_script_log:
        raise Refusal(404, "No such script log")
    return Answer.json({"value": result.file_reference})


def _download(site: Site, call: Call) -> Answer:
    result = site.executions.script_logs.get(call.segments[2])
    if (
        result is None
        or not result.has_script_log
        or result.script_log_from is None
        or site.clock.monotonic() < result.script_log_from
    ):
        raise Refusal(404, "File not found")
    return Answer(200, result.script_log(), b"text/plain; charset=utf-8")


# -- the server about itself


def _about(_site: Site, _call: Call) -> Answer:
    return Answer.json(
        {
            "buildVersion": "31.60.4.0",
            "buildDate": "9/20/2013 10:09:00 AM",
            "databaseProvider": "Devart.Data.PostgreSql",
            "nodeType": 1,
            "sharedPersistence": True,
            "requiresBootstrap": False,
            "singleNodeOnly": False,
            "schemaPath": "About",
        }
    )


def _ping(_site: Site, _call: Call) -> Answer:
    return Answer.text(200, "Ping successful")


def _scheduler_services(site: Site, _call: Call) -> Answer:
    limit = site.switches.max_concurrent_engines
    timeout = site.switches.engine_timeout_minutes
    created = "2024-01-01T10:00:00.000Z"
    services: list[dict[str, object]] = [
        {
            "id": derived_id("scheduler", node.id),
            "createdDate": created,
            "modifiedDate": created,
            "modifiedByUserName": MODIFIED_BY,
            "customProperties": [],
            "tags": [],
            "settings": {
                "id": derived_id("schedulerSettings", node.id),
                "schedulerServiceType": 2 if number == 0 else 1,
                "maxConcurrentEngines": node.definition.max_concurrent_engines if limit is None else limit,
                "engineTimeout": timeout if timeout % 1 else int(timeout),
                "logVerbosity": {},
                "schemaPath": "SchedulerService.Settings",
            },
            "serverNodeConfiguration": {
                "id": node.id,
                "name": node.definition.name,
                "hostName": node.definition.host_name,
                "temporaryfilepath": "",
                "binaryfileRootpath": "",
                "privileges": None,
            },
            "privileges": None,
            "schemaPath": "SchedulerService",
        }
        for number, node in enumerate(site.executions.nodes)
    ]
    return Answer.json(services)


# -- notifications


def _subscribe(site: Site, call: Call) -> Answer:
    name = call.parameter("name")
    url = call.document()
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise Refusal(400, "The request body is not a URL")
    view = entity_lists.VIEWS.get(name.lower())
    if view is None:
        raise Refusal(400, f"Unknown type '{name}'")
    condition = None
    if (text := call.parameters.get("filter")) is not None:
        try:
            condition = bind(text, view.schema, site.dialect())
        except FilterError as error:
            raise Refusal(400, str(error)) from None
        if condition.collections():
            # Qlik's reference: own properties, single references and single children only.
            raise Refusal(400, f"Cannot parse the expression: {text}")
    change_type = call.parameters.get("changetype", "0").lower()
    number = _CHANGE_TYPES.get(change_type, int(change_type) if change_type in "0123" else -1)
    if number < 0:
        raise Refusal(400, f"Unknown change type '{change_type}'")
    entity_id = call.parameters.get("id")
    subscription = Subscription(
        handle=new_handle(),
        url=url,
        type_name=name,
        entity_id=None if entity_id is None else guid(entity_id),
        change_type=number,
        condition=condition,
        property_name=call.parameters.get("propertyname"),
    )
    site.changes.subscribe(subscription)
    return Answer.json({"value": subscription.handle}, 201)


def _unsubscribe(site: Site, call: Call) -> Answer:
    if not site.changes.unsubscribe(guid(call.parameter("handle"))):
        raise Refusal(404, "No such subscription")
    return Answer.nothing()


def _changes(site: Site, call: Call) -> Answer:
    try:
        since = datetime.fromisoformat(call.parameter("since"))
    except ValueError:
        raise Refusal(400, "The parameter 'since' is not a date") from None
    if since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    types = frozenset(one.strip().casefold() for one in call.parameters.get("types", "").split(",") if one)
    return Answer.json(site.changes.since(stamp(since), types))


_ROUTES: dict[tuple[str, int], list[tuple[tuple[str, ...], Handler]]] = {}


def _route(method: str, path: str, handler: Handler) -> None:
    pattern = tuple(path.split("/"))
    _ROUTES.setdefault((method, len(pattern)), []).append((pattern, handler))


_route("POST", "task/start/synchronous", lambda s, c: _start_synchronous(s, c, _task_by_name(s, c)))
_route("POST", "task/start/many", lambda s, c: _start(s, c, *_tasks(s, c)))
_route("POST", "task/stop/many", lambda s, c: _stop(s, c, *_tasks(s, c)))
_route("POST", "task/start", lambda s, c: _start(s, c, _task_by_name(s, c)))
_route("POST", "task/*/start", lambda s, c: _start(s, c, _task(s, c.segments[1])))
_route("POST", "task/*/stop", lambda s, c: _stop(s, c, _task(s, c.segments[1])))
_route("POST", "task/*/start/synchronous", lambda s, c: _start_synchronous(s, c, _task(s, c.segments[1])))
_route("GET", "reloadtask/*/scriptlog", _script_log)
_route("GET", "reloadtask/*/scriptlogfile", _script_log_file)
_route("GET", "download/reloadtask/*/*", _download)
_route("GET", "about", _about)
_route("GET", "ssl/ping", _ping)
_route("GET", "schedulerservice", _scheduler_services)
_route("GET", "schedulerservice/full", _scheduler_services)
_route("POST", "notification", _subscribe)
_route("DELETE", "notification", _unsubscribe)
_route("GET", "notification/changes", _changes)

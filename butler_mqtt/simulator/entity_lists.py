"""Reading entities: lists with filter and order, counts, one by id."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from butler_mqtt.simulator import entity_fields
from butler_mqtt.simulator.call import Answer, Call, Refusal, guid
from butler_mqtt.simulator.collection import Collection, Entity, dump, sorter
from butler_mqtt.simulator.entity_fields import Schema
from butler_mqtt.simulator.filter_language import FilterError
from butler_mqtt.simulator.filter_matching import bind
from butler_mqtt.simulator.site import Site
from butler_mqtt.simulator.tasks import SimulatedTask

_PRIVILEGES = ["create", "read", "update", "delete"]


@dataclass(frozen=True)
class View:
    """One entity path: where its entities are and which of them it shows."""

    collection: Callable[[Site], Collection[Any]]
    schema: Schema
    kinds: frozenset[int] | None = None
    #: `/qrs/task` has forms of its own.
    mixed: bool = False

    def shows(self, entity: Entity) -> bool:
        """Return whether *entity* belongs here."""
        return self.kinds is None or (isinstance(entity, SimulatedTask) and entity.kind in self.kinds)


VIEWS: dict[str, View] = {
    "task": View(lambda site: site.tasks, entity_fields.TASK, mixed=True),
    "reloadtask": View(lambda site: site.tasks, entity_fields.RELOAD_TASK, frozenset({0, 3, 4})),
    "externalprogramtask": View(lambda site: site.tasks, entity_fields.EXTERNAL_PROGRAM_TASK, frozenset({1})),
    "usersynctask": View(lambda site: site.tasks, entity_fields.USER_SYNC_TASK, frozenset({2})),
    "tag": View(lambda site: site.tags, entity_fields.TAG),
    "custompropertydefinition": View(lambda site: site.properties, entity_fields.DEFINITION),
    "executionsession": View(lambda site: site.executions.sessions, entity_fields.SESSION),
    "executionresult": View(lambda site: site.executions.results, entity_fields.RESULT),
}


def answer(site: Site, call: Call) -> Answer | None:
    """
    Answer `GET /qrs/<entity>[/full|/count|/{id}]`, None when the path is another.

    Raises:
        Refusal: As in the status table.
    """
    view = VIEWS.get(call.segments[0])
    if view is None or call.method != "GET" or len(call.segments) > 2:
        return None
    last = call.segments[1] if len(call.segments) == 2 else ""
    if view.mixed and last not in ("", "full") and site.switches.abstract_task == "absent":
        return None
    if last == "count":
        return Answer(200, b'{"value":%d}' % len(_found(site, view, call)))
    if last not in ("", "full"):
        return _one(site, view, call, guid(last))
    entities = _found(site, view, call)
    limit = site.switches.list_limit
    if limit is not None:
        entities = entities[:limit]
    parts = [_form(site, view, entity, full=last == "full") for entity in entities]
    return _with_privileges(site, call, b"[" + b",".join(parts) + b"]")


def _one(site: Site, view: View, call: Call, entity_id: str) -> Answer:
    if site.switches.rights == "none":
        raise Refusal(403, "Forbidden")
    entity = view.collection(site).get(entity_id)
    if entity is None or not view.shows(entity):
        raise Refusal(404, f"No item with id {entity_id}")
    return _with_privileges(site, call, _form(site, view, entity, full=True))


def _found(site: Site, view: View, call: Call) -> list[Entity]:
    condition = None
    if (text := call.parameters.get("filter")) is not None:
        try:
            condition = bind(text, view.schema, site.dialect())
        except FilterError as error:
            raise Refusal(400, str(error)) from None
    order = None
    if (orderby := call.parameters.get("orderby")) is not None:
        try:
            order = sorter(orderby, view.schema)
        except LookupError:
            raise Refusal(400, f"Cannot parse the expression: {orderby}") from None
    if site.switches.rights == "none":
        return []
    entities = [entity for entity in view.collection(site).find(condition) if view.shows(entity)]
    return order(entities) if order is not None else entities


def _form(site: Site, view: View, entity: Entity, *, full: bool) -> bytes:
    if view.mixed and isinstance(entity, SimulatedTask):
        concrete = site.switches.task_model == "concrete"
        if not full:
            return entity.task_condensed(concrete=concrete)
        return entity.full() if concrete else entity.base()
    return entity.full() if full else entity.condensed()


def _with_privileges(site: Site, call: Call, body: bytes) -> Answer:
    if call.parameters.get("privileges") != "true":
        return Answer(200, body)
    privileges = _PRIVILEGES if site.switches.rights == "full" else ["read"]
    documents = json.loads(body)
    for document in documents if isinstance(documents, list) else [documents]:
        document["privileges"] = privileges
    return Answer(200, dump(documents))

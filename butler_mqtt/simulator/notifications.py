"""Changes of entities: remembered for `notification/changes`, pushed to subscribers."""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from butler_mqtt.simulator.collection import Entity, dump
from butler_mqtt.simulator.filter_matching import Bound
from butler_mqtt.simulator.server_clock import Clock
from butler_mqtt.simulator.switches import Switches
from butler_mqtt.simulator.tasks import EMPTY_GUID

logger = logging.getLogger("butler_mqtt.simulator.changes")

CHANGES_KEPT = 10_000
_CALLBACKS_WAITING = 10_000
_CALLBACK_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Change:
    """One change: 1 added, 2 updated, 3 deleted."""

    change_type: int
    type_name: str
    entity: Entity
    date: str

    def as_json(self) -> dict[str, Any]:
        """Return it as `notification/changes` shows it; a deleted object is empty."""
        return {
            "changetype": self.change_type,
            "id": self.entity.id,
            "type": self.type_name,
            "changedate": self.date,
            "object": {} if self.change_type == 3 else self.entity.document,
        }


@dataclass(frozen=True)
class Subscription:
    """A subscriber and what it subscribed to; None and 0 mean any."""

    handle: str
    url: str
    type_name: str
    entity_id: str | None = None
    change_type: int = 0
    condition: Bound | None = None
    property_name: str | None = None

    def wants(self, change_type: int, type_name: str, entity: Entity, properties: Sequence[str]) -> bool:
        """Return whether this change is one to report."""
        if self.type_name.casefold() != type_name.casefold() or self.change_type not in (0, change_type):
            return False
        if self.entity_id not in (None, entity.id):
            return False
        if self.property_name and change_type == 2:
            excluded = self.property_name.startswith("!")
            named = self.property_name.lstrip("!").casefold() in {one.casefold() for one in properties}
            if named is excluded:
                return False
        # Qlik's reference: the filter is ignored for deletions.
        return change_type == 3 or self.condition is None or self.condition.holds(entity.document, {})


class Changes:
    """All changes of a site and the subscriptions to them."""

    def __init__(self, clock: Clock, switches: Callable[[], Switches]) -> None:
        self._clock = clock
        self._switches = switches
        self._changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self._subscriptions: dict[str, Subscription] = {}
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue(_CALLBACKS_WAITING)
        self._worker: threading.Thread | None = None

    def record(self, change_type: int, type_name: str, entity: Entity, properties: Sequence[str]) -> None:
        """Record a change and call the subscribers."""
        date = self._clock.stamp()
        self._changes.append(Change(change_type, type_name, entity, date))
        for subscription in self._subscriptions.values():
            if subscription.wants(change_type, type_name, entity, properties):
                self._call_back(subscription.url, self._changes[-1], properties)

    def since(self, date: str, types: frozenset[str]) -> list[dict[str, Any]]:
        """Return the changes later than *date* of the case-folded *types* (none: all)."""
        return [
            change.as_json()
            for change in self._changes
            if change.date > date and (not types or change.type_name.casefold() in types)
        ]

    def subscribe(self, subscription: Subscription) -> None:
        """Add a subscription."""
        if self._worker is None:
            self._worker = threading.Thread(target=self._deliver, name="callbacks", daemon=True)
            self._worker.start()
        self._subscriptions[subscription.handle] = subscription

    def unsubscribe(self, handle: str) -> bool:
        """End a subscription; False when there is none of that handle."""
        return self._subscriptions.pop(handle, None) is not None

    def lose_subscriptions(self) -> int:
        """Forget all subscriptions without a sign, as a restart does; gives how many there were."""
        count = len(self._subscriptions)
        self._subscriptions.clear()
        return count

    def clear(self) -> None:
        """Forget everything."""
        self._changes.clear()
        self._subscriptions.clear()

    def _call_back(self, url: str, change: Change, properties: Sequence[str]) -> None:
        body = dump(
            [
                {
                    "changeType": change.change_type,
                    "objectType": change.type_name,
                    "objectID": change.entity.id,
                    "changedProperties": list(properties),
                    "engineID": EMPTY_GUID,
                    "engineType": "Repository",
                    "originatorNodeID": EMPTY_GUID,
                    "originatorHostName": "sense1",
                    "originatorContextID": "",
                    "createdDate": change.date,
                    "modifiedDate": change.date,
                    "schemaPath": "ChangeInfo",
                }
            ]
        )
        for _ in range(2 if self._switches().duplicate_callbacks else 1):
            try:
                self._waiting.put_nowait((url, body))
            except queue.Full:
                logger.warning("Callback to %s dropped: %s wait already", url, _CALLBACKS_WAITING)

    def _deliver(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while (item := self._waiting.get()) is not None:
                url, body = item
                try:
                    session.post(
                        url,
                        data=body,
                        headers={"Content-Type": "application/json"},
                        timeout=_CALLBACK_TIMEOUT_SECONDS,
                    )
                except requests.RequestException as error:
                    # The QRS does not repeat a failed callback either.
                    logger.info("Callback to %s failed and is not repeated: %s", url, error)


def new_handle() -> str:
    """Make the handle of a subscription."""
    return str(uuid.uuid4())

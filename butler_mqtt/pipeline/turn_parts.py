"""What the turns are put together from: parts that the configuration decides about, and guarded calls."""

from __future__ import annotations

import logging
from collections.abc import Callable

from butler_mqtt.domain.completions import (
    Completion,
    PublicationConfirmed,
    PublicationRefused,
    PublicationsLost,
    PublisherReady,
)
from butler_mqtt.journal.refusal_bounds import Refusals
from butler_mqtt.ledger.ledger import Ledger
from butler_mqtt.ledger.unit_of_work import UnitOfWork
from butler_mqtt.outbox.hangup_suspects import Suspects
from butler_mqtt.outbox.outbox import Outbox
from butler_mqtt.outbox.present_topics import PresentTopics
from butler_mqtt.pipeline.loop_timings import LoopTimings
from butler_mqtt.settings import Settings

#: Sends the PUBACK of a packet, by its id and the generation of its connection.
Acknowledge = Callable[[int, int], None]

_log = logging.getLogger("butler_mqtt.pipeline")


def new_ledger(settings: Settings, rows: UnitOfWork, refusals: Refusals) -> Ledger:
    """Return the ledger that *settings* ask for."""
    return Ledger(
        rows,
        refusals=refusals,
        event_topic=settings.mqtt.task_event_topic if settings.mqtt.enable else None,
        if_running=settings.start_task.if_running,
        caller_seconds=settings.rest.rest_wait_seconds,
        max_keys=settings.key_value_store.max_keys_per_namespace,
    )


def new_outbox(ledger: Ledger, topics: PresentTopics, timings: LoopTimings) -> Outbox:
    """Return the outbox that publishes by *topics*, with the pauses of *timings*."""
    return Outbox(
        ledger.deliveries,
        topics.publish,
        Suspects(timings.quiet_seconds),
        placed=topics.placed,
        pause_seconds=timings.publish_pause_seconds,
    )


def published(outbox: Outbox, event: Completion) -> None:
    """Apply what the publisher reports to the outbox."""
    match event:
        case PublicationConfirmed(identity):
            outbox.confirmed(identity)
        case PublicationRefused():
            outbox.refused(event)
        case PublicationsLost(identities, hung_up):
            outbox.lost(identities, hung_up)
        case PublisherReady():
            outbox.connected()  # the turn itself publishes as much as there is room for


def unacknowledged(_packet_id: int, _generation: int) -> None:
    """Acknowledge nothing: there is no broker."""


def guarded(call: Callable[..., None], *arguments: object) -> None:
    """Make a call after the commit; one that fails must not stop the others."""
    try:
        call(*arguments)
    except Exception:  # noqa: BLE001 -- what is on disk stays valid whatever a caller does with it
        _log.exception("a call after the commit failed", extra={"action": "bug"})

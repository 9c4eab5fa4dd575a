"""
Events that a fault of ours keeps from being applied.

Somebody waits for most events: nothing is polled, asked or sent again before
they come. That wait ends here, and the journal is read again after it.
"""

from __future__ import annotations

from butler_mqtt.alerting.pipeline_alerts import Alerts
from butler_mqtt.domain.completions import (
    AlertNotSent,
    AlertSent,
    Completion,
    ExecutionsPolled,
    Posted,
    PublicationConfirmed,
    PublicationRefused,
    PublicationsLost,
    PublisherReady,
    Resolved,
    RuleSessionBegan,
    SessionBegan,
)
from butler_mqtt.intake.arrivals import Intake
from butler_mqtt.outbox.outbox import Outbox
from butler_mqtt.pipeline.arrival_queue import ArrivalQueue
from butler_mqtt.pipeline.rule_messages import RuleMessages
from butler_mqtt.resolving.resolver import Resolver
from butler_mqtt.starting.dispatcher import Dispatcher


class DroppedEvents:
    """
    Ends the wait for events that are dropped.

    Args:
        resolver: Waits for the answer to its question.
        dispatcher: Waits for POSTs and polls.
        outbox: Waits for confirmations.
        intake: Knows the session of each connection.
        held: Arrivals of earlier connections among them.
        rules: Know the session of the connection of rules.
        alerts: Waits for what becomes of those that are being sent.
    """

    def __init__(
        self,
        resolver: Resolver,
        dispatcher: Dispatcher,
        outbox: Outbox,
        intake: Intake,
        held: ArrivalQueue,
        rules: RuleMessages,
        alerts: Alerts,
    ) -> None:
        self._resolver = resolver
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._intake = intake
        self._held = held
        self._rules = rules
        self._alerts = alerts

    def dropped(self, event: Completion) -> None:
        """Have what *event* would have told asked again."""
        match event:
            case Posted():
                # Nobody posts it any more, so that it is reconciled.
                self._dispatcher.post_workers.recorded(event.run)
            case Resolved():
                self._resolver.dropped(event)
            case ExecutionsPolled():
                self._dispatcher.tracker.polling = False
            case AlertSent() | AlertNotSent():
                self._alerts.dropped(event)
            case RuleSessionBegan():
                self._rules.apply(event)
            case SessionBegan():
                # In memory at least: without, nothing that comes again is recognised.
                self._intake.packets.session_began(event.generation, event.present)
                self._held.begin()
                self._held.session_began(event)
                self._held.commit()
            case _:
                self._dropped_of_outbox(event)

    def _dropped_of_outbox(self, event: Completion) -> None:
        match event:
            case PublicationConfirmed(identity):
                self._outbox.dropped([identity])
            case PublicationRefused():
                self._outbox.dropped([event.id])
            case PublicationsLost(identities):
                self._outbox.dropped(identities, connection_ended=True)
            case PublisherReady():
                self._outbox.connected()

"""Events about the executions and waits of a task, and about stages, written with the state they report."""

from __future__ import annotations

from collections.abc import Sequence

from butler_mqtt.contract import stage_summary, task_events
from butler_mqtt.domain.model import Task
from butler_mqtt.domain.open_stages import OpenStage
from butler_mqtt.domain.open_work import OpenStart
from butler_mqtt.ledger.deliveries import Deliveries


class Events:
    """
    Writes events into the outbox.

    Args:
        deliveries: Writes the messages.
        topic: Above the topics of events; None publishes none.
    """

    def __init__(self, deliveries: Deliveries, topic: str | None) -> None:
        self._deliveries = deliveries
        self._topic = topic

    def publish(
        self,
        kind: str,
        task: Task,
        starts: Sequence[OpenStart],
        execution_id: str | None = None,
        **more: object,
    ) -> None:
        """
        Write the event *kind* (docs/executions.md) about *starts* of one task; without starts none.

        Args:
            kind: Key `event` of the message.
            task: The task that all *starts* are of.
            starts: Their request ids are in the event.
            execution_id: The execution it is about; None where there is none.
            more: Further keys of the message.
        """
        if self._topic is None or not starts:
            return
        event = task_events.event(
            kind,
            task,
            list(dict.fromkeys(start.request_id for start in starts)),
            execution_id=execution_id,
            rule=next((start.rule for start in starts if start.rule is not None), None),
            **more,
        )
        first = starts[0]
        self._deliveries.announce(first.request_row, first.request_id, f"{self._topic}/{task.id}", event)

    def publish_stage(self, kind: str, stage: OpenStage) -> None:
        """Write the event *kind* (docs/executions.md) about a stage."""
        if self._topic is None:
            return
        event = stage_summary.event(kind, stage)
        staged = stage.of
        topic = f"{self._topic}/request/{staged.request_id}"
        self._deliveries.announce(staged.id, staged.request_id, topic, event)

"""One step of a request's timeline."""

from __future__ import annotations

from dataclasses import dataclass

from butler_mqtt.contract.timestamps import stamp_ms


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing that happened.

    `time` is in milliseconds since 1970, `step` one of the documented words,
    `task_id` the task it is about, if it is about one.
    """

    time: int
    step: str
    text: str
    task_id: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the step for programs."""
        of_task = {"taskId": self.task_id} if self.task_id else {}
        return {"time": stamp_ms(self.time), "step": self.step, "text": self.text, **of_task}

"""The order of the messages of a request: those behind one that the broker refused wait for it."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from butler_mqtt.domain.model import Publication


@dataclass(slots=True)
class _OfRequest:
    """The message of a request that was refused, and its later ones, which wait for it."""

    first: Publication
    waiting: list[Publication] = field(default_factory=list)


class MessageOrder:
    """Knows, of each request with a refused message, which one the others wait for."""

    def __init__(self) -> None:
        self._requests: dict[str, _OfRequest] = {}

    def __len__(self) -> int:
        return sum(len(one.waiting) for one in self._requests.values())

    def clear(self) -> None:
        """Forget all."""
        self._requests.clear()

    def wait(self, publication: Publication) -> bool:
        """Let a message wait; False when no earlier one of its request is still to be published."""
        held = self._requests.get(publication.request_id)
        if held is None or publication.id <= held.first.id:
            return False
        insort(held.waiting, publication, key=place)
        return True

    def hold_up(self, publication: Publication) -> bool:
        """Let later messages of its request wait for this one; False when it waits itself."""
        if self.wait(publication):
            return False
        self._requests.setdefault(publication.request_id, _OfRequest(publication)).first = publication
        return True

    def release(self, publication: Publication) -> list[Publication]:
        """Return, in order, what waited for this message, which is published or a dead letter."""
        held = self._requests.get(publication.request_id)
        if held is None or held.first.id != publication.id:
            return []
        del self._requests[publication.request_id]
        return held.waiting


def place(publication: Publication) -> int:
    """Return the place of a message in the order in which all were written."""
    return publication.id

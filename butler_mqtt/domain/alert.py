"""An alert: one thing that an operator is called about, as a frozen value."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

#: Requests that an alert names; of more it says how many.
MAX_REQUESTS = 5


@dataclass(frozen=True, slots=True)
class Alert:
    """
    What an alert tells; None, empty or 0 where it is not known or does not apply.

    Attributes:
        kind: One of `settings.ALERT_KINDS`.
        subject: What it is about: the id of a task, or of what it is instead
            (`broker`, `qrs`, a certificate's key, …). With the kind it decides
            what is grouped.
        title: In a few words, without the name of the program.
        at: When it happened last, milliseconds since 1970.
        task: Name of the task, with its id as `subject`.
        app: Name or id of the task's app.
        node: Where it ran.
        seconds: How long it ran, or was out of reach.
        reason: Why, as far as is known.
        requests: The ids of the requests that began it with their senders.
        more_requests: How many there are besides.
        in_a_row: How often it failed since it succeeded last.
        since: When the first of these was, or the outage began.
        script_log: The last lines of the script log.
        count: How often it happened since the last alert of this kind and subject.
    """

    kind: str
    subject: str
    title: str
    at: int
    task: str = ""
    app: str = ""
    node: str = ""
    seconds: float | None = None
    reason: str = ""
    requests: tuple[tuple[str, str], ...] = ()
    more_requests: int = 0
    in_a_row: int = 0
    since: int | None = None
    script_log: tuple[str, ...] = ()
    count: int = 1

    def joined(self, later: Alert) -> Alert:
        """Return the alert for both, when *later* came before this one was sent."""
        return replace(later, count=self.count + later.count)

    def encode(self) -> str:
        """Write it as JSON text, without what has no value."""
        given = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({name: value for name, value in given.items() if value not in ("", (), None)})


def decode(text: str) -> Alert:
    """Read what `Alert.encode` wrote; keys of a newer version are left out."""
    given = {name: value for name, value in json.loads(text).items() if name in Alert.__slots__}
    given["requests"] = tuple((str(one), str(by)) for one, by in given.get("requests", ()))
    given["script_log"] = tuple(given.get("script_log", ()))
    return Alert(**given)

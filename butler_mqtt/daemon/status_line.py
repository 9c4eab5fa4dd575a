"""The one line in which the daemon says what it does, for `systemctl status`."""

from __future__ import annotations

import time
from collections.abc import Sequence


def compose(
    stuck: Sequence[str],
    obstacle: str | None,
    broker: str | None,
    open_requests: int,
    qlik: str,
    unreachable_since: float | None,
    held: int = 0,
) -> str:
    """
    Compose the line, what is waited for first.

    Args:
        stuck: Threads that do not get on.
        obstacle: Why requests are not taken.
        broker: What keeps requests from arriving.
        open_requests: Requests that are not finished.
        qlik: Host and port of the Qlik server.
        unreachable_since: When it stopped answering, monotonic seconds; None while it answers.
        held: Requests held since a backup was restored.
    """
    parts = [f"hung: {', '.join(stuck)}"] if stuck else []
    parts += [part for part in (obstacle, broker) if part is not None]
    parts = [*(parts or ["ready"]), f"{open_requests} open requests"]
    if held:
        parts.append(f"{held} held until butler-mqtt requests resume")
    if unreachable_since is not None:
        moment = time.localtime(time.time() - time.monotonic() + unreachable_since)
        parts.append(f"Qlik server {qlik} unreachable since {time.strftime('%Y-%m-%d %H:%M:%S', moment)}")
    return ", ".join(parts)

"""Pauses, ages and intervals of the work with the Qlik server, as values that are passed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QlikTimings:
    """Seconds, and two numbers, that no operator configures; tests pass shorter ones."""

    #: Longest pause between two tries while the server is unreachable.
    longest_pause: float = 10.0
    #: Age up to which an answer that names tasks is used again (design G7); one that names none never is.
    cache_age: float = 5.0
    #: Age from which an answer in use is asked for again in the background, so that no request waits for it.
    renewal_age: float = 4.0
    #: Between the two polls that must show nothing before a start is repeated (design 5.2).
    between_polls: float = 5.0
    #: Age of an intent from which on it is not posted again.
    longest_intent: float = 600.0
    #: After which a task is tried again whose running execution has no id that could be tracked.
    blind_retry: float = 10.0
    #: Between two reads of the site's capacity (`maxConcurrentReloads: auto`).
    capacity_interval: float = 300.0
    #: Between two polls of one execution: the least, and the most.
    least_poll: float = 1.0
    most_poll: float = 30.0
    #: The most while a start waits behind it.
    most_blocking_poll: float = 10.0
    #: Between two polls while many starts are ready, which have the interpreter first.
    busy_poll: float = 3.0
    #: After the end of a session, for which its result may still be missing (it lags, or was purged).
    result_lag: float = 60.0
    #: Between two tries to read a script log.
    script_log_pause: float = 2.0
    #: Starts that are decided and not carried out yet, from which on requests wait to be decided.
    most_planned: int = 1000
    #: Tasks read once more before their POST, or read and not posted: as many as go with one question, and no
    #: more, since what is read and has to wait is soon too old to be judged by.
    most_read: int = 400

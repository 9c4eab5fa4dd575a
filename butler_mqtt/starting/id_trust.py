"""
Which execution ids in answers to POSTs are believed at once.

Some servers may answer a start of a running task with the id of the execution
that runs [assumed]. Only a reading of the task that is younger than the start
distinguishes that id from a new one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from butler_mqtt.domain.open_work import Doubt, OpenStart, Run
from butler_mqtt.starting.node_clocks import NodeClocks

#: Ids that prove to be new, after which a server is trusted to return new ones only.
MAX_UNPROVED = 20


class IdTrust:
    """
    Learns from the runs of this process how the server answers.

    Args:
        node_clocks: Where they differ, stamps prove nothing.
    """

    def __init__(self, node_clocks: NodeClocks) -> None:
        self._node_clocks = node_clocks
        #: Ids still to be checked before they are believed where they might be old ones.
        self._unproved = MAX_UNPROVED

    def needs_refresh(self, starts: Sequence[OpenStart]) -> bool:
        """
        Return whether the task of *starts* is to be read once more before the POST.

        Once the server has shown that it does not answer with old ids, or often
        enough that its ids are new, an older reading will do.
        """
        if any(start.unread or (start.found_before and self._node_clocks.differ) for start in starts):
            return True
        waited = any(start.reason == "running" and not start.seen_behind for start in starts)
        if not waited or self._unproved <= 0:
            return False
        self._unproved -= 1
        return True

    def may_be_old(self, run: Run, answer: str) -> bool:
        """
        Return whether an execution id may be that of an execution that ran before the POST.

        It may have run when the task was read, or since, if that was for an
        earlier request.
        """
        if run.task.last is not None and run.task.last.active:
            return True
        if any(start.behind == answer for start in run.starts):
            return True
        return self._unproved > 0 and any(start.found_before for start in run.starts)

    def began(self, run: Run) -> None:
        """Count an id that was in doubt and proved to be new."""
        if run.doubt is Doubt.CLAIMED:
            self._unproved -= 1

    def ran_already(self, run: Run) -> None:
        """Learn from the answer to a start of a running task: what runs, or the empty id."""
        if run.doubt is Doubt.CLAIMED:
            self._unproved = sys.maxsize
        elif run.doubt is Doubt.EMPTY:
            self._unproved = 0

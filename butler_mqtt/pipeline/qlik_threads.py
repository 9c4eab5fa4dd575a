"""What the pipeline has threads do that call the Qlik server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from butler_mqtt.resolving.resolver import Resolver, Tasks
from butler_mqtt.starting.dispatcher import Dispatcher
from butler_mqtt.starting.execution_poller import ExecutionReader
from butler_mqtt.starting.post_workers import TaskStarter
from butler_mqtt.starting.reconciler import SnapshotReader


class QlikServer(Tasks, SnapshotReader, ExecutionReader, TaskStarter, Protocol):
    """All that the threads call."""


class QlikThreads:
    """
    The threads' work, and its end; whoever runs them gives each a connection of its own.

    Args:
        resolver: Has one.
        dispatcher: Has the others.
        posts: POSTs at a time, each with a thread.
    """

    def __init__(self, resolver: Resolver, dispatcher: Dispatcher, posts: int) -> None:
        self._resolver = resolver
        self._reconciler = dispatcher.reconciler
        self._poller = dispatcher.poller
        self._post_workers = dispatcher.post_workers
        self._posts = posts

    def works(self) -> Iterator[tuple[str, Callable[[QlikServer], None]]]:
        """Return what each thread does until `stop`, with its name."""
        yield "resolver", self._resolver.work
        yield "reconciler", self._reconciler.work
        yield "execution tracker", self._poller.work
        for number in range(self._posts):
            yield f"POST worker {number + 1}", self._post_workers.work

    def abandon_posts(self) -> None:
        """Post nothing more: nobody would record the outcome."""
        self._post_workers.abandon()

    def stop(self) -> None:
        """Let each thread end after the job in hand."""
        self._resolver.stop()
        self._reconciler.stop()
        self._poller.stop()
        for _ in range(self._posts):
            self._post_workers.stop()

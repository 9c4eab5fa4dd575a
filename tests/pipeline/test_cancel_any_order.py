"""
Cancels, in any order with requests, ends, kills, lost answers and executions begun by others.

In the end every request is cancelled, everything is well, and then:

- every delivery has one reply, and nothing is open;
- what is said to be cancelled never began, and nothing of a cancelled request was posted after the reply;
- no task was started more often than asked;
- the server was asked to stop only what one request, which was to be stopped, had begun alone.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from butler_mqtt.domain.model import Task
from butler_mqtt.errors import OutcomeUnknown, QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from tests.pipeline.any_order import AnythingHappens
from tests.pipeline.site_double import OUR_USER, Crash, Site

NAMES = ["Sales", "Stock", "Staff"]


def stopped_and_cut(site: Site, task: Task) -> None:
    """Stop the task and lose the answer."""
    site.stop_now(task.id)
    raise OutcomeUnknown("the connection ended before the answer")


def stopped_and_killed(site: Site, task: Task) -> None:
    """Stop the task; the answer is lost with the process."""
    site.stop_now(task.id)
    raise Crash


class WatchedSite(Site):
    """A server that reports what it is asked to stop, while that still runs."""

    def __init__(self) -> None:
        super().__init__()
        self.on_stop: Any = lambda _execution: None

    def stop_now(self, task_id: str) -> None:
        running = self.running(task_id)
        if running is not None:
            self.on_stop(running.id)
        super().stop_now(task_id)


class CancelAnyOrder(AnythingHappens):
    """What can happen, and at the end what must be so."""

    def __init__(self) -> None:
        site = WatchedSite()
        super().__init__(site)
        for name in NAMES:
            site.add(name, tags=("all",))
        site.on_start = self.is_wanted
        site.on_stop = self.may_be_stopped
        self.requests: list[str] = []
        self.cancels: list[str] = []

    @initialize(slots=st.sampled_from([0, 0, 1]))
    def begin(self, slots: int) -> None:
        start_task = StartTask(allow_stop=True, max_concurrent_reloads=slots)
        self.harness.settings = Settings(start_task=start_task)
        self.harness.start()

    # ---- checked at every instant

    def cancelled_by_now(self, *, stop: bool = False) -> set[str]:
        """Return the requests whose cancels have their reply; with *stop*, those that are to be stopped."""
        found = set()
        for row in self.harness.rows(tables.requests):
            document = json.loads(row["document"] or "{}")
            if "cancel" in document and (document.get("stopRunning") if stop else row["state"] == "closed"):
                found.add(document["cancel"])
        return found

    def is_wanted(self, task: Task) -> None:
        ids = {row["id"]: row["request_id"] for row in self.harness.rows(tables.requests)}
        runs = [
            row["id"]
            for row in self.harness.rows(tables.runs)
            if row["task_id"] == task.id and row["state"] == "intended"
        ]
        served = {ids[row["request"]] for row in self.harness.rows(tables.starts) if row["run"] in runs}
        if served and served <= self.cancelled_by_now():
            self.broken.append(f"posted for {served}, which were cancelled")

    def may_be_stopped(self, execution_id: str) -> None:
        ids = {row["id"]: row["request_id"] for row in self.harness.rows(tables.requests)}
        served = [row for row in self.harness.rows(tables.starts) if row["execution_id"] == execution_id]
        if len(served) != 1 or served[0]["adopted"]:
            self.broken.append(f"stopped what serves {len(served)} starts, or was adopted")
        elif ids[served[0]["request"]] not in self.cancelled_by_now(stop=True):
            self.broken.append("stopped without being asked to")

    # ---- what happens

    @rule(
        which=st.sampled_from([*NAMES, "all"]),
        wait=st.sampled_from(["started", "finished"]),
        more=st.sampled_from([{}, {}, {"notBefore": "2099-01-01T00:00:00Z"}, {"ifRunning": "skip"}]),
    )
    def request(self, which: str, wait: str, more: dict[str, str]) -> None:
        name = f"r{len(self.requests)}"
        self.requests.append(name)
        wish = {"tag": "all"} if which == "all" else {"taskName": which}
        self.publish({"requestId": name, "wait": wait, **wish, **more}, name)

    @rule(data=st.data(), stop=st.booleans())
    def cancel(self, data: st.DataObject, stop: bool) -> None:
        target = data.draw(st.sampled_from([*self.requests[-3:], "nobody"]))
        name = f"c{len(self.cancels)}"
        self.cancels.append(name)
        self.publish({"requestId": name, "cancel": target, "stopRunning": stop}, name)

    @rule(fault=st.sampled_from([stopped_and_cut, stopped_and_killed, QlikUnavailable("refused")]))
    def next_stop(self, fault: Any) -> None:
        self.site.stop_script.append(fault)

    # ---- when everything is well again

    def all_is_well(self) -> None:
        for name in list(self.requests):
            self.publish({"requestId": f"end-of-{name}", "cancel": name}, f"end of {name}")
        self.settle(lambda: not self.what_is_open(), 0.7)
        assert not self.broken
        self.check_deliveries()
        self.check_executions()

    def check_deliveries(self) -> None:
        answered: dict[Any, set[bytes]] = defaultdict(set)
        for one in self.harness.broker.published:
            answered[one.correlation].add(one.payload)
        for row in self.harness.rows(tables.deliveries):
            assert len(answered[row["correlation"]]) == 1, row

    def check_executions(self) -> None:
        starts = self.harness.rows(tables.starts)
        ids = {row["request_id"]: row["id"] for row in self.harness.rows(tables.requests)}
        by_task = {(row["request"], row["task_id"]): row for row in starts}
        assert len(by_task) == len(starts), "a task twice in a request"
        for one in self.harness.replies():
            for entry in one.get("tasksCancelled", ()):
                row = by_task[ids[one["cancelled"]], entry["taskId"]]
                assert (row["state"], row["execution_id"]) == ("cancelled", None)
        for task_id in self.tasks:
            ours = [one for one in self.site.history[task_id] if one.user == OUR_USER]
            begun = [row for row in starts if row["task_id"] == task_id and row["execution_id"] is not None]
            assert len(ours) <= len(begun), "more executions than starts that began"


# Each example is a pipeline on a journal file.
CancelAnyOrder.TestCase.settings = settings(max_examples=settings().max_examples // 8, stateful_step_count=40)
TestCancelAnyOrder: Any = CancelAnyOrder.TestCase

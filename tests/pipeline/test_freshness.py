"""
Freshness, in any order of requests, ends, kills and executions begun by others.

In the end everything is well, and then:

- after the last request for a task an execution began that is younger than it;
- we began at most as many executions as there were requests;
- every event is published once, or again with the same content after a kill;
- no request was served by an execution that began before it arrived.

Server time is real time to the millisecond here, but the daemon reads it in
whole seconds rounded down, as the `Date` header does it.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from butler_mqtt.domain.model import EMPTY_GUID, Task
from butler_mqtt.journal import tables
from butler_mqtt.settings import Settings, StartTask
from tests.pipeline.any_order import AnythingHappens
from tests.pipeline.harness import SHORT_QLIK
from tests.pipeline.site_double import (
    DATE_AGES,
    NODE_CLOCKS,
    OUR_USER,
    Site,
    guid,
)

#: The app that both tasks reload.
APP = guid(1, 0xDDDD)
#: What the last event about an execution, or about a start that waited, may be.
LAST = {"succeeded", "failed", "aborted", "skipped", "expired", "unknown"}


class Server(Site):
    """A server that shows whole seconds and answers a start of a running task as `running_gives` says."""

    running_gives = "empty"

    def server_time(self) -> datetime | None:
        # The Date header is rounded down and up to a second old by the time it is used.
        shown = super().server_time()
        return shown.replace(microsecond=0) if shown is not None else None

    def start_now(self, task: Task) -> str | None:
        running = self.running(task.id)
        if running is not None and self.running_gives == "same":
            return running.id
        if running is not None and self.running_gives == "second":
            self.posts.append(task.id)
            return self.begin(task.id, OUR_USER)
        return super().start_now(task)

    def end_one(self, task_id: str, status: int = 7) -> None:
        """End the task's oldest active execution."""
        active = [place for place, one in enumerate(self.history[task_id]) if one.active]
        if active:
            newer = self.history[task_id][: active[-1]]
            self.history[task_id] = self.history[task_id][active[-1] :]
            self.end(task_id, status)
            self.history[task_id] = newer + self.history[task_id]


class Freshness(AnythingHappens):
    """What can happen, and at the end what must be so."""

    site: Server

    def __init__(self) -> None:
        super().__init__(Server(), qlik_timings=replace(SHORT_QLIK, blind_retry=0.01))
        for name in ("Sales", "Stock"):
            self.site.add(name, tags=("both",), app_id=APP)
        #: The server's time at which each request was sent, by its id, and the tasks it asks for.
        self.sent: dict[str, tuple[datetime, list[str]]] = {}
        self.more: dict[str, dict[str, str]] = {}
        self.kills = self.repeated = 0

    @initialize(
        gives=st.sampled_from(["empty", "empty", "same", "second"]),
        slots=st.sampled_from([0, 0, 1]),
        clocks=NODE_CLOCKS,
        age=DATE_AGES,
        app_once=st.booleans(),
    )
    def begin(self, gives: str, slots: int, clocks: tuple[float, ...], age: float, app_once: bool) -> None:
        self.site.app_once = app_once
        self.site.running_gives = gives
        self.site.node_clocks = clocks
        self.site.date_age = age
        self.harness.settings = Settings(start_task=StartTask(max_concurrent_reloads=slots))
        self.harness.start()

    def now(self) -> datetime:
        assert self.site.clock is not None
        return self.site.clock

    # ---- what happens

    @rule(
        which=st.sampled_from(["Sales", "Sales", "Stock", "both"]),
        wait=st.sampled_from(["started", "finished"]),
        more=st.sampled_from([{}, {}, {}, {"notBefore": "2001-01-01T00:00:00Z"}, {"ifRunning": "skip"}]),
    )
    def request(self, which: str, wait: str, more: dict[str, str]) -> None:
        identity = f"r{len(self.sent)}"
        body: dict[str, Any] = {"requestId": identity, "wait": wait, **more}
        self.more[identity] = more
        body |= {"tag": "both"} if which == "both" else {"taskName": which}
        tasks = self.tasks if which == "both" else [self.tasks[0 if which == "Sales" else 1]]
        self.sent[identity] = (self.now(), tasks)
        self.publish(body, identity)

    @rule(wait=st.sampled_from(["started", "finished"]), data=st.data())
    def repetition(self, wait: str, data: st.DataObject) -> None:
        """The same request once more, which must change nothing."""
        if self.sent:
            identity = data.draw(st.sampled_from(sorted(self.sent)))
            tasks = self.sent[identity][1]
            body: dict[str, Any] = {"requestId": identity, "wait": wait, **self.more[identity]}
            name = {self.tasks[0]: "Sales", self.tasks[1]: "Stock"}[tasks[0]]
            body |= {"tag": "both"} if len(tasks) == 2 else {"taskName": name}
            self.repeated += 1
            self.publish(body, f"{identity} again {self.repeated}")

    def end(self, task_id: str, status: int = 7) -> None:
        self.site.end_one(task_id, status)

    @rule()
    def crash(self) -> None:
        self.kills += 1
        super().crash()

    # ---- when everything is well again

    def all_is_well(self) -> None:
        self.settle(lambda: not self.what_is_open(), 0.7)
        self.check_served()
        self.check_younger()
        self.check_number()
        self.check_events()
        self.check_replies()

    def request_ids(self) -> dict[int, str]:
        return {row["id"]: row["request_id"] for row in self.harness.rows(tables.requests)}

    def check_served(self) -> None:
        """No request was served by an execution that began before it arrived."""
        began = self.site.began_at
        ids = self.request_ids()
        for start in self.harness.rows(tables.starts):
            if start["state"] == "skipped":
                assert self.more[ids[start["request"]]] == {"ifRunning": "skip"}
                continue
            assert start["state"] in {"succeeded", "failed", "aborted"}, start
            moment = began[start["execution_id"]]
            # Taken as its own after a lost answer: two seconds of doubt are allowed there (design 5.2).
            slack = timedelta(seconds=2 if start["adopted"] else 0)
            assert moment >= self.sent[ids[start["request"]]][0] - slack, start

    def check_younger(self) -> None:
        """After the last request for a task an execution began that is younger than it."""
        for task_id in self.tasks:
            asked = [
                moment
                for identity, (moment, tasks) in self.sent.items()
                if task_id in tasks and self.more[identity] != {"ifRunning": "skip"}
            ]
            if asked:
                ids = [one.id or "" for one in self.site.history[task_id]]
                assert max(self.site.began_at[one] for one in ids) >= max(asked)

    def check_number(self) -> None:
        for task_id in self.tasks:
            ours = [one for one in self.site.history[task_id] if one.user == OUR_USER]
            asked = [one for one in self.sent.values() if task_id in one[1]]
            assert len(ours) <= len(asked), "more executions than requests"

    def check_events(self) -> None:
        published: dict[str, set[bytes]] = defaultdict(set)
        count: Counter[str] = Counter()
        for one in self.harness.broker.events:
            key = json.loads(one.payload)["eventId"]
            published[key].add(one.payload)
            count[key] += 1
        events = [json.loads(payload) for payloads in published.values() for payload in payloads]
        assert all(len(payloads) == 1 for payloads in published.values()), "with another content"
        assert max(Counter(event["eventId"] for event in events).values(), default=1) == 1, "published twice"
        assert max(count.values(), default=0) <= 1 + self.kills, "published again without a kill"
        skipped = {
            (row["request"], row["task_id"])
            for row in self.harness.rows(tables.starts)
            if row["state"] == "skipped"
        }
        rows = {name: row for row, name in self.request_ids().items()}
        last = defaultdict(set)
        for event in events:
            for identity in event["requestIds"]:
                if event["event"] in LAST:
                    last[identity, event["taskId"]].add(event["event"])
        for identity, (_, tasks) in self.sent.items():
            for task_id in tasks:
                ends = 0 if (rows[identity], task_id) in skipped else 1
                assert len(last[identity, task_id]) == ends, (identity, task_id, events)

    def check_replies(self) -> None:
        """Every delivery has one reply."""
        answered: dict[Any, set[bytes]] = defaultdict(set)
        for one in self.harness.broker.published:
            answered[one.correlation].add(bytes(str(one.id), "ascii"))
        for row in self.harness.rows(tables.deliveries):
            assert len(answered[row["correlation"]]) == 1, row
        assert EMPTY_GUID not in {row["execution_id"] for row in self.harness.rows(tables.runs)}


# Each example is a pipeline on a journal file.
Freshness.TestCase.settings = settings(max_examples=settings().max_examples // 8, stateful_step_count=40)
TestFreshness: Any = Freshness.TestCase

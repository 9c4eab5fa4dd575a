"""
Staged requests with everything that can happen in any order.

Requests of up to four stages share a few tasks; executions end well or badly,
others start tasks, answers are lost, requests are cancelled, the server and the
journal fail, and the daemon is killed at any instant. At every start that reaches the server the
journal must have its stage running and all stages before it over; in the end:

- no request started a task twice, and every delivery has one reply;
- no stage began before the one before had ended, and none after a failure that stops or a cancel;
- the summary of each request adds up with its starts.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from sqlalchemy import select

from butler_mqtt.domain.model import Task
from butler_mqtt.errors import QlikUnavailable
from butler_mqtt.journal import tables
from butler_mqtt.journal.sqlite import reading_engine
from butler_mqtt.settings import Settings, StartTask
from tests.pipeline.any_order import AnythingHappens
from tests.pipeline.site_double import Site

TAGS = ["extract", "transform", "publish"]
#: Tasks by their tags: one is in two stages.
TASKS = [("a", ["extract"]), ("b", ["transform"]), ("c", ["transform", "publish"]), ("d", ["publish"])]
STAGES = st.lists(
    st.fixed_dictionaries(
        {"tag": st.sampled_from([*TAGS, "nobody"])}, optional={"onFailure": st.just("continue")}
    ),
    min_size=1,
    max_size=4,
)


class StagesInAnyOrder(AnythingHappens):
    """What can happen, and at the end what must be so."""

    def __init__(self) -> None:
        super().__init__(Site(), Settings(start_task=StartTask(max_concurrent_reloads=3)))
        self.site.on_start = self.is_in_turn
        for name, tags in TASKS:
            self.site.add(name, tags=tuple(tags))
        self.harness.start()
        self.engine = reading_engine(self.harness.path)
        self.sent = 0
        self.cancelled: set[str] = set()

    # ---- checked at every start

    def is_in_turn(self, task: Task) -> None:
        """Check that a start that reaches the server belongs to stages that run."""
        with self.engine.connect() as connection:
            runs = select(tables.runs.c.id).where(
                tables.runs.c.task_id == task.id, tables.runs.c.state == "intended"
            )
            those = connection.execute(
                select(tables.starts.c.request, tables.starts.c.stage).where(tables.starts.c.run.in_(runs))
            ).all()
            for request, number in those:
                query = select(tables.stages.c.number, tables.stages.c.state)
                states = dict(connection.execute(query.where(tables.stages.c.request == request)).all())
                before = [states[earlier] for earlier in range(1, number)]
                if states[number] != "running" or not set(before) <= {"succeeded", "failed"}:
                    self.broken.append(f"stage {number} started a task while stages were {states}")

    # ---- senders

    @rule(
        stages=STAGES,
        wait=st.sampled_from(["started", "finished"]),
        if_running=st.sampled_from(["queue", "skip"]),
    )
    def send(self, stages: list[dict[str, Any]], wait: str, if_running: str) -> None:
        self.sent += 1
        self.harness.send(
            {"requestId": f"r{self.sent}", "stages": stages, "wait": wait, "ifRunning": if_running}
        )
        # On disk: what the broker would deliver again is another test's matter.
        self.survive(self.harness.turn)
        self.survive(self.harness.turn)

    @rule(which=st.integers(0, 5))
    def cancel(self, which: int) -> None:
        wanted = f"r{self.sent - which}"
        if which < self.sent and wanted not in self.cancelled:
            self.cancelled.add(wanted)
            self.harness.send({"requestId": f"cancel-{wanted}", "cancel": wanted})
            self.survive(self.harness.turn)
            self.survive(self.harness.turn)

    # ---- the server

    @rule()
    def resolving_fails(self) -> None:
        self.site.resolve_errors.append(QlikUnavailable("connection refused"))

    # ---- when everything is well again

    def all_is_well(self) -> None:
        self.settle(self.over)
        assert not self.broken
        self.check_replies()
        self.check_stages()
        self.engine.dispose()

    def over(self) -> bool:
        harness = self.harness
        open_stages = {row["state"] for row in harness.rows(tables.stages)} & {"waiting", "running"}
        return not open_stages and not harness.open_rows() and not harness.rows(tables.outbox)

    def check_replies(self) -> None:
        published: dict[int, set[bytes]] = defaultdict(set)
        for publication in self.harness.broker.published:
            if publication.delivery is not None:
                published[publication.delivery].add(publication.payload)
        deliveries = self.harness.rows(tables.deliveries)
        requests = {row["id"]: row for row in self.harness.rows(tables.requests)}
        for row in deliveries:
            request = requests[row["request"]]
            wanted = "reply" if row["wait"] == "started" or request["state"] == "refused" else "final_reply"
            assert published[row["id"]] == {request[wanted].encode()}
            if row["wait"] == "finished" and request["state"] == "closed":
                reply = json.loads(request["final_reply"])
                if request["request_id"] in self.cancelled and reply.get("code") == "cancelled":
                    # Taken back before anything of it began, after others had their reply.
                    assert "tasksStarted" not in reply
                else:
                    self.check_summary(reply, request["id"])

    def check_summary(self, reply: dict[str, Any], request: int) -> None:
        stored = [row for row in self.harness.rows(tables.stages) if row["request"] == request]
        starts = [row for row in self.harness.rows(tables.starts) if row["request"] == request]
        assert [one["status"] for one in reply["stages"]] == [row["state"] for row in stored]
        for one in reply["stages"]:
            assert one["tasks"] == sum(row["stage"] == one["stage"] for row in starts)
        entries = [entry for name, those in reply.items() if name.startswith("tasks") for entry in those]
        named = Counter(entry["taskId"] for entry in entries if "taskName" in entry)
        assert named == Counter(row["task_id"] for row in starts)

    def check_stages(self) -> None:
        starts, stages = self.harness.rows(tables.starts), self.harness.rows(tables.stages)
        assert len({(row["request"], row["task_id"]) for row in starts}) == len(starts), "a task twice"
        requests = {row["id"]: row for row in self.harness.rows(tables.requests)}
        by_request: dict[int, list[Any]] = defaultdict(list)
        for row in stages:
            by_request[row["request"]].append(row)
        for request, those in by_request.items():
            document = json.loads(requests[request]["document"])
            cancelled = requests[request]["request_id"] in self.cancelled
            stopped = False
            for row in those:
                of_it = [one for one in starts if (one["request"], one["stage"]) == (request, row["number"])]
                stopped = stopped or (cancelled and row["state"] == "notStarted")
                if stopped:
                    assert row["state"] == "notStarted"
                    codes = {"previous_stage_failed", *(["cancelled"] if cancelled else [])}
                    assert {one["code"] for one in of_it} <= codes
                    continue
                good = not row["not_found"] and all(
                    (one["skipped_result"] or one["state"]) == "succeeded" for one in of_it
                )
                assert row["state"] == ("succeeded" if good else "failed")
                wish = document["stages"][row["number"] - 1].get("onFailure", "stop")
                stopped = not good and wish == "stop"


# Each example is a pipeline on a journal file.
StagesInAnyOrder.TestCase.settings = settings(
    max_examples=max(1, settings().max_examples // 8), stateful_step_count=40
)
TestStagesInAnyOrder: Any = StagesInAnyOrder.TestCase

"""The tour: shows its chapters and checks that each ends as expected."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from butler_mqtt.demo.chapters import (
    FAILURES,
    FINANCE,
    NIGHTLY,
    SALES,
    SECTIONS,
    SELECTORS,
    SHOP_FLOOR,
    Chapter,
)
from butler_mqtt.demo.narration import Narration
from butler_mqtt.demo.processes import PATIENCE_SECONDS, ProcessError, Processes, until
from butler_mqtt.demo.tally import Tally, gist
from butler_mqtt.errors import BrokerError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.mqtt.requester import OTHERS, Requester


class UnexpectedResult(ProcessError):
    """Something happened that the tour does not expect."""


def demo(broker: str) -> ExitCode:
    """
    Run the tour.

    Args:
        broker: `mosquitto`, `embedded`, or `auto`.

    Returns:
        OK when everything happened as expected; FAILED when not; UNAVAILABLE
        without a broker.
    """
    narration = Narration()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="butler-mqtt-demo-") as folder:
        try:
            processes = Processes(Path(folder), broker, SECTIONS)
        except ProcessError as error:
            narration.wrong(str(error))
            return ExitCode.UNAVAILABLE
        try:
            _introduce(narration, processes)
            with processes, Requester(processes.mqtt, hear_all=True) as sender:
                return _Tour(processes, sender, narration).run(began)
        except (ProcessError, BrokerError) as error:
            narration.wrong(str(error))
            narration.say("The last lines of the logs:")
            print(processes.logs())  # noqa: T201 -- as they are, neither wrapped nor coloured
            return ExitCode.FAILED


_SALES_NAME = "Sales Report Update"


class _Tour:
    """The chapters in their order."""

    def __init__(self, processes: Processes, sender: Requester, narration: Narration) -> None:
        self._processes = processes
        self._sender = sender
        self._narration = narration
        self._tally = Tally()
        self._topic = processes.mqtt.task_start_topic

    def run(self, began: float) -> ExitCode:
        self._await_daemon("")
        for chapter in SELECTORS:
            self._one_request(chapter)
        self._bare_id()
        self._to_the_end()
        self._stages()
        self._alert()
        self._rule()
        self._one_sender()
        for chapter in FAILURES:
            self._one_request(chapter)
        self._twice()
        self._outage()
        self._crash()
        return self._add_up(began)

    # ---- chapters

    def _bare_id(self) -> None:
        self._chapter(
            "A bare id, as Butler's senders publish it",
            "Programs written for Butler send nothing but an id and name no reply topic. They work "
            "unchanged, and the reply is published on a common topic.",
        )
        reply = self._answered(lambda: self._publish(f"{SALES}\n"))
        self._expect(reply, {"status": "ok", "started": [_SALES_NAME]})
        self._narration.right(f"It can be read on {self._processes.mqtt.task_start_reply_topic}.")

    def _to_the_end(self) -> None:
        self._chapter(
            "Waiting for the end",
            "With `wait`, the reply comes when the execution has ended, with its result.",
        )
        document = {"requestId": "erp-14", "taskId": SALES, "wait": "finished"}
        reply = self._answered(lambda: self._ask(document))
        self._require(reply["tasksStarted"][0].get("result") == "succeeded", "the execution did not succeed")
        self._narration.right(
            "Others can track it, too: each change of a task is published on "
            f"{self._processes.mqtt.task_event_topic}/<task id>."
        )

    def _stages(self) -> None:
        self._chapter(
            "One after another",
            "Every night: extract, then transform, then publish. Each stage begins when the one before has "
            "ended, and a failure stops what comes later. Tonight the transformation fails.",
        )
        document = {"requestId": "night-1", "wait": "finished", "stages": NIGHTLY}
        self._expect_stages(document, ["succeeded", "failed", "notStarted"])
        self._narration.right("Nothing was published from half-finished data.")
        self._narration.action("The cause is mended; what was missing is asked for again.")
        document = {"requestId": "night-1-again", "wait": "finished", "stages": NIGHTLY[1:]}
        self._expect_stages(document, ["succeeded", "succeeded"])
        self._narration.right("A kill in the middle would have changed nothing but the time.")

    def _alert(self) -> None:
        webhook = self._processes.webhook
        if webhook is None:
            return  # Apprise is an extra
        self._chapter(
            "Somebody is called",
            "The transformation that failed just now is worth an alert: by mail, in Teams or Slack, or to a "
            "webhook, as here.",
        )
        ((title, text),) = until(lambda: list(webhook.came), "the alert reaches the webhook")
        for line in (title, *text.splitlines()):
            self._narration.action(line)
        self._narration.right("Once, however often the target or the daemon is restarted meanwhile.")

    def _rule(self) -> None:
        self._chapter(
            "A device that knows nothing of requests",
            "A press publishes how many parts it has made, a bare number. A rule of the configuration says: "
            "with each full thousand, reload the report, once.",
        )
        for parts in ("998", "2003"):
            self._narration.published("plc/press-7/parts", parts)
            self._sender.publish(parts.encode(), topic="plc/press-7/parts")
        self._tally.sent += 1
        reply = self._receive(OTHERS, time.monotonic())
        self._expect(reply, {"status": "ok", "started": [_SALES_NAME]})
        self._require(reply["requestId"] == "press-7-2", "the rule made another request")
        self._narration.right(
            "One of the two was meant; docs/rules.md has rules for SAP, Kafka, files and more."
        )

    def _one_sender(self) -> None:
        self._chapter(
            "A sender that may start one thing",
            "The shop floor has a topic of its own, to which the broker lets nobody else write, and may "
            "start what has the tag daily-refresh. First it asks for a report of finance, then for its own.",
        )
        expectations: list[tuple[str, Mapping[str, object]]] = [
            (FINANCE, {"code": "all_denied"}),
            (SALES, {"status": "ok", "started": [_SALES_NAME]}),
        ]
        for task, expected in expectations:
            text = json.dumps({"taskId": task})
            self._narration.published(SHOP_FLOOR, text)
            self._tally.sent += 1
            began = time.monotonic()
            self._sender.publish(text.encode(), topic=SHOP_FLOOR)
            self._expect(self._receive(OTHERS, began), expected)
        self._narration.right("What it is shown and may cancel is its own, too: docs/senders.md.")

    def _expect_stages(self, document: Mapping[str, object], expected: list[str]) -> None:
        reply = self._answered(lambda: self._ask(document))
        found = [stage["status"] for stage in reply["stages"]]
        self._require(found == expected, f"expected of the stages was {expected}, not {found}")

    def _twice(self) -> None:
        self._chapter(
            "The same request twice",
            "The sender got no reply, or was restarted, and publishes the same request again, with the "
            "same requestId.",
        )
        document = {"requestId": "erp-10", "taskId": SALES}
        first = self._answered(lambda: self._ask(document))
        self._expect(first, {"status": "ok", "started": [_SALES_NAME]})
        before = len(self._processes.qlik.executions())
        again = self._answered(lambda: self._ask(document))
        self._require(again == first, "the second reply differs from the first")
        self._require(len(self._processes.qlik.executions()) == before, "the task was started again")
        self._narration.right(f"The same reply, and the Qlik server still counts {before} executions.")

    def _outage(self) -> None:
        self._chapter(
            "The Qlik server is down",
            "It is being restarted just when a request comes.",
        )
        self._processes.qlik.switch(listener="refuse")
        self._narration.action("The Qlik server is switched off.")
        began = time.monotonic()
        ticket = self._ask({"requestId": "erp-11", "taskId": FINANCE})
        self._require(
            self._sender.receive(ticket, 1.5) is None, "there was a reply while the server was down"
        )
        self._narration.action("1.5 s later: no reply. The request is on disk and waits; it is not refused.")
        self._processes.qlik.switch(listener="up")
        self._narration.action("The Qlik server is up again.")
        reply = self._receive(ticket, began)
        self._expect(reply, {"status": "ok", "started": ["Financial Dashboard Reload"]})
        self._narration.right("Started as soon as possible, without another request.")

    def _crash(self) -> None:
        self._chapter(
            "The daemon is killed during a start",
            "The worst moment: the Qlik server has been asked to start a task and has not answered yet.",
        )
        processes = self._processes
        processes.qlik.inject(kind="slow", path="*/start/synchronous", when="after", seconds=10)
        before = len(processes.qlik.executions())
        began = time.monotonic()
        in_flight = self._ask({"requestId": "erp-12", "tag": "urgent"})
        until(lambda: len(processes.qlik.executions()) > before, "the start arrives at the Qlik server")
        instance = self._sender.daemon.instance if self._sender.daemon else ""
        processes.kill_daemon()
        self._narration.action("kill -9. The task runs, and no process knows for which request.")
        second = None
        if processes.broker_keeps:
            second = self._ask({"requestId": "erp-13", "taskId": SALES})
            self._narration.action("This second request came while the daemon was down: the broker keeps it.")
        processes.start_daemon()
        self._await_daemon(instance)
        self._narration.action("The daemon is started again.")
        reply = self._receive(in_flight, began)
        self._expect(reply, {"status": "ok", "started": ["Regulatory Report"]})
        if second is not None:
            self._expect(self._receive(second, began), {"status": "ok", "started": [_SALES_NAME]})
        self._require(
            len(processes.qlik.executions()) == before + 1 + processes.broker_keeps,
            "a task was started twice",
        )
        self._narration.right(
            "Nothing lost, nothing twice: the execution of the killed daemon was found and is reported"
            f"{' as `adopted`' if reply['tasksStarted'][0].get('adopted') else ''}."
        )

    def _add_up(self, began: float) -> ExitCode:
        tally, qlik = self._tally, self._processes.qlik
        until(qlik.idle, "all executions end")
        # One reply too many would come now.
        self._sender.wait(lambda: self._sender.received > tally.sent, 0.5)
        executions = qlik.executions()
        tally.compare(self._sender.received, executions)
        self._narration.title("Summary")
        self._narration.tally(
            {
                "messages sent": tally.sent,
                "replies received": self._sender.received,
                "task starts in the replies, each with its execution id": len(tally.starts),
                "executions on the Qlik server, the same ones": len(executions),
            }
        )
        for mistake in tally.mistakes:
            self._narration.wrong(mistake)
        if tally.mistakes:
            raise UnexpectedResult("replies and executions contradict each other")
        self._narration.right("Every message answered once, every task started once per request.")
        self._narration.say(
            f"   {time.monotonic() - began:.0f} s. README.md says how to use it with your own servers."
        )
        return ExitCode.OK

    # ---- steps of chapters

    def _one_request(self, chapter: Chapter) -> None:
        self._chapter(chapter.title, chapter.text)
        self._expect(self._answered(lambda: self._ask(chapter.request)), chapter.expected)
        self._narration.right(chapter.meaning)

    def _chapter(self, title: str, text: str) -> None:
        # So that no chapter's request meets a task that still runs from the one before.
        until(self._processes.qlik.idle, "the executions of the chapter before end")
        self._narration.chapter(title, text)

    def _ask(self, document: Mapping[str, object]) -> bytes:
        self._narration.published(self._topic, json.dumps(document, ensure_ascii=False))
        self._tally.sent += 1
        return self._sender.ask(document)

    def _publish(self, text: str) -> bytes:
        self._narration.published(self._topic, text.strip())
        self._tally.sent += 1
        self._sender.publish(text.encode())
        return OTHERS

    def _answered(self, send: Callable[[], bytes]) -> dict[str, Any]:
        began = time.monotonic()
        return self._receive(send(), began)

    def _receive(self, ticket: bytes, began: float) -> dict[str, Any]:
        payload = self._sender.receive(ticket, PATIENCE_SECONDS)
        if payload is None:
            raise UnexpectedResult(f"no reply within {PATIENCE_SECONDS:.0f} s; {self._sender.presence()}")
        reply: dict[str, Any] = json.loads(payload)
        self._narration.replied(reply, time.monotonic() - began)
        self._tally.add(reply)
        return reply

    def _expect(self, reply: Mapping[str, Any], expected: Mapping[str, object]) -> None:
        self._require(gist(reply) == expected, f"expected was {dict(expected)}, not {gist(reply)}")

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise UnexpectedResult(otherwise)

    def _await_daemon(self, old_instance: str) -> None:
        def online() -> bool:
            self._require(self._processes.daemon_runs(), "the daemon has ended by itself")
            daemon = self._sender.daemon
            return daemon is not None and daemon.status == "online" and daemon.instance != old_instance

        if not self._sender.wait(online, PATIENCE_SECONDS):
            raise UnexpectedResult(f"the daemon does not start; {self._sender.presence()}")


def _introduce(narration: Narration, processes: Processes) -> None:
    narration.title("butler-mqtt: other systems start Qlik Sense tasks")
    narration.say(
        "With MQTT, programs send each other messages: one publishes a text on a named topic, a program in "
        "the middle, the broker, forwards it to all that have subscribed to that topic, and keeps it for "
        "those that are not connected."
    )
    name = "mosquitto" if processes.broker == "mosquitto" else "a small one in Python, mosquitto is better"
    narration.say(
        f"For this tour three programs start on this machine: a broker ({name}), a simulated Qlik Sense "
        "server, and the daemon butler-mqtt between the two. The tour plays the system that sends requests."
    )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt

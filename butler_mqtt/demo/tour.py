"""The tour: tells its chapters and checks that each comes out as told."""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from butler_mqtt.demo.examples_shown import ALLOW, FINANCE, SALES, TROUBLES, WAYS, Chapter
from butler_mqtt.demo.narration import Narration
from butler_mqtt.demo.processes import PATIENCE_SECONDS, ProcessError, Processes, until
from butler_mqtt.demo.tally import Tally, gist
from butler_mqtt.errors import BrokerError
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.mqtt.requester import OTHERS, Requester


class WrongTurn(ProcessError):
    """Something happened that the story does not tell."""


def demo(broker: str) -> ExitCode:
    """
    Give the tour.

    Args:
        broker: `mosquitto`, `embedded`, or `auto`.

    Returns:
        OK when everything happened as told; FAILED when not; UNAVAILABLE when
        there is no broker to show it with.
    """
    narration = Narration()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="butler-mqtt-demo-") as folder:
        try:
            processes = Processes(Path(folder), broker, ALLOW)
        except ProcessError as error:
            narration.wrong(str(error))
            return ExitCode.UNAVAILABLE
        try:
            _prologue(narration, processes)
            with processes, Requester(processes.mqtt, hear_all=True) as sender:
                return _Tour(processes, sender, narration).tell(began)
        except (ProcessError, BrokerError) as error:
            narration.wrong(str(error))
            narration.say("The last lines of the logs:")
            print(processes.logs())  # noqa: T201 -- as they are, neither wrapped nor coloured
            return ExitCode.FAILED


class _Tour:
    """The chapters, on a stage."""

    def __init__(self, processes: Processes, sender: Requester, narration: Narration) -> None:
        self._processes = processes
        self._sender = sender
        self._narration = narration
        self._tally = Tally()
        self._topic = processes.mqtt.task_start_topic

    def tell(self, began: float) -> ExitCode:
        self._await_daemon("")
        for chapter in WAYS:
            self._simple(chapter)
        self._bare_id()
        self._to_the_end()
        for chapter in TROUBLES:
            self._simple(chapter)
        self._twice()
        self._outage()
        self._crash()
        return self._add_up(began)

    # ---- chapters

    def _bare_id(self) -> None:
        self._chapter(
            "A bare id, as Butler's senders publish it",
            "Programs written for Butler send nothing but an id and name no place for a reply. They work "
            "unchanged, and the reply is on a topic for everybody.",
        )
        reply = self._answered(lambda: self._publish(f"{SALES}\n"))
        self._expect(reply, {"status": "ok", "started": ["Sales Report Update"]})
        self._narration.right(f"Who cares can read it on {self._processes.mqtt.task_start_reply_topic}.")

    def _to_the_end(self) -> None:
        self._chapter(
            "Until it is done",
            "With `wait`, the reply comes when the execution has ended, and says how.",
        )
        document = {"requestId": "erp-14", "taskId": SALES, "wait": "finished"}
        reply = self._answered(lambda: self._ask(document))
        self._must(reply["tasksStarted"][0].get("result") == "succeeded", "the execution did not succeed")
        self._narration.right(
            "Others can follow it, too: all that happens to a task is told on "
            f"{self._processes.mqtt.task_event_topic}/<task id>."
        )

    def _twice(self) -> None:
        self._chapter(
            "The same request twice",
            "The sender heard nothing, or lost its memory, and publishes the same request again. Its "
            "requestId tells that it is the same.",
        )
        document = {"requestId": "erp-10", "taskId": SALES}
        first = self._answered(lambda: self._ask(document))
        self._expect(first, {"status": "ok", "started": ["Sales Report Update"]})
        before = len(self._processes.qlik.executions())
        again = self._answered(lambda: self._ask(document))
        self._must(again == first, "the second reply differs from the first")
        self._must(len(self._processes.qlik.executions()) == before, "the task was started again")
        self._narration.right(f"The same reply, and the Qlik server still counts {before} executions.")

    def _outage(self) -> None:
        self._chapter(
            "The Qlik server is down",
            "It is being restarted just when a request comes.",
        )
        self._processes.qlik.switch(listener="refuse")
        self._narration.happens("The Qlik server is switched off.")
        began = time.monotonic()
        ticket = self._ask({"requestId": "erp-11", "taskId": FINANCE})
        self._must(self._sender.receive(ticket, 1.5) is None, "there was a reply while the server was down")
        self._narration.happens("1.5 s later: no reply. The request is on disk and waits; it is not refused.")
        self._processes.qlik.switch(listener="up")
        self._narration.happens("The Qlik server is back.")
        reply = self._receive(ticket, began)
        self._expect(reply, {"status": "ok", "started": ["Financial Dashboard Reload"]})
        self._narration.right("Started as soon as it could be, without anybody asking again.")

    def _crash(self) -> None:
        self._chapter(
            "The daemon is killed in mid-work",
            "The worst moment: it has told the Qlik server to start a task and has not heard the answer.",
        )
        processes = self._processes
        processes.qlik.plant(kind="slow", path="*/start/synchronous", when="after", seconds=10)
        before = len(processes.qlik.executions())
        began = time.monotonic()
        in_hand = self._ask({"requestId": "erp-12", "tag": "urgent"})
        until(lambda: len(processes.qlik.executions()) > before, "the start arrives at the Qlik server")
        instance = self._sender.daemon.instance if self._sender.daemon else ""
        processes.kill_daemon()
        self._narration.happens("kill -9. The task runs, and nobody is there who knows for whom.")
        meanwhile = None
        if processes.broker_keeps:
            meanwhile = self._ask({"requestId": "erp-13", "taskId": SALES})
            self._narration.happens(
                "This second request came while the daemon was dead: the broker keeps it."
            )
        processes.start_daemon()
        self._await_daemon(instance)
        self._narration.happens("The daemon is started again.")
        reply = self._receive(in_hand, began)
        self._expect(reply, {"status": "ok", "started": ["Regulatory Report"]})
        if meanwhile is not None:
            self._expect(
                self._receive(meanwhile, began), {"status": "ok", "started": ["Sales Report Update"]}
            )
        self._must(
            len(processes.qlik.executions()) == before + 1 + processes.broker_keeps,
            "a task was started twice",
        )
        self._narration.right(
            "Nothing lost, nothing twice: the execution that was under way was found and is reported"
            f"{' as `adopted`' if reply['tasksStarted'][0].get('adopted') else ''}."
        )

    def _add_up(self, began: float) -> ExitCode:
        tally, qlik = self._tally, self._processes.qlik
        until(qlik.idle, "all executions end")
        # A reply too many would come now.
        self._sender.wait(lambda: self._sender.received > tally.sent, 0.5)
        executions = qlik.executions()
        tally.close(self._sender.received, executions)
        self._narration.title("The account")
        self._narration.tally(
            {
                "messages sent": tally.sent,
                "replies received": self._sender.received,
                "task starts the replies tell of, each with its execution id": len(tally.starts),
                "executions the Qlik server has really seen, the same ones": len(executions),
            }
        )
        for mistake in tally.mistakes:
            self._narration.wrong(mistake)
        if tally.mistakes:
            raise WrongTurn("the account does not balance")
        self._narration.right("Every message answered once, every task started once per request.")
        self._narration.say(
            f"   {time.monotonic() - began:.0f} s. README.md says how to use it with your own servers."
        )
        return ExitCode.OK

    # ---- what chapters are made of

    def _simple(self, chapter: Chapter) -> None:
        self._chapter(chapter.title, chapter.text)
        self._expect(self._answered(lambda: self._ask(chapter.request)), chapter.expected)
        self._narration.right(chapter.meaning)

    def _chapter(self, title: str, text: str) -> None:
        # What still runs would be another story: chapters do not wait for each other's tasks.
        until(self._processes.qlik.idle, "the executions of the last chapter end")
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
            raise WrongTurn(f"no reply within {PATIENCE_SECONDS:.0f} s; {self._sender.presence()}")
        reply: dict[str, Any] = json.loads(payload)
        self._narration.replied(reply, time.monotonic() - began)
        self._tally.enter(reply)
        return reply

    def _expect(self, reply: Mapping[str, Any], expected: Mapping[str, object]) -> None:
        self._must(gist(reply) == expected, f"expected was {dict(expected)}, not {gist(reply)}")

    def _must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise WrongTurn(otherwise)

    def _await_daemon(self, old_instance: str) -> None:
        def online() -> bool:
            self._must(self._processes.daemon_runs(), "the daemon has ended by itself")
            daemon = self._sender.daemon
            return daemon is not None and daemon.status == "online" and daemon.instance != old_instance

        if not self._sender.wait(online, PATIENCE_SECONDS):
            raise WrongTurn(f"the daemon does not come up; {self._sender.presence()}")


def _prologue(narration: Narration, processes: Processes) -> None:
    narration.title("butler-mqtt: other systems start Qlik Sense tasks")
    narration.say(
        "MQTT is a way for programs to leave each other notes: one publishes a text on a named topic, a "
        "program in the middle, the broker, hands it to whoever has subscribed to that topic, and keeps it "
        "for those who are away."
    )
    name = "mosquitto" if processes.broker == "mosquitto" else "a small one in Python, mosquitto is better"
    narration.say(
        f"For this tour three programs start on this machine: a broker ({name}), a stand-in for a Qlik Sense "
        "server, and the daemon butler-mqtt between the two. We play the system that wants tasks started."
    )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt

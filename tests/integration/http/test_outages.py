"""Qlik unreachable, the journal blocked, the daemon killed: what a caller over REST gets."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests

from tests.brokers import until
from tests.integration.http.daemon_with_listeners import ListeningDaemon

Build = Callable[..., ListeningDaemon]


def test_while_qlik_is_down_a_request_gets_202_and_is_carried_out_later(build: Build) -> None:
    listening = build(rest={"restWaitSeconds": 0.5}).start()
    task = listening.qlik.task()
    listening.qlik.switch(listener="abort")
    answer = listening.post({"taskId": task, "requestId": "later"})
    assert (answer.status_code, answer.headers["Location"]) == (202, "/v4/requests/later")
    assert listening.state("later")["status"] == "pending"
    until(lambda: requests.get(listening.monitoring + "/readyz", timeout=5).status_code == 503)
    assert requests.get(listening.monitoring + "/healthz", timeout=5).status_code == 200
    listening.qlik.switch(listener="up")
    assert listening.decided("later", 60)["totalTasksStarted"] == 1
    assert listening.qlik.executions(task) == 1
    again = listening.post({"taskId": task, "requestId": "later"})
    assert (again.status_code, again.json()["totalTasksStarted"]) == (200, 1)


def test_qlik_down_for_too_long_is_503_and_the_same_id_may_be_used_again(build: Build) -> None:
    listening = build(startTask={"requestDeadlineSeconds": 1}).start()
    task = listening.qlik.task()
    listening.qlik.switch(listener="abort")
    answer = listening.post({"taskId": task, "requestId": "again"})
    assert (answer.status_code, answer.json()["code"]) == (503, "qrs_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    listening.qlik.switch(listener="up")
    until(lambda: listening.post({"taskId": task, "requestId": "again"}).status_code == 200, seconds=30)
    assert listening.qlik.executions(task) == 1


def test_killed_between_accept_and_answer_the_retry_gets_the_answer_and_nothing_starts_twice(
    build: Build,
) -> None:
    listening = build(rest={"restWaitSeconds": 60}).start()
    task = listening.qlik.task()
    fault = listening.qlik.fault("hang", method="POST", when="after", seconds=30, count=1)
    broken: list[BaseException] = []

    def ask() -> None:
        try:
            listening.post({"taskId": task}, headers={"Idempotency-Key": "once"})
        except requests.RequestException as error:
            broken.append(error)

    caller = threading.Thread(target=ask)
    caller.start()
    until(lambda: listening.qlik.struck(fault), what="the POST is on its way")
    listening.daemon.kill()
    caller.join(10)
    assert broken, "the first answer came before the kill"
    listening.qlik.calm()
    listening.start()
    answer = listening.post({"taskId": task}, headers={"Idempotency-Key": "once"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["totalTasksStarted"] == 1
    assert listening.qlik.executions(task) == 1


def test_a_journal_that_cannot_be_written_gets_503_and_what_was_refused_never_starts(build: Build) -> None:
    listening = build().start()
    task = listening.qlik.task()
    with closing(sqlite3.connect(listening.daemon.journal, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(2) as callers:
            refused = list(callers.map(lambda _: listening.post({"taskId": task}, timeout=60), range(2)))
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (503, "not_recorded")
            assert int(answer.headers["Retry-After"]) > 0
        until(
            lambda: requests.get(listening.monitoring + "/healthz", timeout=5).status_code == 503, seconds=30
        )
        began = time.monotonic()
        at_once = listening.post({"taskId": task})
        assert (at_once.status_code, at_once.json()["code"]) == (503, "not_recorded")
        assert time.monotonic() - began < 8
        blocker.execute("ROLLBACK")
    until(lambda: requests.get(listening.monitoring + "/healthz", timeout=5).ok, seconds=30)
    answer = listening.post({"taskId": listening.qlik.task()})
    assert answer.json()["totalTasksStarted"] == 1
    assert listening.qlik.executions(task) == 0


def test_a_stop_answers_those_who_wait_and_leaves_nothing_undone(build: Build) -> None:
    listening = build(rest={"restWaitSeconds": 60}).start()
    listening.qlik.switch(listener="abort")
    task = listening.qlik.task()
    with ThreadPoolExecutor(5) as callers:
        waiting = [callers.submit(listening.post, {"taskId": task, "requestId": f"r-{n}"}) for n in range(5)]
        until(lambda: listening.daemon.rows("SELECT count(*) FROM requests")[0][0] == 5)
        assert listening.daemon.stop() == 0
        assert [call.result().status_code for call in waiting] == [202] * 5
    listening.qlik.calm()
    listening.start()
    assert all(listening.decided(f"r-{n}", 60)["status"] == "ok" for n in range(5))


def test_200_parallel_posts_start_200_tasks_and_all_are_answered(build: Build) -> None:
    listening = build().start()
    tasks = listening.qlik.tasks(200)
    with ThreadPoolExecutor(200) as callers:
        answers = list(
            callers.map(
                lambda task: requests.post(f"{listening.url}/v4/reloadtask/{task}/start", timeout=60), tasks
            )
        )
    assert [answer.status_code for answer in answers] == [200] * 200
    assert [answer.json()["tasksStarted"][0]["taskId"] for answer in answers] == tasks
    assert all(listening.qlik.executions(task) == 1 for task in tasks[::20])


def test_an_address_that_is_taken_ends_the_daemon_with_the_reason(build: Build) -> None:
    listening = build()
    with socket.socket() as other:
        other.bind(("127.0.0.1", listening.port))
        other.listen()
        listening.daemon.start(ready=False)
        assert listening.daemon.wait() == 69
    assert f"cannot listen on 127.0.0.1:{listening.port}" in listening.daemon.log()


@pytest.mark.parametrize("which", ["rest", "monitoring"])
def test_each_listener_works_without_the_other(build: Build, which: str) -> None:
    listening = build()
    off = "monitoring" if which == "rest" else "restServerConfig"
    listening.daemon.configure(**{off: {"enable": False}})
    listening.daemon.start(ready=False)
    listening.daemon.wait_log("listening on")
    url = listening.url if which == "rest" else listening.monitoring
    until(lambda: requests.get(url + "/readyz", timeout=5).ok)
    assert listening.daemon.logged("listening on") == 1

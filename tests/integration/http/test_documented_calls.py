"""The curl lines of the pages get the answers that stand below them."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from tests.integration.http.daemon_with_listeners import ListeningDaemon
from tests.project import ROOT

DOCS = ROOT / "docs"
PAIR = re.compile(
    r"^```bash\n(?P<call>curl .*?)^```\n.*?^```json\n(?P<answer>.*?)^```", re.MULTILINE | re.DOTALL
)
#: Keys that appear later.
LATER = {"result", "durationMs", "node", "message", "startedAt", "stoppedAt"}
LATER |= {"tasksQueued", "tasksPending", "tasksRunning"}
CALLS = {
    page: [
        (found["call"], json.loads(found["answer"]))
        for found in PAIR.finditer((DOCS / page).read_text("utf-8"))
    ]
    for page in ("rest.md", "moving-from-butler.md")
}


def shape(value: Any) -> Any:
    """Return keys and types, of a list those of its first entry."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in sorted(value.items()) if key not in LATER}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__ if value is not None else "str"


@pytest.mark.parametrize("page", CALLS)
def test_the_calls_of_a_page_get_the_answers_that_stand_below_them(
    listening: ListeningDaemon, page: str
) -> None:
    for call, answer in CALLS[page]:
        # A task that still runs would be queued, which the pages do not show here.
        if listening.qlik.admin("GET", "/executions?active=true"):
            for task_id in listening.qlik.admin("GET", "/starts")["tasks"]:
                listening.qlik.end(task_id)
        if "/v4/requests/erp-4711" in call:
            listening.decided("erp-4711")
        found = json.loads(answered(call, listening.url))
        if "tasksId" in answer:
            assert found["tasksId"] == answer["tasksId"], call
        assert shape(found) == shape(answer), call


def answered(call: str, url: str) -> str:
    """Return what the shell prints for a call, with the daemon at *url*."""
    done = subprocess.run(
        ["sh", "-c", call],
        env={"PATH": "/usr/bin:/bin", "BUTLER": url, "TOKEN": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_page_has_its_calls() -> None:
    assert sum(len(calls) for calls in CALLS.values()) == 10

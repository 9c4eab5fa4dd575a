"""
A burst as people send it: `mosquitto_pub` publishes, `mosquitto_sub` takes the replies.

Both cost next to nothing, so that what is measured has the machine.
"""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks.rig import START_TOPIC

_PROBE = "probe"


@dataclass(frozen=True)
class Answered:
    """What came back of a burst: `seconds` from the first PUBLISH to the last reply, and the replies."""

    seconds: float
    replies: list[dict[str, Any]]


class Flood:
    """Listens for replies in *folder*, a new one, and publishes bursts; a context manager."""

    def __init__(self, port: int, folder: Path) -> None:
        self._port = port
        self._topic = f"qliksense/flood-{uuid.uuid4().hex[:8]}/reply"
        self._file = folder / f"{uuid.uuid4().hex[:8]}.replies"

    def __enter__(self) -> Self:
        command = ["mosquitto_sub", *self._at, "-t", self._topic, "-F", "%U %p"]
        with self._file.open("wb") as file:
            self._listener = subprocess.Popen(command, stdout=file)
        deadline = time.monotonic() + 10
        while _PROBE not in self._file.read_text():
            assert time.monotonic() < deadline, "mosquitto_sub could not subscribe"
            subprocess.run(
                ["mosquitto_pub", *self._at, "-t", self._topic, "-m", _PROBE], check=True, timeout=10
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.kill()
        self._listener.wait(10)

    def burst(self, bodies: Iterable[Mapping[str, object]], *, seconds: float = 300.0) -> Answered:
        """Publish all at once and wait for a reply to each."""
        lines = [json.dumps(body) for body in bodies]
        mark = self._file.stat().st_size
        command = ["mosquitto_pub", *self._at, "-t", START_TOPIC, "-l"]
        command += ["-D", "publish", "response-topic", self._topic]
        began = time.time()
        subprocess.run(command, input="\n".join(lines), text=True, check=True, timeout=60)
        deadline = time.monotonic() + seconds
        while len(answers := self._since(mark)) < len(lines):
            assert time.monotonic() < deadline, f"{len(answers)} of {len(lines)} replies"
            time.sleep(0.1)
        return Answered(max(moment for moment, _ in answers) - began, [json.loads(one) for _, one in answers])

    @property
    def _at(self) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self._port), "-V", "5", "-q", "1"]

    def _since(self, mark: int) -> list[tuple[float, str]]:
        with self._file.open("rb") as file:
            file.seek(mark)
            whole = file.read().decode().rpartition("\n")[0]
        parts = [line.partition(" ") for line in whole.split("\n") if line]
        return [(float(moment), answer) for moment, _, answer in parts if answer != _PROBE]

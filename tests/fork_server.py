"""
The process behind `tests.programs`: it has imported the program and gives birth to copies of itself.

Its standard input is the socket of whoever started it. Each order comes as JSON with
three descriptors, the new program's standard streams; the answer is its process id.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import socket
import sys
import time
from pathlib import Path
from typing import Any

#: What most programs of the tests import, sooner or later.
PRELOADED = (
    "butler_mqtt.checks.qlik",
    "butler_mqtt.cli.main",
    "butler_mqtt.cli.requests_list",
    "butler_mqtt.cli.start_wait",
    "butler_mqtt.config.loader",
    "butler_mqtt.daemon.daemon",
    "butler_mqtt.http.application",
    "butler_mqtt.journal.sqlite",
    "butler_mqtt.simulator.serving",
    "encodings.utf_8_sig",
    "prometheus_client",
    "rich.live",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "typer._adapters",  # and with it pydantic, where another package has brought it along
    "uvicorn.lifespan.off",
)
#: Of `prctl`: exits of descendants whose parent is gone are told to this process.
PR_SET_CHILD_SUBREAPER = 36
LONGEST_ORDER = 1 << 18


def adopt(orphans: bool) -> None:
    """Become the parent of descendants whose own parent ends, or leave that to `init` again."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def serve(orders: socket.socket) -> dict[str, Any]:
    """Carry out orders; returns the order, in the copy that is to carry it out itself."""
    while True:
        text, streams, _, _ = socket.recv_fds(orders, LONGEST_ORDER, 3)
        if not text:
            os._exit(0)
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            orders.send(b"born")
            for stream in streams:
                os.close(stream)
            continue
        # An orphan is the child of the nearest ancestor that adopts it, and that is who ordered it.
        born = os.fork()
        if born:
            orders.send(str(born).encode())
            os._exit(0)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        order: dict[str, Any] = json.loads(text)
        return order


def begin(order: dict[str, Any]) -> None:
    """Make of this process what a Python with the order's environment and streams would be."""
    if order["session"]:
        os.setsid()
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(number, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.path[0] = str(Path.cwd())
    sys.argv = ["-m", *order["arguments"]]
    # That it was made some time ago must not look like a jump.
    sys.modules["butler_mqtt.clock"].STEADY.restart()


def _stream(number: int, like: io.TextIOWrapper) -> io.TextIOWrapper:
    """Open a standard stream as Python does at its start."""
    unbuffered = number != 0 and bool(os.environ.get("PYTHONUNBUFFERED"))
    raw = io.FileIO(number, "w" if number else "r", closefd=False)
    binary: Any = io.BufferedReader(raw) if number == 0 else raw if unbuffered else io.BufferedWriter(raw)
    lines = number == 2 or raw.isatty()
    return io.TextIOWrapper(binary, like.encoding, like.errors, None, lines, unbuffered)


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    # Else each copy's first collection of garbage would write to, and so copy, every page.
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as orders:
        order = serve(orders)
    begin(order)
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)

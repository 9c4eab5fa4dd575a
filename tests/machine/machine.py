"""A machine with a systemd of its own, beside this one; see `.ci/machine`. Only root can boot it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.brokers import until
from tests.project import ROOT

ENVIRON = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    # No network: packages come from where the test puts them.
    "PIP_FIND_LINKS": "/root/export",
    "PIP_NO_INDEX": "1",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "cat",
    "TERM": "dumb",
}


class Machine:
    """One that runs; `init` is its first process, seen from here."""

    def __init__(self, init: int) -> None:
        self._init = init

    def does(
        self, text: str, *, folder: str = "/root", given: bytes = b"", seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run shell text there as root; gives exit code and output, standard error with it."""
        enter = ["nsenter", "--target", str(self._init), "--all", "env", "--ignore-environment"]
        environ = [f"{name}={value}" for name, value in ENVIRON.items()]
        done = subprocess.run(
            [*enter, *environ, "sh", "-euc", f"cd {folder}\n{text}"],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(errors="replace"))

    def must(self, text: str, *, folder: str = "/root", given: bytes = b"", seconds: float = 120) -> str:
        """Run shell text that has to succeed, and give its output."""
        done = self.does(text, folder=folder, given=given, seconds=seconds)
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout


@contextlib.contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """Boot one with this machine's programs; what it writes is gone afterwards."""
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen([ROOT / ".ci/machine", folder], stdout=console, stderr=console)
    try:
        file = folder / "init"
        until(
            lambda: process.poll() is not None or (file.exists() and file.read_text()),
            seconds=60,
            what="the machine's first process",
        )
        assert process.poll() is None, (folder / "console").read_text(errors="replace")
        made = Machine(int(file.read_text()))
        until(
            lambda: made.does("systemctl is-system-running").stdout.strip() in {"running", "degraded"},
            seconds=60,
            what="the end of its start",
        )
        yield made
    finally:
        process.terminate()
        process.wait(30)

"""
The service as the pages install it, on a machine with a real systemd.

`python -m tests.machine.on_machine WHEEL` runs the blocks of docs/install.md and
mosquitto/README.md as printed, has systemd reload, kill and stop the service,
upgrades it, and makes every fault of the table in docs/troubleshooting.md, whose
command has to show its line. A few minutes; as root.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from tests.brokers import until
from tests.docs.blocks import Block, blocks
from tests.docs.test_mosquitto import same
from tests.machine.faults import ENVIRON, FAULTS, QLIK, Fault, Row, table
from tests.machine.machine import Machine, machine
from tests.project import ROOT

INSTALL = list(blocks(ROOT / "docs/install.md"))
BROKER = list(blocks(ROOT / "mosquitto/README.md"))
UPGRADE = list(blocks(ROOT / "docs/upgrade.md"))
OPERATIONS = list(blocks(ROOT / "docs/operations.md"))
#: The first block of the walk as a sender.
WALK = next(number for number, block in enumerate(BROKER) if "~/.config" in block.text)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a program of its own


def wheels(wheel: Path, python: str) -> bytes:
    """Give an archive of the package and of what it needs, as `pip download` collects them."""
    archive = BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "-qqq", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "--only-binary=:all:", "--python-version", python, "--dest", folder, f"{wheel}[alerts]"],
            check=True,
        )
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(folder, "wheels")
    return archive.getvalue()


def block_with(page: list[Block], words: str) -> Block:
    (found,) = (block for block in page if words in block.text)
    return found


def run(one: Machine, block: Block, folder: str = "/root/export") -> str:
    """Run a block as printed; a command that wants a terminal gets one."""
    say(f"  {block}")
    text = block.text.replace(
        "systemctl edit ", "SYSTEMD_EDITOR=true script -qec 'systemctl edit butler-mqtt' #"
    )
    return one.must(text, folder=folder)


def install(one: Machine, wheel: Path) -> None:
    """Follow the page, with the broker's page where it says so."""
    python = one.must("python3 -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'").strip()
    one.must("mkdir -p export && tar -x -C export --strip-components=1", given=wheels(wheel, python))
    run(one, block_with(INSTALL, "python3 -m venv /opt"))
    run(one, block_with(INSTALL, "completion"))
    run(one, block_with(INSTALL, "systemd-sysusers"))
    one.must(QLIK)
    until(
        lambda: one.does("ls export/client.pem").returncode == 0,
        seconds=30,
        what="the stand-in's certificates",
    )
    run(one, block_with(INSTALL, "install -m 600 client.pem"))
    for block in BROKER[:WALK]:
        if block.language == "sh":
            run(one, block)
    run(one, block_with(INSTALL, "echo unused"))
    (config,) = (block for block in INSTALL if block.language == "yaml")
    one.must(
        "cat >/etc/butler-mqtt/config.yaml",
        given=config.text.replace("sense.example.com", "localhost").encode(),
    )
    shown = run(one, block_with(INSTALL, "butler-mqtt check"))
    assert "WARNING" not in shown, shown
    shown = run(one, block_with(INSTALL, "systemctl enable --now"))
    assert "Active: active (running)" in shown, shown
    assert 'Status: "ready, 0 open requests' in shown, shown


def walk(one: Machine) -> None:
    """Go the walk of the broker's page as the sender."""
    for number, block in enumerate(BROKER[WALK:], WALK):
        if block.language != "sh":
            continue
        output = run(one, block)
        following = BROKER[number + 1] if number + 1 < len(BROKER) else None
        if following is not None and following.language == "json":
            assert same(json.loads(output), json.loads(following.text)), f"{following}: {output}"


def show(one: Machine, *names: str) -> dict[str, str]:
    """Give properties of the unit."""
    shown = one.must(f"systemctl show butler-mqtt --property={','.join(names)}")
    return dict(line.split("=", 1) for line in shown.splitlines())


def is_ready(one: Machine) -> bool:
    unit = show(one, "ActiveState", "StatusText")
    return unit["ActiveState"] == "active" and unit["StatusText"].startswith("ready, 0 open requests")


def ready(one: Machine) -> None:
    until(lambda: is_ready(one), seconds=60, what="ready")


def logs(one: Machine, words: str) -> None:
    until(lambda: words in one.must("journalctl -u butler-mqtt -n 30"), seconds=30, what=words)


def managed(one: Machine) -> None:
    """Have systemd do with the service what it does with any service."""
    one.must("sed -i 's/^Butler:/Butler:\\n  logLevel: debug/' /etc/butler-mqtt/config.yaml")
    one.must("systemctl reload butler-mqtt")
    logs(one, "configuration reloaded; changed: logLevel")
    one.must("sed -i '/logLevel/d' /etc/butler-mqtt/config.yaml; systemctl reload butler-mqtt")
    before = show(one, "MainPID")["MainPID"]
    one.must(f"kill -KILL {before}")
    until(lambda: show(one, "NRestarts")["NRestarts"] == "1", seconds=30, what="a restart after SIGKILL")
    ready(one)
    assert show(one, "MainPID")["MainPID"] != before
    logs(one, "staying on CPU")  # the unit lets it
    began = time.monotonic()
    one.must("systemctl stop butler-mqtt")
    say(f"  stopped in {time.monotonic() - began:.1f} s")
    assert show(one, "Result")["Result"] == "success"
    shown = one.must("systemd-analyze security butler-mqtt | tail -n 1")
    exposure = re.search(r"level for butler-mqtt\.service: ([\d.]+)", shown)
    assert exposure is not None, shown
    assert float(exposure[1]) <= 1.5
    one.must("systemctl start butler-mqtt")
    ready(one)


def hangs(one: Machine) -> None:
    """Stop the process as a hung one is stopped: the watchdog ends it, and it is started again."""
    place = "/run/systemd/system/butler-mqtt.service.d"
    one.must(f"mkdir {place}; printf '[Service]\\nWatchdogSec=4\\nRestartSec=1\\n' >{place}/quick.conf")
    one.must("systemctl daemon-reload; systemctl restart butler-mqtt")
    hung = show(one, "MainPID")["MainPID"]
    one.must(f"kill -STOP {hung}")
    until(lambda: show(one, "MainPID")["MainPID"] not in {"0", hung}, seconds=40, what="the watchdog")
    logs(one, "Failed with result 'watchdog'")
    one.must(f"rm -r {place}; systemctl daemon-reload; systemctl restart butler-mqtt")
    ready(one)


def upgrade(one: Machine) -> None:
    run(one, block_with(UPGRADE, "pip install --upgrade"))
    ready(one)
    assert "bytes, checked" in run(one, block_with(OPERATIONS, "requests backup"))


def breaks(one: Machine, fault: Fault, row: Row) -> float:
    """Make the fault, find its line with the one command, repair it; return the seconds until it showed."""
    one.must(fault.breaks, seconds=60)
    began = time.monotonic()
    shown = ""

    def found() -> bool:
        nonlocal shown
        shown = one.does(f". /root/environ\n{row.command}").stdout
        return re.search(row.pattern, shown) is not None

    try:
        until(found, seconds=fault.seconds, what=row.line)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{row.command}\n{shown}") from None
    took = time.monotonic() - began
    one.must(fault.repairs, seconds=60)
    one.must("systemctl reset-failed mosquitto butler-mqtt; systemctl restart mosquitto butler-mqtt")
    ready(one)
    return took


def faults(one: Machine) -> None:
    one.must("cat >environ", given=f"export {ENVIRON}\n".encode())
    for row in table():
        seconds = breaks(one, FAULTS[row.what], row)
        say(f"  {row.what} It shows after {seconds:.1f} s.")


def main(wheel: Path) -> None:
    """Do it all, and say what is being done."""
    steps: list[tuple[str, Callable[[Machine], None]]] = [
        ("installation", lambda one: install(one, wheel)),
        ("walk as a sender", walk),
        ("reload, kill, stop, start", managed),
        ("watchdog", hangs),
        ("upgrade, backup", upgrade),
        ("faults", faults),
    ]
    with tempfile.TemporaryDirectory() as folder, machine(Path(folder)) as one:
        for name, step in steps:
            began = time.monotonic()
            say(name)
            try:
                step(one)
            except (AssertionError, subprocess.TimeoutExpired):
                say(one.does("journalctl -u butler-mqtt -u mosquitto -n 40").stdout)
                raise
            say(f"  {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

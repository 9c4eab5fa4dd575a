"""
The Debian package on a machine with a real systemd: installed, upgraded, removed, purged.

`python -m tests.machine.debian_package DEB` follows docs/debian.md as printed. The version
before is the same package under a lower version and with another configuration. A minute; as root.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.brokers import until
from tests.docs.blocks import blocks
from tests.machine.faults import ENVIRON, QLIK
from tests.machine.machine import Machine, machine
from tests.machine.on_machine import block_with, ready, run, say, show
from tests.project import ROOT

PAGE = list(blocks(ROOT / "docs" / "debian.md"))
#: Below every version that is released.
BEFORE = "0.0.1"
CONFIG = "/etc/butler-mqtt/config.yaml"


def version_before(deb: Path, folder: Path) -> Path:
    """Make the package that an upgrade starts from."""
    content = folder / "content"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, content], check=True)
    control = content / "DEBIAN" / "control"
    control.write_text(
        re.sub(r"^Version: .*$", f"Version: {BEFORE}", control.read_text(), flags=re.MULTILINE)
    )
    config = content / CONFIG.lstrip("/")
    config.write_text(config.read_text() + "# of the version before\n")
    made = folder / f"butler-mqtt_{BEFORE}_old.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", content, made], check=True)
    return made


def version(one: Machine) -> str:
    return one.must("dpkg-query --show --showformat='${Version}' butler-mqtt")


def put(one: Machine, deb: Path) -> None:
    """Leave one package and no other in the folder of the page's commands."""
    one.must(f"mkdir -p export; rm -f export/*.deb; cat >export/{deb.name}", given=deb.read_bytes())


def install(one: Machine, deb: Path) -> None:
    """Follow the page with the version before."""
    put(one, deb)
    # A machine made of an image may leave manual pages and documentation out.
    one.must("rm -f /etc/dpkg/dpkg.cfg.d/*")
    shown = run(one, block_with(PAGE, "apt-get install"))
    assert "systemctl enable --now butler-mqtt" in shown, shown
    assert show(one, "ActiveState")["ActiveState"] == "inactive"
    one.must(QLIK)
    until(lambda: one.does("ls export/client.pem").returncode == 0, seconds=60, what="the certificates")
    run(one, block_with(PAGE, "install -m 600"))
    one.must(f"sed -i 's/sense.example.com/localhost/' {CONFIG}")
    one.must("systemd-run --quiet --unit=broker mosquitto -p 1883")
    until(lambda: one.does("mosquitto_pub -t x -n").returncode == 0, seconds=30, what="the broker")
    shown = run(one, block_with(PAGE, "butler-mqtt check"))
    assert "everything works" in shown, shown
    (reply,) = (line for line in shown.splitlines() if line.startswith("{"))
    assert json.loads(reply)["status"] == "ok", reply


def has_what_belongs_to_it(one: Machine) -> None:
    """Look at modes, manual page, completion, and what dpkg knows of it."""
    modes = one.must(
        "stat --format='%n %a %U:%G' /etc/butler-mqtt /etc/butler-mqtt/config.yaml"
        " /etc/butler-mqtt/credentials /var/lib/butler-mqtt"
    ).splitlines()
    assert modes == [
        "/etc/butler-mqtt 750 root:butler-mqtt",
        f"{CONFIG} 640 root:butler-mqtt",
        "/etc/butler-mqtt/credentials 700 root:root",
        "/var/lib/butler-mqtt 700 butler-mqtt:butler-mqtt",
    ], modes
    assert "Ask the daemon on this machine" in one.must("gunzip -c /usr/share/man/man1/butler-mqtt.1.gz")
    words = one.must(
        "bash -c '. /usr/share/bash-completion/completions/butler-mqtt;"
        " COMP_WORDS=(butler-mqtt token ad); COMP_CWORD=2; _butler_mqtt_completion butler-mqtt;"
        ' echo "${COMPREPLY[@]}"\''
    )
    assert words.strip() == "add", words
    # What the service compiled or wrote would show here.
    assert one.must("dpkg --verify butler-mqtt | grep -v ' c ' || true") == ""
    assert one.must("test -e /usr/share/doc/butler-mqtt/docs/debian.md && butler-mqtt --version")


def upgrade(one: Machine, deb: Path) -> None:
    """Install the new version over the running one: its configuration and its journal stay."""
    put(one, deb)
    one.must("cat >environ", given=f"export {ENVIRON}\n".encode())
    # Who is asked answers that the configuration stays.
    one.must("echo 'DPkg::Options {\"--force-confold\";};' >/etc/apt/apt.conf.d/keep")
    before = show(one, "MainPID")["MainPID"]
    began = time.monotonic()
    run(one, block_with(PAGE, "apt-get install"))
    ready(one)
    say(f"  upgraded in {time.monotonic() - began:.1f} s")
    assert version(one) != BEFORE
    assert show(one, "MainPID")["MainPID"] not in {"0", before}
    text = one.must(f"cat {CONFIG}")
    assert "host: localhost" in text, "the configuration was replaced"
    shown = one.must(f". /root/environ; butler-mqtt requests -c {CONFIG}")
    assert "2 succeeded" in shown, shown
    one.must("systemctl stop butler-mqtt")
    one.must(f"dpkg --force-confold -i export/{deb.name}")
    assert show(one, "ActiveState")["ActiveState"] == "inactive", "an upgrade starts what was stopped"
    one.must("systemctl start butler-mqtt")
    ready(one)


def leaves(one: Machine) -> None:
    """Remove it, which keeps what is the operator's, and purge it, which keeps nothing."""
    one.must("apt-get remove -y butler-mqtt")
    assert one.does("systemctl is-active butler-mqtt").stdout.strip() == "inactive"
    one.must(f"test ! -e /opt/butler-mqtt && test -e {CONFIG}")
    one.must("test -e /var/lib/butler-mqtt/butler-mqtt.sqlite")
    one.must("apt-get purge -y butler-mqtt")
    left = one.must("find /etc /opt /usr /var/lib /run -path '*butler-mqtt*'")
    assert left == "", left
    assert one.does("getent passwd butler-mqtt").returncode


def main(deb: Path) -> None:
    """Do it all, and say what is being done."""
    with tempfile.TemporaryDirectory() as other, tempfile.TemporaryDirectory() as folder:
        before = version_before(deb, Path(other))
        with machine(Path(folder)) as one:
            steps: list[tuple[str, Callable[[], None]]] = [
                ("installation of the package", lambda: install(one, before)),
                ("its files", lambda: has_what_belongs_to_it(one)),
                ("upgrade", lambda: upgrade(one, deb)),
                ("removal, purge", lambda: leaves(one)),
            ]
            for name, step in steps:
                began = time.monotonic()
                say(name)
                try:
                    step()
                except (AssertionError, subprocess.TimeoutExpired):
                    say(one.does("journalctl -u butler-mqtt -n 40").stdout)
                    raise
                say(f"  {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

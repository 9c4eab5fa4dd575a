"""mosquitto/README.md: its commands, run as printed against a broker, a daemon and a Qlik stand-in."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.service.process import manager, service
from tests.brokers import INSTALL, Process, free_port
from tests.docs.blocks import Block, blocks
from tests.integration.simulator.running import running
from tests.project import ROOT

FOLDER = ROOT / "mosquitto"
PAGE = list(blocks(FOLDER / "README.md"))
#: The configuration of a broker that is in use before the page is followed.
OLDER = "include_dir /etc/mosquitto/conf.d\n"


class Machine:
    """A folder that stands in for the root of the file system, and a port that stands in for 8883."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        for made in ("etc/mosquitto/certs", "etc/butler-mqtt/credentials", "var/lib/mosquitto", "home"):
            (folder / made).mkdir(parents=True)
        (folder / "etc/mosquitto/mosquitto.conf").write_text(OLDER)
        shutil.copytree(FOLDER, folder / "opt/butler-mqtt/share/butler-mqtt/mosquitto")

    def here(self, text: str) -> str:
        """Give *text* with the paths and the port of this machine."""
        text = re.sub(r"(?<![\w./])/(etc|var|opt)/", rf"{self.folder}/\1/", text)
        return re.sub(r"\b8883\b", str(self.port), text)

    def run(self, block: Block) -> str:
        """Run a block with the shell, as it is printed; give its output."""
        done = subprocess.run(
            ["sh", "-euc", self.here(block.text)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=at_home(self.folder / "home"),
        )
        assert done.returncode == 0, f"{block}: {done.stdout}{done.stderr}"
        return done.stdout

    def broker_config(self) -> None:
        """Fill in what differs where nothing is installed: paths, port, and root, who owns the files here."""
        file = self.folder / "etc/mosquitto/mosquitto.conf"
        text = self.here(file.read_text()) + ("user root\n" if os.geteuid() == 0 else "")
        file.write_text(text)


def at_home(folder: Path) -> dict[str, str]:
    """Give the environment with *folder* as the home directory."""
    environ = {name: value for name, value in os.environ.items() if name != "XDG_CONFIG_HOME"}
    return {**environ, "HOME": str(folder)}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="module")
def walk(machine: Machine) -> Iterator[Machine]:
    """Prepare everything up to the walk: broker and daemon run."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    assert program is not None, INSTALL
    for block in PAGE[: WALK[0]]:
        if block.mark == "run":
            machine.run(block)
    machine.broker_config()
    broker = Process(program)
    broker.start(machine.folder / "etc/mosquitto", machine.port)
    try:
        with running(machine.folder / "qrs") as site, manager() as systemd:
            config = machine.folder / "etc/butler-mqtt/config.yaml"
            where = urlsplit(site.url)
            (yaml,) = (block.text for block in PAGE if block.language == "yaml")
            config.write_text(
                f"Butler:\n{machine.here(yaml)}"
                f"  configQRS: {{ host: {where.hostname}, port: {where.port} }}\n"
                f"  cert: {{ clientCert: {site.certs}/client.pem, clientCertKey: {site.certs}/client_key.pem,"
                f" clientCertCA: {site.certs}/root.pem }}\n"
            )
            credentials = {"CREDENTIALS_DIRECTORY": str(config.parent / "credentials")}
            with service(config, {**systemd.environ, **credentials}) as daemon:
                try:
                    systemd.waits_for("READY=1")
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{daemon.log()}\n{broker.log()}") from None
                yield machine
    finally:
        broker.close()


#: Where the walk begins: the block that writes the clients' options.
WALK = [number for number, block in enumerate(PAGE) if "~/.config" in block.text]


def test_the_walk_goes_as_printed(walk: Machine) -> None:
    steps = PAGE[WALK[0] :]
    shown = 0
    for number, block in enumerate(steps):
        if block.language != "sh":
            continue
        assert block.mark == "run"
        output = walk.run(block)
        following = steps[number + 1] if number + 1 < len(steps) else None
        if following is not None and following.language == "json":
            assert same(json.loads(output), json.loads(following.text)), f"{following}: {output}"
            shown += 1
    assert shown >= 4


def test_a_configuration_that_was_there_is_kept(walk: Machine) -> None:
    place = walk.folder / "etc/mosquitto"
    assert (place / "mosquitto.conf.~1~").read_text() == OLDER
    assert OLDER not in (place / "mosquitto.conf").read_text()


def same(given: object, printed: object) -> bool:
    """Compare, where … stands for anything but nothing."""
    if printed == "…":
        return bool(given)
    if isinstance(given, dict) and isinstance(printed, dict):
        return list(given) == list(printed) and all(same(given[key], printed[key]) for key in given)
    if isinstance(given, list) and isinstance(printed, list):
        return len(given) == len(printed) and all(map(same, given, printed))
    return given == printed


def as_user(machine: Machine, user: str) -> dict[str, str]:
    """Give the environment of a user of the broker, whose options the page has written for erp."""
    home = machine.folder / f"home-{user}"
    (home / ".config").mkdir(parents=True, exist_ok=True)
    password = (machine.folder / f"etc/mosquitto/{user}.password").read_text().strip()
    for program in ("mosquitto_sub", "mosquitto_pub", "mosquitto_rr"):
        text = (machine.folder / "home/.config/mosquitto_pub").read_text()
        lines = [line for line in text.splitlines() if not line.startswith(("-u", "-P"))]
        (home / ".config" / program).write_text("\n".join([*lines, f"-u {user}", f"-P {password}", ""]))
    return at_home(home)


def client(environ: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)


def test_a_sender_does_not_read_the_replies_of_another(walk: Machine) -> None:
    walk.run(PAGE[WALK[0]])
    crm, erp = as_user(walk, "crm"), as_user(walk, "erp")
    spy = ("mosquitto_sub", "-i", "spy", "-c", "-x", "60", "-q", "1", "-t", "qliksense/#")
    assert client(crm, *spy, "-E").returncode == 0
    request = json.dumps({"requestId": "erp-secret", "tag": "urgent", "dryRun": True})
    asked = ("mosquitto_rr", "-q", "1", "-t", "qliksense/task/start", "-W", "30", "-m", request)
    assert client(erp, *asked, "-e", "qliksense/reply/erp/x").returncode == 0
    own = client(crm, *asked[:-1], request.replace("erp-secret", "crm-own"), "-e", "qliksense/reply/crm/x")
    assert own.returncode == 0
    read = client(crm, *spy, "-C", "1", "-W", "10", "-v")
    assert read.stdout.startswith("qliksense/reply/crm/x ")
    assert "erp-secret" not in read.stdout


def test_nobody_gets_in_without_a_password(walk: Machine) -> None:
    done = client(
        at_home(walk.folder),
        *("mosquitto_pub", "-h", "localhost", "-p", str(walk.port), "-t", "qliksense/task/start", "-m", "x"),
        *("--cafile", str(walk.folder / "etc/butler-mqtt/mqtt-ca.pem"), "-V", "mqttv5"),
    )
    assert done.returncode != 0
    assert "not authori" in done.stdout.lower() + done.stderr.lower()


def test_the_root_blocks_name_files_of_the_configuration() -> None:
    configured = (FOLDER / "mosquitto.conf").read_text()
    for name in ("password_file", "acl_file", "keyfile"):
        found = re.search(rf"^{name} (\S+)$", configured, re.MULTILINE)
        assert found is not None
        assert any(found[1] in block.text for block in PAGE if block.mark == "root"), found[1]

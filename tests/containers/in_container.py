"""
The image as its page builds it, and a container as `compose.yaml` describes it.

`python -m tests.containers.in_container WHEEL` needs a Docker engine with the images
of `.ci/base-image` and `.ci/engine-image`, and no network: broker, simulator and
daemon share the loopback of one container. A minute or two.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from tests.brokers import until
from tests.docs.blocks import blocks
from tests.machine.on_machine import wheels
from tests.project import ROOT

DOCKER = ROOT / "deploy" / "docker"
BASE = "debian-python:ci"
IMAGE = "butler-mqtt"
#: The user of the image, see its Dockerfile.
UID = 10001
REQUEST = {"requestId": "container-1", "tag": ["daily-reports"]}


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a program of its own


def docker(*arguments: str, seconds: float = 300) -> str:
    """Run a command of Docker that has to succeed, and give its output."""
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"docker {shlex.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def inspect(container: str, what: str) -> Any:
    return json.loads(docker("inspect", "--format", f"{{{{json {what}}}}}", container))


def build(wheel: Path, folder: Path) -> None:
    """Run the page's own command, on a base that is at hand and without a network."""
    python = docker(
        "run",
        "--rm",
        "--network=none",
        BASE,
        "python3",
        "-c",
        "import sys; print(*sys.version_info[:2], sep='.')",
    )
    with tarfile.open(fileobj=BytesIO(wheels(wheel, python))) as archive:
        archive.extractall(folder, filter="data")
    page = blocks(ROOT / "docs" / "docker.md")
    (command,) = next(block for block in page if "docker build" in block.text).text.splitlines()
    offline = f"--build-arg BASE={BASE} --build-arg PIP_ARGS=--no-index --network none"
    _, _, rest = command.partition("docker build ")
    words = shlex.split(f"build {offline} {rest}")
    assert words[-1] == "dist", command
    docker(*words[:-1], str(folder / "wheels"))


def options(service: dict[str, Any], secrets: Path, volume: str) -> list[str]:
    """Give what a service of compose.yaml says as options of `docker run`."""
    known = {
        "image", "restart", "depends_on", "read_only", "tmpfs", "cap_drop", "security_opt",
        "stop_grace_period", "environment", "secrets", "volumes", "ports",
    }  # fmt: skip
    assert set(service) <= known, set(service) - known
    found = [f"--stop-timeout={service['stop_grace_period'].removesuffix('s')}"]
    found += ["--read-only"] if service["read_only"] else []
    found += [f"--tmpfs={place}" for place in service["tmpfs"]]
    found += [f"--cap-drop={name}" for name in service["cap_drop"]]
    found += [f"--security-opt={name}" for name in service["security_opt"]]
    # All of it is on one loopback here.
    found += [f"--env={name}=localhost" for name in service["environment"]]
    found += [f"--volume={secrets / name}:/run/secrets/{name}:ro" for name in service["secrets"]]
    places = [one.partition(":")[2] for one in service["volumes"]]
    assert len(places) == 1, places
    return [*found, f"--volume={volume}:{places[0]}"]


class Site:
    """Broker, simulator and daemon in containers with one network."""

    def __init__(self, folder: Path, made: list[str]) -> None:
        self.made = made
        compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
        self._service = compose["services"]["butler-mqtt"]
        # The image of .ci/engine-image has no user of mosquitto's own.
        conf = folder / "mosquitto.conf"
        conf.write_text((DOCKER / "mosquitto.conf").read_text() + "user root\n")
        self.broker = self.run(
            "--network=none",
            f"--volume={conf}:/mosquitto/config/mosquitto.conf:ro",
            "--tmpfs=/mosquitto/data:mode=1777",
            compose["services"]["mosquitto"]["image"],
        )
        certs = folder / "certs"
        certs.mkdir(mode=0o777)
        certs.chmod(0o777)
        self.run(
            f"--network=container:{self.broker}",
            f"--volume={certs}:/certs",
            IMAGE,
            "simulate-qrs",
            "--certs",
            "/certs",
        )
        until(lambda: (certs / "client_key.pem").exists() and (certs / "server_key.pem").exists(), seconds=60)
        secrets = folder / "secrets"
        for block in blocks(ROOT / "docs" / "docker.md"):
            if "install -m 400" in block.text:
                lines = [line for line in block.text.splitlines() if line.startswith("install ")]
        script = "\n".join(lines).replace("secrets", str(secrets))
        subprocess.run(["sh", "-euc", script], cwd=certs, check=True)
        self.volume = docker("volume", "create")
        self._secrets = secrets

    def run(self, *arguments: str) -> str:
        """Run a container until the end, and give its id."""
        container = docker("run", "--detach", *arguments)
        self.made.append(container)
        return container

    def daemon(self) -> str:
        """Run the daemon as the service of compose.yaml and wait until it is healthy."""
        told = options(self._service, self._secrets, self.volume)
        # Not as rarely as a service is asked.
        quick = ["--health-interval=1s", f"--network=container:{self.broker}"]
        container = self.run(*told, *quick, self._service["image"])
        until(
            lambda: self.health(container) == "healthy", seconds=90, what=f"healthy:\n{self.log(container)}"
        )
        return container

    def health(self, container: str) -> str:
        return str(inspect(container, ".State.Health.Status"))

    def log(self, container: str) -> str:
        done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def ask(self, payload: str) -> dict[str, Any]:
        """Ask as the page does: subscribe, publish, and give the reply."""
        net = f"--net=/proc/{inspect(self.broker, '.State.Pid')}/ns/net"
        topic = "qliksense/task/start"
        heard = subprocess.Popen(
            [
                "nsenter",
                net,
                "stdbuf",
                "-oL",
                "mosquitto_sub",
                "-h",
                "localhost",
                "-t",
                f"{topic}/reply",
                "-C",
                "1",
                "-W",
                "60",
                "-d",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert heard.stdout is not None
        while "SUBACK" not in (line := heard.stdout.readline()):
            assert line, "no subscription"
        subprocess.run(
            ["nsenter", net, "mosquitto_pub", "-h", "localhost", "-q", "1", "-t", topic, "-m", payload],
            check=True,
        )
        lines = heard.communicate(timeout=90)[0].splitlines()
        (reply,) = (line for line in lines if line.startswith("{"))
        answer: dict[str, Any] = json.loads(reply)
        return answer


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Remove all containers at the end."""
    made: list[str] = []
    volumes: list[str] = []
    try:
        one = Site(folder, made)
        volumes.append(one.volume)
        yield one
    finally:
        for kind, names in (("rm", made[::-1]), ("volume", volumes)):
            for name in names:
                docker(kind, *(["--force", "--volumes"] if kind == "rm" else ["rm", "--force"]), name)


def serves(one: Site) -> None:
    """Send the page's request to the container, twice with one id and a restart between."""
    daemon = one.daemon()
    answer = one.ask(json.dumps(REQUEST))
    assert answer["status"] == "ok", answer
    assert answer["tasksStarted"], answer
    assert "everything works" in docker("exec", daemon, "butler-mqtt", "check").splitlines()[-1]
    say("  a request is answered, check finds nothing wrong")

    began = time.monotonic()
    docker("stop", daemon)
    assert inspect(daemon, ".State.ExitCode") == 0, one.log(daemon)
    assert time.monotonic() - began < 30, one.log(daemon)
    say(f"  stopped in {time.monotonic() - began:.1f} s with code 0")

    after = one.daemon()
    assert one.ask(json.dumps(REQUEST)) == answer
    docker("kill", "--signal=HUP", after)
    until(lambda: "configuration reloaded" in one.log(after), seconds=30, what="a reload")
    say("  after a restart the journal is there; HUP reloads")


def is_confined(one: Site) -> None:
    """Look at the process from outside: not root, process 1, nothing to write to but its folders."""
    daemon = one.made[-1]
    pid = inspect(daemon, ".State.Pid")
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == {str(UID)}
    assert status["NSpid"].split()[-1] == "1"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    for place in ("/", "/etc/butler-mqtt", "/opt/butler-mqtt", "/run/secrets"):
        done = subprocess.run(
            ["docker", "exec", daemon, "touch", f"{place}/written"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode, f"{place} can be written"
    shown = docker("inspect", daemon)
    assert "PRIVATE KEY" not in shown
    say("  not root, process 1, no capabilities, read-only but for the journal")


def is_unhealthy_without_the_daemon(one: Site) -> None:
    """A process that hangs fails the health check."""
    daemon = one.made[-1]
    docker("pause", daemon)
    docker("unpause", daemon)
    pid = inspect(daemon, ".State.Pid")
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    until(lambda: one.health(daemon) == "unhealthy", seconds=90, what="unhealthy")
    subprocess.run(["kill", "-CONT", str(pid)], check=True)
    until(lambda: one.health(daemon) == "healthy", seconds=60, what="healthy again")
    say("  a process that hangs is unhealthy, and healthy again when it goes on")


def main(wheel: Path) -> None:
    """Do it all, and say what is being done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Its files are mounted for other users.
        folder.chmod(0o755)
        began = time.monotonic()
        build(wheel, folder)
        say(
            f"image built in {time.monotonic() - began:.0f} s, {int(inspect(IMAGE, '.Size')) // 1_000_000} MB"
        )
        with site(folder) as one:
            for step in (serves, is_confined, is_unhealthy_without_the_daemon):
                began = time.monotonic()
                say(step.__name__)
                step(one)
                say(f"  {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

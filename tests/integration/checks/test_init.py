"""`butler-mqtt init`: what it writes, what it leaves alone, how it ends."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from butler_mqtt.cli import first_configuration, shipped_file
from butler_mqtt.cli.first_configuration import Answers
from butler_mqtt.cli.shipped_file import InitError
from butler_mqtt.config import loader
from butler_mqtt.exit_codes import ExitCode
from tests import programs
from tests.brokers import Mosquitto, free_port
from tests.integration.simulator.running import Client
from tests.project import ROOT

COMMAND = [sys.executable, "-m", "butler_mqtt", "init"]
SHIPPED = (ROOT / "config.yaml").read_text("utf-8")


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it in *folder* with nobody to ask."""
    return programs.run([*COMMAND, *options], cwd=folder, stdin=subprocess.DEVNULL)


def export(folder: Path, *names: str) -> Path:
    """Put empty files of these names into *folder*, all three without names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or first_configuration.FILES.values():
        (folder / name).touch()
    return folder


def test_it_writes_a_configuration_that_works_and_checks_it(
    tmp_path: Path, broker: Mosquitto, site: Client
) -> None:
    where = urlsplit(site.simulator.url).netloc
    shutil.copytree(site.simulator.certs, tmp_path / "export" / "sense1")
    done = run(
        tmp_path,
        *("--broker-host", f"127.0.0.1:{broker.port}", "--qlik-host", where),
        *("--certificates", "export", "--user", r"INTERNAL\sa_repository"),
    )
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    assert done.stdout.endswith("everything works\n")
    settings = loader.load(tmp_path / "config.yaml", {})
    assert settings.mqtt.broker_port == broker.port
    assert settings.qrs.client_cert == tmp_path / "export" / "sense1" / "client.pem"
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == 0o644
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []


def test_a_token_for_the_proxy_takes_the_place_of_the_certificates(
    tmp_path: Path, broker: Mosquitto, site: Client
) -> None:
    certs = site.simulator.certs
    proxy = urlsplit(site.simulator.proxy_url).netloc
    shutil.copy(certs / "butler.jwt", tmp_path)
    done = run(
        tmp_path,
        *("--broker-host", f"127.0.0.1:{broker.port}", "--qlik-host", proxy),
        *("--jwt", "butler.jwt", "--virtual-proxy", "butler", "--ca", str(certs / "root.pem")),
    )
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    assert done.stdout.endswith("everything works\n")
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())["Butler"]
    assert written["configQRS"]["jwtFile"] == "butler.jwt"
    assert written["cert"]["clientCert"] is None


#: A file of Butler 8 with REST open to the network.
BUTLER_8 = """
Butler:
  slackNotification: {{ enable: false }}
  mqttConfig: {{ brokerHost: 127.0.0.1, brokerPort: {broker}, taskStartTopic: qliksense/start_task }}
  restServerConfig: {{ enable: true, serverHost: 10.1.1.1, serverPort: {rest} }}
  cert:
    clientCert: certs/client.pem
    clientCertKey: certs/client_key.pem
    clientCertCA: certs/root.pem
  configQRS:
    host: {host}
    port: {port}
    headerKey: X-Qlik-User
    headerValue: UserDirectory=INTERNAL; UserId=sa_repository
"""


def test_a_configuration_of_butler_becomes_one_that_works_and_names_what_to_decide(
    tmp_path: Path, broker: Mosquitto, site: Client
) -> None:
    where = urlsplit(site.simulator.url)
    shutil.copytree(site.simulator.certs, tmp_path / "certs")
    text = BUTLER_8.format(broker=broker.port, rest=free_port(), host=where.hostname, port=where.port)
    (tmp_path / "butler.yaml").write_text(text)
    done = run(tmp_path, "--from-butler", "butler.yaml")
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    checked, decide = done.stdout.split("\nTo decide")
    assert checked.endswith("everything works\n")
    assert "restServerConfig.serverHost: was 10.1.1.1 (line 5)" in decide
    assert loader.load(tmp_path / "config.yaml", {}).qrs.client_cert == tmp_path / "certs/client.pem"


def test_what_to_decide_is_named_after_a_check_that_fails_too(tmp_path: Path) -> None:
    (tmp_path / "butler.yaml").write_text(BUTLER_8.format(broker=9, rest=9, host="127.0.0.1", port=9))
    done = run(tmp_path, "--from-butler", "butler.yaml")
    assert done.returncode == ExitCode.CONFIG
    assert "client.pem does not exist" in done.stderr
    assert "To decide" in done.stdout


def test_a_file_that_is_there_is_left_as_it_is_for_butlers_too(tmp_path: Path) -> None:
    (tmp_path / "butler.yaml").write_text(BUTLER_8.format(broker=9, rest=9, host="127.0.0.1", port=9))
    (tmp_path / "config.yaml").write_text("mine\n")
    done = run(tmp_path, "--from-butler", "butler.yaml")
    assert done.returncode == ExitCode.FAILED
    assert "--force" in done.stderr
    assert (tmp_path / "config.yaml").read_text() == "mine\n"


@pytest.mark.parametrize("options", [(), ("--force", "--output", ".")], ids=["", "with-force"])
def test_a_file_of_butler_that_is_not_there_is_named(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, "--from-butler", "butler.yaml", *options)
    assert done.returncode == ExitCode.CONFIG
    assert "butler.yaml: 1 problem" in done.stderr
    assert "does not exist" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options",
    [("--ca", "x"), ("--virtual-proxy", "x"), ("--jwt", "x", "--certificates", "y"), ("--from-butler", "x")],
    ids=str,
)
def test_options_of_two_ways_to_log_in_are_a_usage_error(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, "--qlik-host", "127.0.0.1:9", *options)
    assert done.returncode == ExitCode.USAGE
    assert list(tmp_path.iterdir()) == []


def test_it_ends_with_the_code_of_the_check(tmp_path: Path) -> None:
    export(tmp_path)
    done = run(tmp_path, "--qlik-host", "127.0.0.1:9", "--broker-host", "127.0.0.1:9")
    assert done.returncode == ExitCode.CONFIG, done.stdout
    done = run(tmp_path, "--qlik-host", "127.0.0.1:9", "--output", "missing/config.yaml")
    assert done.returncode == ExitCode.FAILED
    assert "missing" in done.stderr


def test_a_broker_that_is_away_ends_it_with_69(tmp_path: Path, site: Client) -> None:
    where = urlsplit(site.simulator.url).netloc
    done = run(
        tmp_path,
        *("--broker-host", "127.0.0.1:9", "--qlik-host", where),
        *("--certificates", str(site.simulator.certs)),
    )
    assert done.returncode == ExitCode.UNAVAILABLE
    assert "NO ANSWER  broker.login" in done.stdout


def test_without_a_server_and_a_terminal_it_says_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "--qlik-host" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_left_as_it_is_without_force(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("mine\n")
    done = run(tmp_path, "--qlik-host", "127.0.0.1:9")
    assert done.returncode == ExitCode.FAILED
    assert "--force" in done.stderr
    assert file.read_text() == "mine\n"
    run(tmp_path, "--qlik-host", "127.0.0.1:9", "--force")
    assert "127.0.0.1" in file.read_text()


def test_a_file_made_in_the_meantime_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("mine\n")
    with pytest.raises(InitError, match="--force"):
        shipped_file.write(file, "ours\n", secret=False, force=False)
    assert [one.read_text() for one in tmp_path.iterdir()] == ["mine\n"]


#: What is asked, and what is answered.
TALK = {
    "Broker": "127.0.0.1:9",
    "User at the broker": "butler",
    "Its password": "s3cret",
    "Qlik Sense server": "127.0.0.1:9",
    "Folder": "",
    "User at Qlik Sense": "",
}


def talk(folder: Path, answers: Mapping[str, str | Sequence[str]]) -> tuple[int, str]:
    """Run it on a terminal; give the exit code and what it said. Several answers are given in turn."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        COMMAND, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    said = ""
    waiting = [
        (question, one)
        for question, given in answers.items()
        for one in ([given] if isinstance(given, str) else given)
    ]
    try:
        # The end of a terminal is an error to whoever reads it.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096).decode():
                said += part
                if waiting and re.search(rf"{waiting[0][0]}.*: $", said):
                    os.write(ours, f"{waiting.pop(0)[1]}\n".encode())
        return process.wait(60), said
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_terminal_is_asked_and_a_password_is_for_the_owner_only(tmp_path: Path) -> None:
    export(tmp_path)
    code, said = talk(tmp_path, TALK)
    file = tmp_path / "config.yaml"
    assert code == ExitCode.CONFIG, said
    written = yaml.safe_load(file.read_text())["Butler"]
    assert written["mqttConfig"]["username"] == "butler"
    assert written["mqttConfig"]["password"] == "s3cret"
    assert written["configQRS"]["port"] == 9
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("question", "answers", "why"),
    [
        ("Qlik Sense server", ["", "127.0.0.1:9"], "an answer is needed here"),
        ("Qlik Sense server", [" ", "127.0.0.1:9"], "an answer is needed here"),
        ("Qlik Sense server", ["sense:x", "127.0.0.1:9"], "'sense:x' is not HOST or HOST:PORT"),
        ("Broker", ["broker:0", "127.0.0.1:9"], "'broker:0' is not HOST or HOST:PORT"),
        ("Its password", ["", "s3cret"], "an answer is needed here"),
        ("User at Qlik Sense", ["me", ""], "'me' is no user of Qlik Sense"),
    ],
)
def test_a_question_that_is_asked_again_says_why(
    tmp_path: Path, question: str, answers: list[str], why: str
) -> None:
    export(tmp_path)
    code, said = talk(tmp_path, {**TALK, question: answers})
    assert code == ExitCode.CONFIG, said
    _, _, then = said.partition(why)
    assert "; Ctrl-C ends this, and nothing is written" in then
    assert re.search(rf"^{question}.*: ", then.replace("\r", ""), re.MULTILINE)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["Butler"]["configQRS"]["port"] == 9


@pytest.mark.parametrize("options", [("--qlik-host", "127.0.0.1:9"), ("--from-butler", "butler.yaml")])
def test_without_certificates_it_says_what_comes_next_and_promises_no_report(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "butler.yaml").write_text(BUTLER_8.format(broker=9, rest=9, host="127.0.0.1", port=9))
    done = run(tmp_path, *options)
    assert done.returncode == ExitCode.CONFIG
    assert done.stdout.startswith("config.yaml is written")
    assert "check reports" not in done.stdout
    assert done.stderr.startswith("It cannot be used before this is mended; butler-mqtt check -c config.yaml")
    assert "client.pem does not exist" in done.stderr


def test_comments_and_all_other_lines_stay() -> None:
    filled = shipped_file.filled(
        SHIPPED, first_configuration.values(Answers(qlik_host="qlik.lan", user=r"DOM\me"), Path("/none"))
    )
    changed = [
        (one, other)
        for one, other in zip(SHIPPED.splitlines(), filled.splitlines(), strict=True)
        if one != other
    ]
    assert changed == [
        ("    host: sense.example.com", "    host: qlik.lan"),
        (
            "          value: UserDirectory=INTERNAL; UserId=sa_repository",
            "          value: UserDirectory=DOM; UserId=me",
        ),
    ]


@pytest.mark.parametrize("value", ["plain", "a: b", "#x", "null", "12", "yes", "it's", 'a"b', "ü ß", "a\\b"])
def test_a_value_is_read_back_as_it_was_given(value: str) -> None:
    filled = shipped_file.filled(SHIPPED, {("mqttConfig", "username"): value})
    assert yaml.safe_load(filled)["Butler"]["mqttConfig"]["username"] == value


def test_a_key_that_the_shipped_file_lacks_is_a_fault() -> None:
    with pytest.raises(InitError, match=r"mqttConfig\.nothing"):
        shipped_file.filled(SHIPPED, {("mqttConfig", "nothing"): "x"})


def test_each_key_is_set_in_its_own_section_only() -> None:
    written = yaml.safe_load(shipped_file.filled(SHIPPED, {("monitoring", "port"): 1}))["Butler"]
    assert (written["monitoring"]["port"], written["configQRS"]["port"]) == (1, 4242)


@pytest.mark.parametrize("folder", ["", "sense1.lab.local", "sense1", "whatever"])
def test_certificates_are_found_in_the_folder_or_one_named_after_the_host(
    tmp_path: Path, folder: str
) -> None:
    export(tmp_path / folder)
    found = first_configuration.certificates(tmp_path, "sense1.lab.local")
    assert found["clientCertCA"] == tmp_path / folder / "root.pem"


def test_the_folder_named_after_the_host_is_preferred(tmp_path: Path) -> None:
    export(tmp_path / "a")
    export(tmp_path / "sense1.lab.local")
    assert (
        first_configuration.certificates(tmp_path, "sense1.lab.local")["clientCert"].parent.name
        == "sense1.lab.local"
    )


def test_several_exports_that_could_be_meant_are_named(tmp_path: Path) -> None:
    export(tmp_path / "one")
    export(tmp_path / "two")
    with pytest.raises(InitError, match="one, two"):
        first_configuration.certificates(tmp_path, "sense1.lab.local")


@pytest.mark.parametrize("folder", ["", "sense1"])
def test_an_export_without_the_secret_key_is_named(tmp_path: Path, folder: str) -> None:
    export(tmp_path / folder, "client.pem", "root.pem")
    with pytest.raises(InitError, match=r"lacks client_key\.pem: export .* secret key"):
        first_configuration.certificates(tmp_path, "sense1")


def test_nothing_is_written_when_the_certificates_asked_for_are_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "--qlik-host", "sense1", "--certificates", "nowhere")
    assert done.returncode == ExitCode.FAILED
    assert "client.pem" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("sense1", "sense1", None),
        ("sense1:4243", "sense1", 4243),
        ("fe80::1", "fe80::1", None),
        ("[fe80::1]:4243", "fe80::1", 4243),
        ("[fe80::1]", "fe80::1", None),
    ],
)
def test_a_host_may_have_a_port(text: str, host: str, port: int | None) -> None:
    assert first_configuration.host_and_port(text) == (host, port)


@pytest.mark.parametrize("text", ["sense1:x", "sense1:0", "sense1:70000"])
def test_a_port_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InitError, match="HOST:PORT"):
        first_configuration.host_and_port(text)


def test_a_user_is_given_as_windows_writes_it_or_as_the_header_does() -> None:
    header = "UserDirectory=DOM; UserId=me"
    assert first_configuration.qlik_user(r"DOM\me") == header
    assert first_configuration.qlik_user(header) == header
    with pytest.raises(InitError, match="DIRECTORY"):
        first_configuration.qlik_user("me")

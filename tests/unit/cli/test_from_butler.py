"""`init --from-butler`: files of Butler become ours: the same meaning, a comment on each change."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from butler_mqtt.cli import from_butler, shipped_file
from butler_mqtt.config import loader, schema
from butler_mqtt.config.butler_conversion import Conversion
from butler_mqtt.config.yaml_file import Place
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.settings import KeyValueStoreSettings, Settings
from tests.unit.config.configuration_files import PEM, load_whole

PAIR = """headerKey: X-Qlik-User
    headerValue: UserDirectory=Internal; UserId=sa_repository"""
CERT = """cert:
    clientCert: client.pem
    clientCertKey: client_key.pem
    clientCertCA: root.pem"""
#: What this program reads of files of these versions, and some that it does not.
FILES = {
    "2": f"""
Butler:
  slackConfig: {{ webhookURL: https://hooks.test/1 }}
  gitHub: {{ username: me }}
  mqttConfig:
    brokerHost: 10.11.12.13
    brokerPort: 1884
    taskFailureTopic: qliksense/task_failure
  restServerConfig: {{ serverPort: 8081 }}
  configQRS:
    authentication: certificates
    host: sense.test
    useSSL: true
    port: 4243
    {PAIR}
    cert: client.pem
    key: client_key.pem
    ca: root.pem
  qvdPath: D:\\qvd
""",
    "5": f"""
Butler:
  logLevel: verbose
  fileLogging: true
  mqttConfig:
    enable: true
    brokerHost: broker.test
    brokerPort: 1883
    taskFailureSendFull: true
    subscriptionRootTopic: qliksense/#
    taskStartTopic: qliksense/start_task
  restServerConfig: {{ enable: true, serverHost: localhost, serverPort: 8083 }}
  restServerEndpointsEnable: {{ keyValueStore: false, senseStartTask: true, fileCopy: true }}
  keyValueStore: {{ enable: true, maxKeysPerNamespace: 50 }}
  {CERT}
  configQRS:
    host: sense.test
    {PAIR}
""",
    "6": f"""
Butler:
  mqttConfig: {{ enable: true, brokerHost: broker.test, taskStartTopic: plant/start }}
  restServerConfig: {{ enable: false, serverHost: 10.1.1.1, serverPort: 8080, backgroundServerPort: 8081 }}
  {CERT}
    rejectUnauthorized: false
  configQRS:
    host: sense.test
    {PAIR}
""",
    "12": f"""
Butler:
  emailNotification: {{ enable: true }}
  mqttConfig:
    enable: true
    brokerHost: broker.test
    azureEventGrid: {{ enable: false, clientId: <client ID> }}
    taskStartTopic: plant/start
  startTaskFilter:
    enable: false
    allowTask:
      taskId:
        - E3B27F50-b1c0-4879-88fc-c7cdd9c1cf3e
      tag: [startTask1, "a: b # c"]
      customProperty:
        - name: taskGroup
          value: tasks1
        - name: taskGroup
          value: "2"
  {CERT}
  configQRS:
    host: sense.test
    rejectUnauthorized: true
    {PAIR}
""",
    "16": f"""
Butler:
  webhookNotification: {{ rebootOnFailure: true }}
  mqttConfig: {{ enable: true, brokerHost: broker.test, brokerPort: 1885, taskStartTopic: plant/start }}
  restServerConfig:
    enable: true
    serverHost: 127.0.0.1
    serverPort: 8082
    tls: {{ enable: true, cert: rest.pem, key: rest.pem, ca: null }}
  startTaskFilter: {{ enable: false, allowTask: {{ taskId: , tag: , customProperty: }} }}
  keyValueStore: {{ enable: true }}
  {CERT}
    clientCertPassphrase:
  configQRS:
    host: sense.test
    headers:
      static:
        - name: X-Qlik-User
          value: UserDirectory=Internal;UserId=sa_repository
        - name: X-Site
          value: "7"
    rejectUnauthorized: false
""",
}
BY_VERSION = pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in FILES.items()])


#: Sections that are here too; of these, each key that is left out is named.
SECTIONS = schema.schema()["properties"]["Butler"]["properties"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("client.pem", "client_key.pem", "root.pem", "rest.pem"):
        (tmp_path / name).write_text(PEM)
    return tmp_path


def converted(folder: Path, text: str, output: str = "ours.yaml") -> tuple[Conversion, list[str]]:
    """Write *text* as ours; give what was made of it and the lines of the file."""
    source = folder / "butler.yaml"
    source.write_text(text)
    made = from_butler.write(source, folder / output, force=False)
    return made, (folder / output).read_text().splitlines()


def comment_above(lines: list[str], key: str) -> str:
    """Give the comment right above the first line of *key*, in one line and without its signs."""
    end = next(n for n, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
    start = next(n for n in range(end - 1, -1, -1) if not lines[n].strip().startswith("#"))
    return " ".join(line.strip().removeprefix("#").strip() for line in lines[start + 1 : end])


def meaning(settings: Settings) -> Settings:
    """Give the settings less what tells of the file they were read from."""
    return replace(settings, ignored=(), older=(), notifications=())


@BY_VERSION
def test_the_file_has_the_meaning_of_the_one_it_was_made_of(folder: Path, text: str) -> None:
    original = load_whole(folder, text)
    converted(folder, text)
    ours = loader.load(folder / "ours.yaml", {})
    assert meaning(ours) == meaning(original)
    assert (ours.ignored, ours.older) == ((), ())


def leaves(file: Path) -> dict[Place, object]:
    """Give the values of a file by place, less what means nothing: an empty list, text or section."""
    found = {}

    def walk(value: object, place: Place) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, (*place, key))
        elif value not in (None, [], ""):
            found[place] = value

    walk(loader.read(file).value, ())
    return found


@BY_VERSION
def test_every_value_that_is_not_as_it_was_has_a_comment(folder: Path, text: str) -> None:
    _, lines = converted(folder, text)
    (folder / "shipped.yaml").write_text(shipped_file.template())
    theirs, ours, shipped = (leaves(folder / f"{name}.yaml") for name in ("butler", "ours", "shipped"))
    for place, value in ours.items():
        if value != theirs.get(place, shipped.get(place)):
            assert from_butler.MARK in comment_above(lines, str(place[-1])), place
    comments = " ".join(line for line in lines if line.strip().startswith("#"))
    left_out = [place for place in theirs if place not in ours]
    assert left_out
    for place in left_out:
        # A section is named whole, and of the pair for a header both keys.
        names = place[2:] if place[1] in SECTIONS else place[1:]
        assert any(re.search(rf"\b{name}\b", comments) for name in names), place


def test_values_of_older_keys_say_what_these_were(folder: Path) -> None:
    _, lines = converted(folder, FILES["2"])
    assert comment_above(lines, "clientCert") == (
        f"{from_butler.MARK} was configQRS.cert (line 17), its place in older Butlers"
    )
    assert "was configQRS.headerKey and headerValue (line 15)" in comment_above(lines, "static")
    _, lines = converted(folder, FILES["6"], "other.yaml")
    assert "was cert.rejectUnauthorized (line 9)" in comment_above(lines, "rejectUnauthorized")


def test_keys_without_a_meaning_are_named_with_value_line_and_reason(folder: Path) -> None:
    _, lines = converted(folder, FILES["5"])
    comment = comment_above(lines, "mqttConfig")
    assert (
        "nothing but taskStartTopic is subscribed to: subscriptionRootTopic: qliksense/# (line 10)" in comment
    )
    assert "notifications stay with Butler: taskFailureSendFull: true (line 9)" in comment
    switches = comment_above(lines, "restServerEndpointsEnable")
    assert "fileCopy: true (line 13)" in switches
    assert "keyValueStore" not in switches


def test_sections_without_a_meaning_are_named_at_the_end_with_what_replaces_them(folder: Path) -> None:
    _, lines = converted(folder, FILES["2"])
    end = "\n".join(lines).rpartition("port: 9464")[2]
    assert "butler.yaml" in end
    assert re.search(r"slackConfig \(.*docs/executions\.md\)", end)
    assert re.search(r"gitHub, qvdPath \(stay with Butler", end)
    pages = set(re.findall(r"docs/[\w-]+\.md", end))
    assert "docs/moving-from-butler.md" in pages


def test_the_key_value_store_and_its_switch_are_taken_over(folder: Path) -> None:
    converted(folder, FILES["5"])
    store = loader.load(folder / "ours.yaml", {}).key_value_store
    assert store == KeyValueStoreSettings(enable=True, max_keys_per_namespace=50, endpoints=False)


def test_the_topic_of_older_butlers_is_kept_and_named(folder: Path) -> None:
    made, lines = converted(folder, FILES["2"])
    assert "    # taskStartTopic: qliksense/task/start" in lines
    assert "    taskStartTopic: qliksense/start_task" in lines
    assert any(choice.startswith("mqttConfig.taskStartTopic:") for choice in made.choices)


def test_the_topic_of_older_butlers_is_nothing_to_decide_where_mqtt_is_off(folder: Path) -> None:
    text = FILES["2"].replace("  mqttConfig:\n", "  mqttConfig:\n    enable: false\n")
    made, lines = converted(folder, text)
    assert "    # taskStartTopic: qliksense/task/start" in lines
    assert not any("taskStartTopic" in choice for choice in made.choices)


def test_rest_of_butler_2_which_has_no_switch_is_named(folder: Path) -> None:
    made, lines = converted(folder, FILES["2"])
    assert lines[lines.index("    # enable: true") + 1] == "    enable: false"
    assert any(choice.startswith("restServerConfig.enable:") for choice in made.choices)


def test_rest_beyond_loopback_is_for_a_person_to_open(folder: Path) -> None:
    made, lines = converted(folder, FILES["16"].replace("127.0.0.1", "10.1.1.1"))
    assert lines[lines.index("    # serverHost: 10.1.1.1") + 1] == "    serverHost: 127.0.0.1"
    assert "was 10.1.1.1 (line 7)" in comment_above(lines, "serverHost")
    assert [choice.partition(":")[0] for choice in made.choices] == ["restServerConfig.serverHost"]
    assert loader.load(folder / "ours.yaml", {}).rest.server_host == "127.0.0.1"


def test_rest_beyond_loopback_that_is_off_stays_as_it_is(folder: Path) -> None:
    made, lines = converted(folder, FILES["6"])
    assert "    serverHost: 10.1.1.1" in lines
    assert made.choices == []


def test_event_grid_is_for_a_person_to_write(folder: Path) -> None:
    grid = "azureEventGrid: { enable: true, clientId: b1, clientCertFile: a.pem, clientKeyFile: b.pem }"
    made, lines = converted(
        folder, FILES["12"].replace("azureEventGrid: { enable: false, clientId: <client ID> }", grid)
    )
    at = lines.index('    # clientId: "b1"')
    assert lines[at - 1] == "    # enable: true"
    assert lines[at + 2] == '    # tls: { enable: true, certFile: "a.pem", keyFile: "b.pem" }'
    assert lines[at + 3] == "    enable: false"
    assert [choice.partition(":")[0] for choice in made.choices] == ["mqttConfig.enable"]


def test_intermediate_certificates_do_not_become_a_ca_of_clients(folder: Path) -> None:
    made, lines = converted(folder, FILES["16"].replace("ca: null", "ca: chain.pem"))
    assert "was chain.pem (line 9)" in comment_above(lines, "ca")
    assert loader.load(folder / "ours.yaml", {}).rest.tls.ca is None
    assert [choice.partition(":")[0] for choice in made.choices] == ["restServerConfig.tls.ca"]


def test_a_closed_endpoint_of_tasks_and_a_filter_that_now_holds_for_mqtt_are_named(folder: Path) -> None:
    text = FILES["5"].replace("senseStartTask: true", "senseStartTask: false")
    made, _ = converted(folder, f"{text}  startTaskFilter: {{ enable: true }}\n")
    assert [choice.partition(":")[0] for choice in made.choices] == [
        "restServerConfig.enable",
        "startTaskFilter.enable",
    ]


def test_a_pass_phrase_is_not_written_anywhere(folder: Path) -> None:
    made, lines = converted(folder, FILES["16"].replace("Passphrase:", "Passphrase: s3cret"))
    assert "s3cret" not in "\n".join([*lines, *made.choices])
    assert "openssl pkey" in comment_above(lines, "clientCertKey")


def test_relative_files_are_those_beside_the_file_of_butler(folder: Path) -> None:
    (folder / "etc").mkdir()
    _, lines = converted(folder, FILES["16"], "etc/ours.yaml")
    assert loader.load(folder / "etc/ours.yaml", {}).qrs.client_cert == folder / "client.pem"
    assert "was client.pem (line" in comment_above(lines, "clientCert")


def test_a_file_on_windows_is_to_be_copied(folder: Path) -> None:
    made, lines = converted(
        folder, FILES["16"].replace("clientCert: client.pem", r"clientCert: C:\certs\c.pem")
    )
    assert r"was C:\certs\c.pem (line" in comment_above(lines, "clientCert")
    assert [choice.partition(":")[0] for choice in made.choices] == ["cert.clientCert"]


def test_a_value_that_cannot_be_used_is_left_out_and_named(folder: Path) -> None:
    made, lines = converted(folder, FILES["6"].replace("host: sense.test", "host: <FQDN>"))
    assert "configQRS.host (line 11) is not taken over: is '<FQDN>'" in comment_above(lines, "host")
    assert len(made.choices) == 1


def test_an_unknown_key_is_left_out_and_named(folder: Path) -> None:
    made, lines = converted(folder, FILES["6"] + "  notYetKnown: 1\n")
    assert made.choices[0].startswith("notYetKnown (line 14) is not taken over: unknown key")
    assert any("notYetKnown" in line for line in lines)


def test_text_of_the_file_cannot_end_a_comment(folder: Path) -> None:
    text = FILES["16"].replace("127.0.0.1", '"a\\nb"').replace("8082", '"x\\u2028enable: true"')
    _, lines = converted(folder, text)
    assert [line for line in lines if line.startswith("enable")] == []
    assert loader.load(folder / "ours.yaml", {}).rest.server_port == 8080


@pytest.mark.parametrize("value", ["a\x85b", "a\u2028b", "a\x7fb", "\ufeffa", "😀", 'q"\\'])
def test_a_value_with_odd_characters_is_read_back_as_it_was(folder: Path, value: str) -> None:
    text = shipped_file.filled(
        shipped_file.template(),
        {("startTaskFilter", "allowTask", "tag"): [value], ("cert", "clientCert"): None},
    )
    (folder / "one.yaml").write_text(text, "utf-8")
    document = loader.read(folder / "one.yaml").value
    assert isinstance(document, dict)
    assert document["Butler"]["startTaskFilter"]["allowTask"]["tag"] == [value]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("Butler: [", "not YAML", id="no-yaml"),
        pytest.param("", "is empty", id="empty"),
        pytest.param("Butler:\n  configQRS: {host: a, host: b}", "stands twice", id="a-key-twice"),
        pytest.param("services: {}", "no configuration of Butler", id="foreign"),
        pytest.param("- a", "no configuration of Butler", id="a-list"),
        pytest.param("Butler:\n  configEngine: {}", "no configuration of Butler 2 or newer", id="butler-1"),
        pytest.param(
            "Butler:\n  configQRS: {}\n  journal: {retentionDays: 1}", "converted already", id="ours"
        ),
        pytest.param(
            "Butler:\n  configQRS: {authentication: jwt}", "converted already", id="a-login-of-ours"
        ),
    ],
)
def test_a_file_that_is_not_butlers_ends_with_a_reason_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    with pytest.raises(typer.Exit) as ended:
        converted(tmp_path, text)
    assert ended.value.exit_code == ExitCode.CONFIG
    assert problem in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["butler.yaml"]


def test_headers_that_may_be_secret_make_the_file_the_owners_alone(folder: Path) -> None:
    converted(folder, FILES["6"])
    assert (folder / "ours.yaml").stat().st_mode & 0o777 == 0o644
    converted(folder, FILES["16"], "other.yaml")
    assert (folder / "other.yaml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("force", [False, True], ids=["without-force", "with-force"])
def test_the_file_of_butler_itself_is_never_replaced(folder: Path, force: bool) -> None:
    source = folder / "butler.yaml"
    source.write_text(FILES["16"])
    with pytest.raises(typer.Exit) as ended:
        from_butler.write(source, source, force=force)
    assert ended.value.exit_code == ExitCode.FAILED
    assert source.read_text() == FILES["16"]

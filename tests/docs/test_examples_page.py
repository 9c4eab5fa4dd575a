"""`examples/`: the page names every file; what cannot be run here is held to what it says."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from butler_mqtt.contract.validation import parse
from butler_mqtt.settings import MqttSettings
from tests.project import ROOT

FOLDER = ROOT / "examples"
FILES = sorted(file.name for file in FOLDER.iterdir() if file.is_file() and file.name != "README.md")
FLOW: list[dict[str, Any]] = json.loads((FOLDER / "node_red_flow.json").read_text("utf-8"))
SCRIPT = (FOLDER / "start_mqtt.ps1").read_bytes().decode("ascii")


def as_powershell_5_1_passes(argument: str) -> str:
    """Give what the program's command line holds for an argument; a space is all that brings quotes."""
    return f'"{argument}"' if re.search(r"\s", argument) else argument


def as_the_script_quotes(text: str) -> str:
    """Do what `-replace` of the script does before PowerShell 7.3."""
    ((pattern, new),) = re.findall(r"\$json -replace '(.+)', '(.+)' \}", SCRIPT)
    return re.sub(pattern, new.replace("\\", "\\\\").replace("$1", r"\1"), text)


def nodes(kind: str) -> list[dict[str, Any]]:
    return [node for node in FLOW if node["type"] == kind]


def test_the_page_names_every_example_and_no_other() -> None:
    table = re.findall(r"^\| \[(\S+)\]\(\1\) \|", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(table) == FILES


def test_every_example_is_in_the_wheel_and_in_the_sources_for_it() -> None:
    build = (ROOT / "pyproject.toml").read_text("utf-8")
    assert '"examples" = "share/butler-mqtt/examples"' in build
    assert '"docs", "examples",' in build


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".ps1")])
def test_a_script_for_powershell_is_ascii(name: str) -> None:
    """PowerShell 5.1 would read other letters of a file without byte order mark in the code page."""
    assert (FOLDER / name).read_bytes().isascii()


@pytest.mark.parametrize(
    "text",
    [
        '{"tag":["one"]}',
        '{"tag":["two words"]}',
        r'{"tag":["a \"quoted\" one"]}',
        r'{"tag":["ends with \\"]}',
        r'{"tag":["Ums\u00e4tze"]}',
    ],
)
def test_what_the_script_quotes_for_powershell_5_1_arrives_as_it_was(text: str) -> None:
    """`list2cmdline` is the inverse of how a program's C runtime reads its command line."""
    assert as_powershell_5_1_passes(as_the_script_quotes(text)) == subprocess.list2cmdline([text])


def test_the_lines_for_powershell_and_cmd_arrive_as_the_request() -> None:
    page = (ROOT / "docs/requests.md").read_text("utf-8")
    line = dict(re.findall(r"^\| (\S.*) \| `-m (.+)` \|$", page, re.MULTILINE))
    wanted = '{"tag":["one"]}'
    assert line["bash, PowerShell from 7.3"] == f"'{wanted}'"
    assert as_powershell_5_1_passes(line["PowerShell 5.1"].strip("'")) == subprocess.list2cmdline([wanted])
    assert line["cmd.exe"] == f'"{subprocess.list2cmdline([wanted])}"'


def test_the_nodes_of_the_flow_refer_to_each_other() -> None:
    kinds = {node["id"]: node["type"] for node in FLOW}
    assert len(kinds) == len(FLOW)
    for node in FLOW:
        assert kinds.get(node.get("z")) in ({None} if node["type"] in {"tab", "mqtt-broker"} else {"tab"})
        assert {wire for output in node.get("wires", []) for wire in output} <= set(kinds)
        assert len(node.get("wires", [])) == node.get("outputs", len(node.get("wires", [])))
    assert [kinds[node["broker"]] for kind in ("mqtt in", "mqtt out") for node in nodes(kind)] == [
        "mqtt-broker",
        "mqtt-broker",
    ]


def test_the_flow_sends_a_request_where_it_is_taken_and_hears_the_reply() -> None:
    (asks,), (hears,), (inject,), (broker,) = map(nodes, ("mqtt out", "mqtt in", "inject", "mqtt-broker"))
    assert asks["topic"] == MqttSettings().task_start_topic
    assert asks["respTopic"] == hears["topic"]
    assert asks["qos"] == hears["qos"] == "1"
    assert broker["protocolVersion"] == "5"
    (selector,) = parse(inject["payload"].encode(), max_bytes=1000).selectors
    assert selector.value == "daily-reports"

"""docs/rules.md: its rules make the requests that it shows, and its functions are those that there are."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from butler_mqtt.cli.main import app
from butler_mqtt.config import loader
from butler_mqtt.expressions.expression import VARIABLES
from butler_mqtt.expressions.functions import FUNCTIONS
from butler_mqtt.expressions.macros import MACROS
from butler_mqtt.rules.message import RuleMessage
from butler_mqtt.rules.rule import Rule, RuleOutcome
from butler_mqtt.rules.rule_set import RuleSet
from tests.project import ROOT

PAGE = ROOT / "docs" / "rules.md"
TEXT = PAGE.read_text("utf-8")
_FENCE = re.compile(r"^(?P<margin> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_HEAD = (
    "Butler:\n  configQRS: { host: sense.example.com, useSSL: false }\n  restServerConfig: { enable: true }\n"
    "  keyValueStore: { enable: true }\n"
)


def fences(text: str) -> Iterator[tuple[list[str], str]]:
    """Give the words behind the fence of each block, and what is in it."""
    for found in _FENCE.finditer(text):
        yield found["info"].split(), dedent(found["text"])


def sections() -> dict[str, str]:
    """Give the examples by their headings."""
    examples = TEXT.partition("\n## Examples\n")[2]
    _, *parts = re.split(r"^### ", examples, flags=re.MULTILINE)
    return {part.partition("\n")[0]: part for part in parts}


def configuration(folder: Path, rules: str) -> Path:
    """Write a configuration with the *rules* of a block."""
    (folder / "github.secret").write_text("s3cret")
    file = folder / "config.yaml"
    file.write_text(_HEAD + "".join(f"  {line}\n" for line in rules.splitlines()), "utf-8")
    return file


def message_of(words: list[str], payload: str) -> RuleMessage:
    """Return the message of a block such as ```` ```json message topic ````."""
    kind, where, *properties = words[1:]
    pairs = dict(one.split("=", 1) for one in properties)
    topic = "" if kind.endswith("webhook") else where
    return RuleMessage(payload.strip().encode(), topic, pairs, 1_796_051_310_000)


def rule_of(rules: RuleSet, words: list[str]) -> Rule:
    """Return the rule that the message of a block is for."""
    kind, where = words[1:3]
    if kind.endswith("webhook"):
        found = rules.of_webhook(where)
        assert found is not None
        return found
    (one,) = rules.of_topic(where)
    return one


@pytest.fixture(params=[*sections().values()], ids=[*sections()])
def example(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RuleSet, list[tuple[list[str], str]]]:
    found = list(fences(request.param))
    (rules,) = (text for words, text in found if words[1:] == ["rule"])
    return RuleSet(loader.load(configuration(tmp_path, rules), {}).rules), found


def test_the_rule_of_an_example_makes_the_request_that_is_shown(
    example: tuple[RuleSet, list[tuple[list[str], str]]],
) -> None:
    rules, found = example
    messages = [one for one in found if one[0][1:2] in (["message"], ["webhook"])]
    requests = [json.loads(text) for words, text in found if words[1:] == ["request"]]
    made = [json.loads(rule_of(rules, words).render(message_of(words, text))) for words, text in messages]
    judged = [rule_of(rules, words).judge(message_of(words, text)).outcome for words, text in messages]
    assert judged == [RuleOutcome.MATCHED]
    assert made == requests


def test_what_an_example_shows_as_ignored_does_not_match_and_is_explained(
    example: tuple[RuleSet, list[tuple[list[str], str]]],
) -> None:
    rules, found = example
    ((words, text),) = (one for one in found if one[0][1:2] in (["ignored"], ["ignored-webhook"]))
    rule, message = rule_of(rules, words), message_of(words, text)
    assert rule.judge(message).outcome is RuleOutcome.UNMATCHED
    assert rule.explain(message) != []


def test_there_is_an_example_for_every_kind_of_sender() -> None:
    assert [name.partition(":")[0] for name in sections()] == [
        "SAP",
        "Node-RED",
        "Kafka",
        "PLC",
        "A file has arrived",
        "GitHub",
    ]


def commands() -> list[tuple[str, str]]:
    """Give each command whose output the page shows, and the output."""
    shown = (text for words, text in fences(TEXT) if words == ["text", "shown"])
    parts = (re.fullmatch(r"\$ ((?:[^\n]*\\\n)*[^\n]*)\n(.*)", text, re.DOTALL) for text in shown)
    return [(found[1].replace("\\\n", ""), found[2]) for found in parts if found]


@pytest.mark.parametrize(("command", "shown"), commands(), ids=["matches", "does not", "error"])
def test_the_commands_print_what_the_page_shows(
    tmp_path: Path, command: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rules = next(text for words, text in fences(TEXT) if words[1:] == ["rule"])
    file = configuration(tmp_path, rules)
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], "-c", str(file)])
    assert result.output.rstrip() == shown.rstrip()
    assert result.exit_code == (0 if "makes the request" in shown else 1)


def named_in(heading: str) -> str:
    """Give what stands in code in the first column of the table below *heading*."""
    table = TEXT.partition(f"{heading}\n|---|---|\n")[2].partition("\n\n")[0]
    return " ".join(" ".join(re.findall(r"`([^`]+)`", line.split(" | ")[0])) for line in table.splitlines())


def test_the_page_names_every_variable_and_no_other() -> None:
    assert set(named_in("| variable | holds |").split()) == VARIABLES


def test_the_page_names_every_function_and_no_other() -> None:
    without_texts = re.sub(r'"[^"]*"', "", named_in("| function | gives |"))
    named = set(re.findall(r"[a-zA-Z_]{3,}", without_texts))
    assert named - {"list", "row", "amount", "from", "old", "new", "received"} == {*FUNCTIONS, *MACROS}


def test_a_signature_made_by_hand_is_that_of_the_body(tmp_path: Path) -> None:
    """The line of the page with openssl, beside Python's own HMAC."""
    (tmp_path / "github.secret").write_text("s3cret\n")
    (tmp_path / "push.json").write_text('{"a": 1}')
    (line,) = re.findall(r"^signature=\$\((.*)\)$", TEXT, re.MULTILINE)
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == hmac.new(b"s3cret", b'{"a": 1}', hashlib.sha256).hexdigest()

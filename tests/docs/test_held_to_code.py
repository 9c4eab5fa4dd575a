"""Pages that list what the program has: exit codes, log actions, reply codes, keys, topics, commands."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from butler_mqtt import logs
from butler_mqtt.config import loader
from butler_mqtt.config.schema import keys_of, schema
from butler_mqtt.config.yaml_file import dotted
from butler_mqtt.exit_codes import ExitCode
from butler_mqtt.http import error_responses, metrics
from butler_mqtt.settings import MqttSettings
from tests.docs.blocks import Block, blocks, pages
from tests.project import ROOT

PACKAGE = ROOT / "butler_mqtt"
DOCS = ROOT / "docs"
#: Pages about Butler name its keys, which mean nothing here.
BUTLERS = {"configuration.md", "moving-from-butler.md"}
#: Pages for operators, one sentence on each line.
PLAIN = ["exit-codes", "install", "mqtt", "operations", "replies", "security", "troubleshooting", "upgrade"]
OURS = [
    page
    for page in pages()
    if page.name != "README.md" or page.parent in {ROOT / "examples", ROOT / "mosquitto"}
]
BLOCKS = [block for page in OURS for block in blocks(page)]
#: Commands of the contract, some with commands of their own.
COMMANDS = {
    *("run", "demo", "check", "health", "init", "start", "resolve", "requests", "review", "simulate-qrs"),
    *("token", "alerts", "rules"),
}
#: Names of the levels in `logging`.
LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
SHARE = "/opt/butler-mqtt/share/butler-mqtt/"


def rows(page: str, heading: str = "") -> list[list[str]]:
    """Give the cells of all tables of a page, or of its part below *heading*."""
    text = (DOCS / page).read_text("utf-8")
    if heading:
        text = re.split(r"^#+ ", text.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@functools.cache
def sources() -> list[ast.Module]:
    """Give the parsed modules of the daemon; the simulator and the tour are programs of their own."""
    return [
        ast.parse(file.read_text("utf-8"))
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.relative_to(PACKAGE).parts[0] not in {"simulator", "demo"}
    ]


@functools.cache
def nodes(module: ast.Module) -> list[ast.AST]:
    """Give all that is in a module, which is asked for often."""
    return list(ast.walk(module))


def strings(node: ast.AST) -> set[str]:
    return {
        one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


def actions_of(module: ast.Module) -> Iterator[str]:
    """Give what stands for `action` in `extra`: as text, through a variable, or through an argument."""
    passed = False
    for node in nodes(module):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "action":
                yield from strings(value)
                names = {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}
                passed = passed or "action" in names
                for other in nodes(module) if names else ():
                    if isinstance(other, ast.Assign) and names & {
                        target.id for target in other.targets if isinstance(target, ast.Name)
                    }:
                        yield from strings(other.value)
    for node in nodes(module) if passed else ():
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_warn":
            yield from strings(node.args[-1])


def levels_in(node: ast.AST, modules: list[ast.Module]) -> set[str]:
    """Give the levels that an expression may have: named in it, in what it is assigned, in what it calls."""
    found = {
        one.attr.lower() for one in ast.walk(node) if isinstance(one, ast.Attribute) and one.attr in LEVELS
    }
    called = {
        getattr(one.func, "attr", getattr(one.func, "id", None))
        for one in ast.walk(node)
        if isinstance(one, ast.Call)
    }
    # An attribute or an argument is what any module sets of its name.
    name = getattr(node, "attr", getattr(node, "id", None))
    for module in modules:
        for one in nodes(module):
            if isinstance(one, ast.FunctionDef) and one.name in called:
                found |= levels_in(ast.Module([one], []), [])
            elif isinstance(one, ast.Assign) and any(
                isinstance(target, ast.Attribute) and target.attr == name for target in one.targets
            ):
                found |= levels_in(one.value, modules)
    return found


def levels_of_actions(modules: list[ast.Module]) -> dict[str, set[str]]:
    """Give the levels at which each action is logged."""
    found: dict[str, set[str]] = {}
    for module in modules:
        for call in nodes(module):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            extra = [word.value for word in call.keywords if word.arg == "extra"]
            if not extra:
                continue
            name = call.func.attr
            levels = {"exception": {"error"}}.get(name, {name})
            if name == "log":
                levels = levels_in(call.args[0], modules)
            assert levels <= {one.lower() for one in LEVELS}, ast.unparse(call)
            assert levels, ast.unparse(call)
            # The dictionary alone, and where a name stands in it, the module that gives it its value.
            lone = ast.Module([ast.Expr(extra[0])], [])
            literal = set(actions_of(lone))
            for action in literal or set(actions_of(module)) - actions_written_out(module):
                found.setdefault(action, set()).update(levels)
    return found


def actions_written_out(module: ast.Module) -> set[str]:
    """Give the actions that stand as text in an `extra`."""
    return {
        action
        for call in ast.walk(module)
        if isinstance(call, ast.Call)
        for word in call.keywords
        if word.arg == "extra"
        for action in actions_of(ast.Module([ast.Expr(word.value)], []))
    }


def codes_of(call: ast.Call) -> set[str]:
    """Give the reply codes that a call names: by its first argument, or by `code=`."""
    found: set[str] = set()
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name in {"RequestError", "RefusedDecision", "_refusal"} and call.args:
        found |= strings(call.args[0])
    for keyword in call.keywords:
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
            found |= strings(keyword.value)
    return {one for one in found if re.fullmatch(r"[a-z]+(_[a-z]+)*", one)}


def test_every_log_action_is_documented_and_no_other() -> None:
    written = {action for module in sources() for action in actions_of(module)}
    documented = [words(row[0])[0] for row in rows("operations.md", "### Actions")[1:]]
    # One that is composed in the program shows its beginning only.
    composed = tuple(action for action in written if action.endswith("_"))
    assert sorted(written - set(documented) - set(composed)) == []
    assert [
        action for action in documented if action not in written and not action.startswith(composed)
    ] == []
    assert documented == sorted(set(documented))


def test_every_log_action_has_the_levels_that_are_documented() -> None:
    documented = {
        words(row[0])[0]: set(row[1].split(", ")) for row in rows("operations.md", "### Actions")[1:]
    }
    written = levels_of_actions(sources())
    composed = {action for action in written if action.endswith("_")}
    wrong = {
        action: f"documented {sorted(documented[action])}, written {sorted(levels)}"
        for action, levels in written.items()
        if action not in composed and documented[action] != levels
    }
    assert wrong == {}
    # Only what is composed of a beginning and a word of the contract may be left out.
    assert all(action.startswith(tuple(composed)) for action in set(documented) - set(written))


def test_every_exit_code_is_documented_and_no_other() -> None:
    documented = {int(row[0]) for row in rows("exit-codes.md")[1:]}
    assert documented == {int(code) for code in ExitCode} | {134}


def test_the_codes_that_systemd_leaves_alone_are_those_of_the_unit() -> None:
    left = {int(row[0]) for row in rows("exit-codes.md")[1:] if row[3] == "leaves it"}
    assert left == {ExitCode.USAGE, ExitCode.CLIENT_ID_IN_USE, ExitCode.CONFIG}


def test_every_reply_code_of_the_program_is_documented() -> None:
    used: set[str] = set()
    for module in sources():
        for node in ast.walk(module):
            if isinstance(node, ast.Call):
                used |= codes_of(node)
    documented = {words(row[0])[0] for row in rows("replies.md", "## Codes")[1:]}
    # A task that is gone stands in tasksNotFound, without its code.
    assert used - documented - {"task_not_found"} == set()
    assert {"ambiguous_task_name", "outcome_unknown", "previous_stage_failed"} <= documented


def test_the_rest_statuses_are_those_of_the_program() -> None:
    for code, _, *rest in rows("replies.md", "## Codes")[1:]:
        if rest[0]:
            assert error_responses.STATUS[words(code)[0]] == int(rest[0]), code


def test_every_code_of_a_refusal_is_counted_from_zero() -> None:
    raised: set[str] = set()
    for module in sources():
        for node in ast.walk(module):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in {"RequestError", "RefusedDecision", "HttpRefusal", "_refusal"}:
                raised |= {code for code in strings(node.args[0]) if re.fullmatch(r"[a-z_]+", code)}
    assert {"unauthorized", "invalid_json", "all_denied", "qrs_unavailable"} <= raised
    assert raised <= set(error_responses.STATUS)


def test_the_codes_of_the_rest_door_alone_are_those_that_the_pages_name() -> None:
    whole = {
        words(code)[0]: meaning for code, meaning, *rest in rows("replies.md", "## Codes")[1:] if rest[0]
    }
    of_both = {code for code, meaning in whole.items() if not meaning.startswith("REST: ")}
    assert set(error_responses.STATUS) - of_both == metrics.ONLY_REST


def test_the_labels_of_the_metrics_are_those_that_are_documented() -> None:
    documented = {words(row[0])[0]: words(row[2]) for row in rows("monitoring.md", "## Metrics")[1:]}
    assert sorted(documented["butler_mqtt_starts_total"]) == sorted(metrics.OUTCOMES)
    assert sorted(documented["butler_mqtt_executions_ended_total"]) == sorted(metrics.RESULTS)


def test_every_event_is_documented_as_the_schema_has_it() -> None:
    text = (PACKAGE / "schemas/event.schema.json").read_text("utf-8")
    events = yaml.safe_load(text)["properties"]["event"]["enum"]
    assert [words(row[0])[0] for row in rows("mqtt.md", "## Events")[1:]] == events


def test_the_topics_are_the_defaults() -> None:
    defaults = MqttSettings()
    documented = {words(row[1])[0]: words(row[0] or "`-`") for row in rows("mqtt.md", "## Topics")[1:]}
    assert documented["taskStartTopic"] == [defaults.task_start_topic]
    assert documented["taskStartReplyTopic"] == [defaults.task_start_reply_topic]
    assert documented["taskEventTopic"] == [f"{defaults.task_event_topic}/<taskId>"]
    assert documented["statusTopic"] == [defaults.status_topic]
    assert documented["replyTopicAllow"] == list(defaults.reply_topic_allow)


def test_log_levels_of_the_configuration_are_those_of_the_log() -> None:
    assert {"error", "warn", "info", "debug"} == set(logs.LEVELS)


def test_every_key_that_a_page_names_exists() -> None:
    known = {dotted(place).removeprefix("Butler.") for place in keys_of(schema()["properties"]["Butler"])}
    sections = {key.split(".")[0] for key in known}
    for page in OURS:
        for word in re.findall(r"`([A-Za-z]+(?:\.[A-Za-z]+)+)`", page.read_text("utf-8")):
            if word.split(".")[0] in sections and page.name not in BUTLERS:
                assert word in known, f"{page.name}: {word}"


def test_every_link_leads_somewhere() -> None:
    for page in OURS:
        text = page.read_text("utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith("https://"):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.is_file(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, f"{page.name}: {target}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in {"sh", "console"}], ids=str)
def test_every_shell_block_says_how_it_is_tried(block: Block) -> None:
    # run: executed by a test; root: changes a machine; service: asks a service that runs;
    # container: tests/containers does the same without compose.
    assert block.mark in {"run", "root", "service", "container"}
    done = subprocess.run(["sh", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "sh"], ids=str)
def test_shell_blocks_name_files_and_commands_that_exist(block: Block) -> None:
    for path in re.findall(rf"{SHARE}([\w./-]+)", block.text):
        assert (ROOT / path).exists(), path
    for command in re.findall(r"^(?:/opt/butler-mqtt/bin/)?butler-mqtt (\S+)", block.text, re.MULTILINE):
        assert command in COMMANDS


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language == "yaml" and block.text.startswith("Butler:")],
    ids=str,
)
def test_configuration_examples_are_valid(block: Block, tmp_path: Path) -> None:
    value = yaml.safe_load(block.text)
    value["Butler"].setdefault("configQRS", {}).setdefault("host", "sense.example.com")
    value["Butler"].setdefault("cert", {"clientCert": "client.pem", "clientCertKey": "client_key.pem"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(value))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    loaded = loader.load(tmp_path / "config.yaml", environ, check_files=False, log_in=False)
    assert loaded.qrs.host == "sense.example.com"


def test_credentials_in_the_examples_are_those_that_the_unit_loads() -> None:
    unit = (ROOT / "systemd/butler-mqtt.service").read_text("utf-8")
    loaded = set(re.findall(r"^LoadCredential=([^:]+):", unit, re.MULTILINE))
    named = {
        name
        for page in OURS
        if page.name != "configuration.md"
        for name in re.findall(r"\$CREDENTIALS_DIRECTORY/([\w.-]+)", page.read_text("utf-8"))
    }
    assert named == loaded


@pytest.mark.parametrize("page", [DOCS / f"{name}.md" for name in PLAIN], ids=lambda page: page.name)
def test_a_line_holds_one_sentence(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        if not line.startswith("|"):
            plain = re.sub(r"`[^`]*`", "x", line)
            assert not re.search(r"[a-z)]\. [A-Z]", plain), line

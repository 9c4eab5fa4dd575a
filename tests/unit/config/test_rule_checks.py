"""Rules in a configuration file: what they mean, and every problem with its line and column."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from butler_mqtt.settings import Coalesce, RuleSettings, Webhook
from tests.unit.config.configuration_files import load, problems

WHOLE = """
rules:
  - name: orders-closed
    topic: ["erp/+/orders/closed"]
    when: payload.total > 1000 && payload.status == "closed"
    start:
      tag: ["finance-${{ levels[1] }}"]
      requestId: "orders-${{ payload.batch }}"
    coalesce: { quietSeconds: 10, maxSeconds: 60, key: payload.company }
"""


def of_rule(folder: Path, rule: str, beside: str = "") -> list[str]:
    """Return the problems of a file with one rule, whose keys begin in line 4."""
    indented = rule.replace("\n", "\n  ")
    return problems(folder, f"rules:\n- {indented}\n{beside}")


def test_a_rule_is_read_with_what_it_says(tmp_path: Path) -> None:
    assert load(tmp_path, WHOLE).rules == (
        RuleSettings(
            name="orders-closed",
            topics=("erp/+/orders/closed",),
            when='payload.total > 1000 && payload.status == "closed"',
            start={"tag": ["finance-${{ levels[1] }}"], "requestId": "orders-${{ payload.batch }}"},
            coalesce=Coalesce(10.0, 60.0, "payload.company"),
        ),
    )


def test_a_file_without_rules_has_none(tmp_path: Path) -> None:
    assert load(tmp_path, "rules:").rules == ()


def test_one_topic_needs_no_list(tmp_path: Path) -> None:
    (rule,) = load(tmp_path, "rules: [{name: a, topic: a/b, start: {tag: x}}]").rules
    assert rule.topics == ("a/b",)


def test_a_rule_expands_no_variables_of_the_environment(tmp_path: Path) -> None:
    text = "rules: [{name: a, topic: '${A}', when: 'text == \"${A}\"', start: {tag: '${A}'}}]"
    (rule,) = load(tmp_path, text, {"A": "b"}).rules
    assert (rule.topics, rule.when, rule.start) == (("${A}",), 'text == "${A}"', {"tag": "${A}"})


def test_the_secret_of_a_webhook_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("s3cret\n")
    text = (
        "restServerConfig: {enable: true}\n"
        "rules: [{name: a, webhook: {secretFile: $CREDENTIALS_DIRECTORY/hook},"
        " start: {tag: x, requestId: '${{ payload.id }}'}}]"
    )
    (rule,) = load(tmp_path, text, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).rules
    assert rule.webhook == Webhook(b"s3cret", "X-Hub-Signature-256")
    assert "s3cret" not in repr(rule)


def test_a_webhook_without_keys_is_one(tmp_path: Path) -> None:
    (rule,) = load(
        tmp_path, "restServerConfig: {enable: true}\nrules: [{name: a, webhook: {}, start: {tag: x}}]"
    ).rules
    assert rule.webhook == Webhook()


def test_a_webhook_without_a_value_is_a_problem_that_says_what_to_write(tmp_path: Path) -> None:
    found = of_rule(tmp_path, "name: a\nwebhook:\nstart: {tag: x}", "restServerConfig: {enable: true}")
    allowed = "{} for callers with a token, {secretFile: …, signatureHeader: …} for callers who sign"
    assert found == [f"line 5: Butler.rules[0].webhook: is empty; allowed: {allowed}"]


@pytest.mark.parametrize(
    ("when", "line", "column", "reason"),
    [
        ("when: payload.a = 1", 5, 21, "`=` is no operator of CEL; write `==`"),
        (
            "when: 'payload.a == ''x'' && payloa.b'",
            5,
            34,
            "there is no variable 'payloa'; did you mean payload?",
        ),
        (
            r'when: "payload.a == \"\\u00e9\" && payloa.b"',
            5,
            40,
            "there is no variable 'payloa'; did you mean payload?",
        ),
        (
            "when: |\n  payload.a > 1 &&\n    payloa.b",
            7,
            9,
            "there is no variable 'payloa'; did you mean payload?",
        ),
        (
            "when: >-\n  payload.a > 1 &&\n  payloa.b",
            7,
            7,
            "there is no variable 'payloa'; did you mean payload?",
        ),
        ("when: payload.a > 1 &&\n  payloa.b", 6, 7, "there is no variable 'payloa'; did you mean payload?"),
        ("when: payload.a &&", 5, 23, "ends too early: something is missing at the end"),
        ("when: payload.a && 1 + 1", 5, 24, "1 + 1 is a number, neither true nor false"),
    ],
    ids=["plain", "single quotes", "double quotes", "literal", "folded", "two lines", "the end", "constant"],
)
def test_a_problem_of_a_condition_has_its_line_and_column(
    tmp_path: Path, when: str, line: int, column: int, reason: str
) -> None:
    found = of_rule(tmp_path, f"name: a\n{when}\ntopic: a/b\nstart: {{tag: x}}")
    assert found == [f"line {line}, column {column}: Butler.rules[0].when: {reason}"]


@pytest.mark.parametrize(
    ("start", "column", "place", "reason"),
    [
        ('{tag: "a-${{ foo }}"}', 25, "start.tag", "there is no variable 'foo'; known: count,"),
        ('{tag: "a-${{ text"}', 21, "start.tag", "${{ has no }} that ends it"),
        ('{tag: ["${{ }}"]}', 23, "start.tag[0]", "is empty"),
        ("{tag: 5}", 18, "start.tag", "tag must be a string or an array, is the number 5"),
        ("{tag: x, tagg: x}", 27, "start.tagg", "unknown key, did you mean 'tag'?"),
        ("{tag: x, wait: later}", 27, "start.wait", "wait must be 'started' or 'finished', is 'later'"),
        ("{tag: x, notBefore: tomorrow}", None, "start", "notBefore is 'tomorrow': not an RFC 3339 time"),
        ("{dryRun: true}", None, "start", "the request names no task: it needs at least one"),
        ('{tag: "a-${{ 1 / 0 }}"}', 29, "start.tag", "never has a value: division by zero"),
        ("{taskId: abc}", 21, "start.taskId", "taskId must be a GUID, is 'abc'"),
        ("{tag: x, replyTopic: a}", 33, "start.replyTopic", "has no place in a rule, whose reply goes to"),
        ("{tag: x, parameters: {a: {b: c}}}", None, "start.parameters", "needs keyValueStore.enable: true"),
        (
            '{tag: x, "${{ text }}": y}',
            None,
            "start.${{ text }}",
            "an expression (${{ … }}) stands in a value",
        ),
        ("", 11, "start", "is empty: it needs what a request needs"),
        ('{dryRun: "x${{ text }}", tag: x}', 22, "start.dryRun", "dryRun must be a boolean, is a string"),
    ],
)
def test_what_a_rule_starts_is_checked_when_the_file_is_read(
    tmp_path: Path, start: str, column: int | None, place: str, reason: str
) -> None:
    (found,) = of_rule(tmp_path, f"name: a\ntopic: a/b\nstart: {start}")
    where = f"line 6, column {column}" if column else "line 6"
    assert found.startswith(f"{where}: Butler.rules[0].{place}: {reason}")


@pytest.mark.parametrize(
    "start",
    [
        '{tag: "${{ payload.tags }}"}',
        '{taskId: ["${{ payload.id }}"], dryRun: "${{ payload.test }}", wait: "${{ payload.wait }}"}',
        '{stages: [{tag: "a${{ text }}"}, {taskName: b, onFailure: "${{ text }}"}]}',
        '{stages: "${{ payload.stages }}"}',
        '{customProperty: {name: a, value: "${{ text }}"}, match: "${{ payload.match }}"}',
        '{tag: x, notBefore: "${{ payload.time }}", requestId: "a-${{ text }}", sender: "${{ text }}"}',
        "{tag: \"${{ {'a': {'b': '}}'}}.a.b }}\"}",
        '{cancel: "${{ payload.id }}", stopRunning: "${{ payload.stop }}"}',
    ],
)
def test_an_expression_may_fill_any_value_of_a_request(tmp_path: Path, start: str) -> None:
    assert load(tmp_path, f"rules: [{{name: a, topic: a/b, start: {start}}}]").rules


@pytest.mark.parametrize(
    ("rule", "beside", "problem"),
    [
        ("start: {tag: x}", "", "rule a needs a topic, a webhook or both: where its messages come from"),
        ("topic: a/#/b\nstart: {tag: x}", "", "'a/#/b' may contain # only as its whole last level"),
        (
            "topic: $share/g/a\nstart: {tag: x}",
            "",
            "'$share/g/a' is a shared subscription, of which this daemon",
        ),
        ("topic: '#'\nstart: {tag: x}", "", "'#' meets taskStartTopic (qliksense/task/start), which is this"),
        (
            "topic: qliksense/+/start/+\nstart: {tag: x}",
            "",
            "'qliksense/+/start/+' meets taskStartReplyTopic",
        ),
        ("topic: +/butler/status\nstart: {tag: x}", "", "'+/butler/status' meets statusTopic"),
        (
            "topic: qliksense/task/event/a\nstart: {tag: x}",
            "",
            "'qliksense/task/event/a' meets taskEventTopic",
        ),
        ("topic: a\nstart: {tag: x}", "mqttConfig: {enable: false}", "needs mqttConfig.enable: true"),
        ("webhook: {}\nstart: {tag: x}", "", "needs restServerConfig.enable: true"),
        (
            "webhook: {signatureHeader: X-S}\nstart: {tag: x}",
            "restServerConfig: {enable: true}",
            "is set without secretFile, with which callers sign",
        ),
        (
            "webhook: {secretFile: config.yaml}\nstart: {tag: x}",
            "restServerConfig: {enable: true}",
            "is missing: a signed call can be sent again by whoever saw it",
        ),
        ("topic: a\nstart: {tag: x}\ncoalesce: {maxSeconds: 3}", "", "is 3, less than quietSeconds (30)"),
        (
            "topic: [a, +]\nstart: {tag: x}",
            "mqttConfig: {protocolVersion: 3.1.1}",
            "'+' and 'a' (line 5) match the",
        ),
        ("topic: a\nstart: {tag: x}\npayload: xml", "", "is 'xml'; allowed: json, text or none"),
        ("topic: a\nstart: {tag: x}\nwhen: 5", "", "is 5; allowed: an expression (CEL) such as"),
        ("topics: [a]\nstart: {tag: x}", "", "unknown key; did you mean"),
    ],
    ids=lambda text: text.replace("\n", " "),
)
def test_a_rule_that_cannot_work_is_a_problem(tmp_path: Path, rule: str, beside: str, problem: str) -> None:
    found = of_rule(tmp_path, f"name: a\n{rule}", beside)
    assert any(one.split(": ", 2)[2].startswith(problem) for one in found), found


@pytest.mark.parametrize("payload", ["text", "none"])
def test_a_payload_that_is_no_json_has_no_fields(tmp_path: Path, payload: str) -> None:
    keys = (
        "when: text == '' || payload.a == 1\nstart: {tag: 'x${{ payload.a }}'}\ncoalesce:\n  key: payload[0]"
    )
    found = of_rule(tmp_path, f"name: a\ntopic: a\npayload: {payload}\n{keys}")
    assert [one.split(": ", 2)[0::2] for one in found] == [
        [place, f"with payload: {payload} there are no fields in it; write payload: json"]
        for place in ("line 7, column 25", "line 8, column 24", "line 10, column 12")
    ]


def test_the_topic_of_a_sender_is_the_daemons_own(tmp_path: Path) -> None:
    (found,) = of_rule(
        tmp_path, "name: a\ntopic: erp/#\nstart: {tag: x}", "senders: [{name: e, topic: erp/in}]"
    )
    assert found.endswith("'erp/#' meets the topic of a sender (erp/in), which is this daemon's own")


def test_no_reply_may_go_where_a_rule_that_is_on_listens(tmp_path: Path) -> None:
    rules = "[{name: a, topic: a/+, start: {tag: x}}, {name: b, enable: false, topic: b, start: {tag: x}}]"
    assert load(tmp_path, f"rules: {rules}").mqtt.rule_filters == ("a/+",)


def test_names_are_unique(tmp_path: Path) -> None:
    text = "rules:\n  - {name: a, topic: a, start: {tag: x}}\n  - {name: a, topic: b, start: {tag: x}}"
    assert problems(tmp_path, text) == [
        "line 5: Butler.rules[1].name: 'a' is the name of the rule in line 4 too"
    ]


def test_filters_may_overlap_on_mqtt_5_and_be_the_same_on_any(tmp_path: Path) -> None:
    rules = "rules:\n  - {name: a, topic: [a, +], start: {tag: x}}\n  - {name: b, topic: a, start: {tag: x}}"
    assert len(load(tmp_path, rules).rules) == 2
    same = rules.replace("[a, +]", "a")
    assert len(load(tmp_path, f"mqttConfig: {{protocolVersion: 3.1.1}}\n{same}").rules) == 2


def test_a_rule_that_is_off_is_checked_but_its_neighbours_do_not_mind_it(tmp_path: Path) -> None:
    text = "rules: [{name: a, enable: false, webhook: {}, when: 'x', start: {tag: x}}]"
    assert [problem.split(": ", 2)[2] for problem in problems(tmp_path, text)] == [
        "there is no variable 'x'; known: count, levels, payload, properties, received, text, topic"
    ]


def test_a_rule_against_the_schema_does_not_hide_the_problems_of_another(tmp_path: Path) -> None:
    text = (
        "rules:\n  - {name: A, topic: a, start: {tag: x}}\n  - {name: b, topic: b, when: x, start: {tag: x}}"
    )
    assert [problem.split(": ")[0] for problem in problems(tmp_path, text)] == ["line 4", "line 5, column 33"]


_LOADED = """
import sys
from pathlib import Path
from butler_mqtt.config import loader
loader.load(Path(sys.argv[1]), {})
print([name for name in ("celpy", "lark", "re2") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("rules", "loaded"),
    [("[]", []), ("[{name: a, topic: a, when: payload.a, start: {tag: x}}]", ["celpy", "lark", "re2"])],
    ids=["no rules", "a rule"],
)
def test_the_language_of_rules_is_loaded_for_those_who_have_some(
    tmp_path: Path, rules: str, loaded: list[str]
) -> None:
    load(tmp_path, f"rules: {rules}")
    arguments = [sys.executable, "-c", _LOADED, str(tmp_path / "config.yaml")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(loaded)

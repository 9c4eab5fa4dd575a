"""The section `senders` of a configuration, and the problems it can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from butler_mqtt.config import sender_checks
from butler_mqtt.config.yaml_file import parse
from butler_mqtt.settings import ACTIONS, Sender, Settings, StartTaskFilter
from tests.unit.config.configuration_files import load, problems

TOKENS = f"""restServerConfig:
  auth:
    tokens:
      - {{name: erp, sha256: "{"ab" * 32}"}}
      - {{name: anna, sha256: "{"cd" * 32}", role: operator}}
"""


def test_a_sender_has_what_the_file_gives_it(tmp_path: Path) -> None:
    text = (
        TOKENS
        + """senders:
  - name: erp
    topic: qliksense/task/start/erp
    tokens: [erp]
    rules: [orders-closed]
    allowTask:
      taskId: [7552D9FC-D1BB-4975-9A38-18357DE531EA]
      tag: [daily]
      customProperty: [{name: a, value: b}]
    requestsPerMinute: 60
    certificates: [erp-prod]
    may: [start, dryRun]
    seesAll: true
unknownSenders: deny
rules:
  - {name: orders-closed, topic: [erp/closed], payload: none, start: {tag: daily}}
"""
    )
    loaded = load(tmp_path, text)
    allow = StartTaskFilter(
        True, frozenset({"7552d9fc-d1bb-4975-9a38-18357de531ea"}), ("daily",), (("a", "b"),)
    )
    assert loaded.senders == (
        Sender(
            "erp",
            "qliksense/task/start/erp",
            ("erp",),
            ("orders-closed",),
            ("erp-prod",),
            allow,
            60,
            ("start", "dryRun"),
            True,
        ),
    )
    assert loaded.unknown_senders == "deny"
    assert loaded.mqtt.start_topics == ("qliksense/task/start", "qliksense/task/start/erp")


def test_a_sender_that_says_no_more_than_its_name_may_do_everything(tmp_path: Path) -> None:
    (sender,) = load(tmp_path, "senders: [{name: erp}]").senders
    assert sender == Sender("erp")
    assert sender.may == ACTIONS


@pytest.mark.parametrize("value", ["", "{}", "{tag: []}", "{taskId: , tag: }"])
def test_an_allow_task_without_entries_lets_nothing_start(tmp_path: Path, value: str) -> None:
    (sender,) = load(tmp_path, f"senders:\n  - name: erp\n    allowTask: {value}\n").senders
    assert sender.allow_task == StartTaskFilter(enable=True)


def test_an_empty_may_lets_nothing_be_done(tmp_path: Path) -> None:
    assert load(tmp_path, "senders: [{name: erp, may: []}]").senders[0].may == ()


def test_without_senders_there_is_one_start_topic(tmp_path: Path) -> None:
    loaded = load(tmp_path, "")
    assert loaded.senders == ()
    assert loaded.mqtt.start_topics == ("qliksense/task/start",)


@pytest.mark.parametrize(
    ("senders", "place", "fault"),
    [
        ("[{name: erp}, {name: erp}]", "[1].name", "is the name of the sender in line 8 too"),
        ("[{name: unknown}]", "[0].name", "which stands for requests of no sender"),
        ("[{name: operator}]", "[0].name", "which stands for requests of no sender"),
        ("[{name: erp, tokens: [crm]}]", "[0].tokens[0]", "'crm' is no name of auth.tokens; there are: anna"),
        ("[{name: erp, tokens: [anna]}]", "[0].tokens[0]", "'anna' has the role operator (line 7)"),
        (
            "[{name: a, tokens: [erp]}, {name: b, tokens: [erp]}]",
            "[1].tokens[0]",
            "'erp' is a token of the sender 'a' (line 8) too",
        ),
        (
            "[{name: a, certificates: [x]}, {name: b, certificates: [x]}]",
            "[1].certificates[0]",
            "'x' is a certificate of the sender 'a'",
        ),
        ("[{name: a, rules: [x]}, {name: b, rules: [x]}]", "[1].rules[0]", "'x' is a rule of the sender 'a'"),
        (
            "[{name: a, topic: t}, {name: b, topic: t}]",
            "[1].topic",
            "'t' is the topic of the sender 'a' (line",
        ),
        ("[{name: a, topic: 'erp/+'}]", "[0].topic", "'erp/+' must not contain the wildcards + and #"),
        ("[{name: a, topic: $SYS/x}]", "[0].topic", "must not begin with $"),
        ("[{name: a, topic: ''}]", "[0].topic", "must not be empty"),
        ("[{name: a, topic: qliksense/task/start}]", "[0].topic", "is taskStartTopic"),
        ("[{name: a, topic: qliksense/task/start/reply}]", "[0].topic", "is taskStartReplyTopic"),
        ("[{name: a, topic: qliksense/butler/status}]", "[0].topic", "is statusTopic"),
        ("[{name: a, topic: qliksense/task/event/x}]", "[0].topic", "is below taskEventTopic"),
        ("[{name: a, may: [stop]}]", "[0].may[0]", "allowed: start, cancel, dryRun or parameters"),
        ("[{name: a, requestsPerMinute: 0}]", "[0].requestsPerMinute", "a whole number, 1 to 1000000"),
        ("[{topic: t}]", "[0].name", "is missing; allowed: text of 1 to 128 characters"),
        ("[{name: a, topics: t}]", "[0].topics", "did you mean Butler.senders[0].topic?"),
    ],
    ids=lambda value: value if str(value).startswith("[{") else None,
)
def test_a_fault_is_named_with_its_line_and_its_value(
    tmp_path: Path, senders: str, place: str, fault: str
) -> None:
    rules = "rules: [{name: x, topic: [erp/x], payload: none, start: {tag: daily}}]\n"
    (problem,) = problems(tmp_path, f"{TOKENS}senders: {senders}\n{rules}")
    assert problem.startswith(f"line 8: Butler.senders{place}: ")
    assert fault in problem


def test_a_value_of_unknown_senders_is_allow_or_deny(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "unknownSenders: block")
    assert problem == "line 3: Butler.unknownSenders: is 'block'; allowed: allow or deny"


def test_a_rule_that_is_not_there_is_a_problem_where_the_rules_are_known() -> None:
    document = parse("Butler:\n  senders:\n    - name: erp\n      rules: [orders]\n")
    butler = {
        "senders": [{"name": "erp", "rules": ["orders"]}],
        "restServerConfig": {"auth": {}},
    }
    values = Settings(senders=(Sender("erp", rules=("orders",)),))
    sender_checks.check(values, document, butler)
    assert document.problems == []
    sender_checks.check(values, document, butler, rules=["invoices"])
    (problem,) = document.problems
    assert str(problem) == "line 4: Butler.senders[0].rules[0]: 'orders' is no rule; there are: invoices"

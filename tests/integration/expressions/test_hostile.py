"""Expressions that are made to hang or to fill the memory, over a payload of 256 KB."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.values import MAX_STEPS, EvaluationError, Scope
from tests.unit.expressions.evaluating import variables

ITEMS = 40_000
PAYLOAD = {"items": [1] * ITEMS, "needle": "a" * 60_000 + "b", "big": "a" * 120_000}
TEXT = "a" * 250_000

BEYOND = {
    "quadratic contains": "payload.items.map(i, text.contains(payload.needle)).size() > 0",
    "quadratic in": "payload.items.map(i, i in payload.items).size() > 0",
    "quadratic equality": "payload.items.all(i, payload == payload)",
    "quadratic matches": "payload.items.all(i, payload.big.matches('(x+x+)+y') == false)",
    "quadratic split": "payload.items.filter(i, text.split('a').size() > 0).size() > 0",
    "quadratic replace": "text.replace('a', text).size() > 0",
    "concatenation in a map": "payload.items.map(i, text + text).size() > 0",
    "concatenation": "(" + "+".join(["text"] * 700) + ").size() > 0",
    "lists joined": "(" + "+".join(["payload.items"] * 200) + ").size() > 0",
    "needle of half a text": "payload.items.map(i, payload.big.contains(payload.needle)).size() > 0",
    "texts joined": "payload.items.map(i, payload.big).join('').size() > 0",
    "a wide body": f"payload.items.all(i, {' && '.join(['i == 1'] * 300)})",
    "upper and lower": "payload.items.map(i, text.upperAscii().lowerAscii()).size() > 0",
    "texts doubled": f"[text]{'.map(x, x + x)' * 25}.size() > 0",
    "lists doubled": f"[payload.items]{'.map(x, x + x)' * 25}.size() > 0",
    "a list of two, of two, of two": f"[text]{'.map(x, [x, x])' * 25} == [text]{'.map(x, [x, x])' * 25}",
    "substrings": "payload.items.map(i, text.substring(i)).size() > 0",
    "last place": "payload.items.map(i, text.lastIndexOf('b')).size() > 0",
}
WITHIN = {
    "one pass over a large list": "payload.items.exists(i, i > 3)",
    "catastrophic backtracking": "text.matches('^(a+)+$b')",
    "nested repetitions": "payload.big.matches('((a{1,100}){1,10})$')",
    "a search for what is nearly there": "payload.big.contains(payload.big.substring(0, 50) + 'b')",
    "a chain of conditions": "false ? 1 == 1 : " * 30 + "true",
    "a large list": "[" + ",".join(["1"] * 2000) + "].size() > 0",
    "has of has": " && ".join(["has(payload.items)"] * 150),
}


@pytest.mark.parametrize("text", BEYOND.values(), ids=BEYOND.keys())
def test_what_would_take_too_long_is_stopped(text: str) -> None:
    scope = Scope(variables(PAYLOAD, TEXT))
    with pytest.raises(EvaluationError, match="takes more steps than a rule may"):
        Expression(text).evaluate(scope)


@pytest.mark.parametrize("text", WITHIN.values(), ids=WITHIN.keys())
def test_what_only_looks_so_is_evaluated(text: str) -> None:
    scope = Scope(variables(PAYLOAD, TEXT))
    assert Expression(text).condition(scope) in {True, False}
    assert 0 <= scope.steps <= MAX_STEPS


def test_no_alternative_makes_up_for_too_many_steps() -> None:
    with pytest.raises(EvaluationError, match="more steps"):
        Expression("payload.map(i, text + text).size() > 0 || true").evaluate(
            Scope(variables([1] * ITEMS, TEXT))
        )


_IN_A_PROCESS_OF_ITS_OWN = """
import resource, sys
from tests.unit.expressions.evaluating import variables
from tests.integration.expressions.test_hostile import BEYOND, PAYLOAD, TEXT, WITHIN
from butler_mqtt.expressions.expression import Expression
from butler_mqtt.expressions.values import EvaluationError, Scope
before = resource.getrusage(resource.RUSAGE_SELF)
for text in [*BEYOND.values(), *WITHIN.values()]:
    try:
        Expression(text).evaluate(Scope(variables(PAYLOAD, TEXT)))
    except EvaluationError:
        pass
after = resource.getrusage(resource.RUSAGE_SELF)
print((after.ru_maxrss - before.ru_maxrss) // 1024)
"""


def test_all_of_them_together_stay_below_a_bound_of_memory_and_processor_time() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1024**3, 1024**3))
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))

    done = subprocess.run(
        [sys.executable, "-c", _IN_A_PROCESS_OF_ITS_OWN],
        capture_output=True,
        check=True,
        preexec_fn=limit,
        text=True,
    )
    assert int(done.stdout) < 150  # MB

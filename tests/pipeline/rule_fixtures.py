"""Fixtures of tests on rules: running harnesses with one task, `rule_harness.TASK`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from butler_mqtt.settings import RuleSettings, Settings
from tests.pipeline.rule_harness import TASK, RuleHarness, rule

MakeRules = Callable[..., RuleHarness]


@pytest.fixture
def make_rules(tmp_path: Path) -> Iterator[MakeRules]:
    """Return a function that makes a running harness of rules."""
    made: list[RuleHarness] = []

    def harness(*rules: RuleSettings, **settings: Any) -> RuleHarness:
        folder = tmp_path / f"harness-{len(made)}"
        folder.mkdir()
        one = RuleHarness(folder, Settings(rules=rules or (rule(),), **settings))
        assert one.site.add("Orders") == TASK
        one.start()
        one.turn()
        made.append(one)
        return one

    yield harness
    for one in made:
        one.pipeline.close()

"""A file that is refused at a reload: each problem is a line that can be read."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from butler_mqtt.daemon.reload import MAX_PROBLEMS, Reload, differences
from butler_mqtt.errors import ConfigError, Problem
from butler_mqtt.logs import Formatter, LogFormat
from butler_mqtt.settings import MqttSettings, Settings, StartTask


def refused(problems: list[Problem]) -> Settings:
    raise ConfigError("config.yaml", problems)


def reload(problems: list[Problem], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Reload a file with *problems*; return the lines as they are written."""
    Reload(Settings(), lambda: refused(problems), lambda _before, _after: None).run()
    assert {(one.levelno, getattr(one, "action", "")) for one in caplog.records} == {
        (logging.ERROR, "reload_refused")
    }
    formatter = Formatter(LogFormat.TEXT, journal=True)
    return [formatter.format(one) for one in caplog.records]


def test_each_problem_is_a_line_without_escapes(caplog: pytest.LogCaptureFixture) -> None:
    lines = reload([Problem("startTask", "no such\n  key", 3), Problem("logLevel", "unknown", 4)], caplog)
    head = "<3>butler_mqtt.daemon: "
    tail = " [action=reload_refused]"
    assert lines == [
        f"{head}the configuration is not reloaded, everything stays as it was: config.yaml: 2 problems{tail}",
        f"{head}not reloaded: line 3: startTask: no such key{tail}",
        f"{head}not reloaded: line 4: logLevel: unknown{tail}",
    ]


def test_what_changed_is_named_as_the_file_has_it() -> None:
    changed = replace(
        Settings(), unknown_senders="deny", log_level="debug", start_task=StartTask(allow_stop=True)
    )
    assert list(differences(Settings(), changed)) == ["logLevel", "startTask.allowStop", "unknownSenders"]


def test_a_file_full_of_problems_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    lines = reload([Problem("x", str(number)) for number in range(1000)], caplog)
    assert len(lines) == MAX_PROBLEMS + 2
    assert "and 980 more" in lines[-1]


def test_a_reload_with_new_topics_of_rules_tells_that_they_are_not_subscribed_to_yet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    before = Settings(mqtt=MqttSettings(rule_filters=("a",)))
    after = replace(before, mqtt=replace(before.mqtt, rule_filters=("a", "b")))
    Reload(before, lambda: after, lambda _before, _after: None).run()
    (told,) = [
        one.getMessage() for one in caplog.records if getattr(one, "action", "") == "rules_subscribing"
    ]
    assert told.startswith("1 new topic filter of rules is subscribed to now; ")

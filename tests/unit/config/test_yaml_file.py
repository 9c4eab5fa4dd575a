"""YAML as a configuration file may use it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butler_mqtt.config import loader, schema, yaml_file
from butler_mqtt.errors import ConfigError


def refusal(text: str) -> str:
    with pytest.raises(yaml_file.YamlError) as caught:
        yaml_file.parse(text)
    return str(caught.value.problem)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("Off", "Off"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        (".nan", ".nan"),
        ("1e400", "1e400"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("TRUE", True),
        ("~", None),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("5.0", 5),
        ("-.5", -0.5),
    ],
)
def test_scalars_follow_the_core_rules_of_yaml_1_2(text: str, value: object) -> None:
    found = yaml_file.parse(f"a: {text}").value
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_lines_are_those_of_keys_and_of_items_of_lists() -> None:
    document = yaml_file.parse("a:\n  b:\n    - x\n    -\n      c: 1\n")
    assert document.line(("a", "b")) == 2
    assert document.line(("a", "b", 0)) == 3
    assert document.line(("a", "b", 1, "c")) == 5
    assert document.line(("a", "b", 1, "absent")) == 5
    assert document.line(("absent",)) == 1


def test_a_key_that_stands_twice_is_a_problem_with_both_lines() -> None:
    (problem,) = yaml_file.parse("a:\n  b: 1\n  b: 2\n").problems
    assert str(problem) == "line 3: a.b: stands twice, first in line 2; remove one of them"


def test_a_key_that_is_no_text_is_a_problem() -> None:
    (problem,) = yaml_file.parse("? [x]\n: 1\n").problems
    assert "a key must be plain text" in str(problem)


def test_aliases_and_merged_mappings_work() -> None:
    text = "a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}\nc: {<<: [{x: 3}, *a]}\nd: *a\n"
    value = yaml_file.parse(text).value
    assert value == {
        "a": {"x": 1, "y": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 3, "y": 1},
        "d": {"x": 1, "y": 1},
    }


def test_merging_something_else_than_a_mapping_is_a_problem() -> None:
    (problem,) = yaml_file.parse("a: {<<: word}").problems
    assert "`<<` takes a mapping" in str(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:\n\tb: 1", "line 2: column 1: not YAML: a tab is used for indentation"),
        ("a: b: c", "line 1: column 5: not YAML: mapping values are not allowed"),
        ("a:\n  b: 1\n c: 2", "line 3: column 2: not YAML: "),
        ("a: 1\n---\nb: 2\n", "line 2: file: a second document begins here"),
        ("a: !x y", "line 1: file: YAML tags (`!name`) are not allowed"),
        ("a: !!python/object/apply:os.system [ls]", "line 1: file: YAML tags (`!name`) are not allowed"),
        ("a: *x", "line 1: file: an alias (`*name`) needs its anchor"),
        ("a: &x [*x]", "line 1: file: an alias (`*name`) needs its anchor"),
        ("a: 1\nb: \x00", "line 2: file: the character U+0000 is not allowed"),
        ("[" * 100_000, "line 1: file: nested deeper than 32 levels"),
    ],
)
def test_the_place_in_text_that_cannot_be_read_is_named(text: str, problem: str) -> None:
    assert refusal(text).startswith(problem)


def bomb(item: str) -> str:
    lines = ["a: &a {x: 1}"]
    lines += [f"{chr(98 + n)}: &{chr(98 + n)} {item.replace('*', '*' + chr(97 + n))}" for n in range(9)]
    return "\n".join(lines)


@pytest.mark.parametrize("item", [f"[{','.join('*' * 9)}]", f"{{<<: [{','.join('*' * 9)}]}}"])
def test_a_few_aliases_cannot_stand_for_billions_of_values(item: str) -> None:
    assert "more than 50000 values" in refusal(bomb(item))


def test_a_long_chain_of_merged_mappings_is_refused() -> None:
    chain = "\n".join(f"m{n + 1}: &m{n + 1} {{<<: *m{n}}}" for n in range(1000))
    assert "nested deeper than 32 levels" in refusal(f"m0: &m0 {{x: 1}}\n{chain}")


def only_config_errors(content: bytes) -> bool:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        try:
            loader.load(Path(file.name), {})
        except ConfigError as error:
            return bool(error.problems)
    return False


@given(st.binary(max_size=400))
def test_random_bytes_are_a_configuration_error_and_nothing_else(content: bytes) -> None:
    assert only_config_errors(content)


KEYS = st.sampled_from(
    ["Butler", "mqttConfig", "brokerPort", "auth", "tokens", "static", "<<", "tag", "tls", "url"]
)
WORDS = st.text(max_size=12) | st.sampled_from(["${A}", "null", "sqlite:///a?b", "\x00", "1e99"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(sorted(schema.schema()["properties"]["Butler"]["properties"])), VALUES)
)
def test_random_sections_are_a_configuration_error_and_nothing_else(sections: dict[str, object]) -> None:
    text = json.dumps({"Butler": sections | {"unknown": 1}}, ensure_ascii=True)
    assert only_config_errors(text.encode())

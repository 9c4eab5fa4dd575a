"""The place of each character of a value, however YAML writes the value."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from butler_mqtt.config.scalar_places import index_of, line_and_column
from butler_mqtt.config.yaml_file import parse

WORDS = st.lists(st.text("abcXYZ09é'\"\\:#{}&|", min_size=1, max_size=6), min_size=1, max_size=8)
GAPS = st.sampled_from([" ", " ", "  ", "\n", "\n\n", "\n  ", " \n"])
VALUES = st.builds(
    lambda words, gaps: "".join(
        word + gap for word, gap in zip(words, [*gaps, *[" "] * 8], strict=False)
    ).strip(),
    WORDS,
    st.lists(GAPS, max_size=8),
).filter(bool)


@pytest.mark.parametrize(
    "style", [None, "'", '"', "|", ">"], ids=["plain", "single", "double", "literal", "folded"]
)
@given(value=VALUES, width=st.sampled_from([10, 30, 1000]), before=st.integers(0, 3))
@example(value="a\n\nb", width=10, before=0)
@example(value="a 'b' \\ \"c\"", width=1000, before=1)
def test_each_letter_is_found_where_it_stands(style: str | None, value: str, width: int, before: int) -> None:
    inner = yaml.safe_dump(
        {"key": [value]}, default_style=style, width=width, allow_unicode=True, default_flow_style=False
    )
    document = parse("# größer\n" * before + inner)
    place = ("key", 0)
    found = document.written[place]
    for offset, letter in enumerate(found):
        if letter.isalnum():
            index = index_of(document.source, *document.spans[place], offset)
            assert document.source[index] == letter, (document.source, offset)


def test_behind_the_last_letter_is_the_place_where_something_is_missing() -> None:
    document = parse("when: payload.a &&\n")
    index = index_of(document.source, *document.spans["when",], len("payload.a &&"))
    assert line_and_column(document.source, index) == (1, 19)


def test_lines_that_end_as_on_windows_are_counted_once() -> None:
    document = parse("when: |\r\n  a &&\r\n  b\r\n")
    index = index_of(document.source, *document.spans["when",], len("a &&\n"))
    assert line_and_column(document.source, index) == (3, 3)

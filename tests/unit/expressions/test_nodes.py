"""The tree of an expression."""

from __future__ import annotations

import pytest

from butler_mqtt.expressions.nodes import ConstantNode, NameNode, walk
from butler_mqtt.expressions.parser import parse


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("1 + count * 2 - 3", [1, "count", 2, 3]),
        ("payload.a[1].b", ["payload", 1]),
        ("text.contains('x') && !has(payload.a)", ["text", "x", "payload"]),
        ("{'a': 1, 'b': [2, count]}", ["a", 1, "b", 2, "count"]),
        ("payload.filter(x, x > 1).map(y, y)", ["payload", "x", 1, "y"]),
        ("count == 1 ? 'one' : text", ["count", 1, "one", "text"]),
        ("count in [1, -2]", ["count", 1, -2]),
    ],
)
def test_every_part_is_walked_in_the_order_of_the_text(text: str, leaves: list[object]) -> None:
    found = [one for one in walk(parse(text)) if isinstance(one, ConstantNode | NameNode)]
    assert [one.value if isinstance(one, ConstantNode) else one.name for one in found] == leaves


def test_a_node_knows_its_place_in_the_text() -> None:
    text = "count > 1 && text.contains('x')"
    for node in walk(parse(text)):
        assert 0 <= node.start < node.end <= len(text)
        for child in node.children:
            assert node.start <= child.start
            assert child.end <= node.end

"""An expression as a tree; each node knows its place in the text, as offsets of characters from 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ConstantNode:
    """A literal."""

    start: int
    end: int
    value: bool | int | float | str | None

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return ()


@dataclass(frozen=True, slots=True)
class NameNode:
    """A variable: one of a message's, or that of a macro."""

    start: int
    end: int
    name: str

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return ()


@dataclass(frozen=True, slots=True)
class FieldNode:
    """`target.name`; `tested`: inside `has()`, whether it is there."""

    start: int
    end: int
    target: Node
    name: str
    tested: bool = False

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return (self.target,)


@dataclass(frozen=True, slots=True)
class ElementNode:
    """`target[index]`."""

    start: int
    end: int
    target: Node
    index: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return self.target, self.index


@dataclass(frozen=True, slots=True)
class CallNode:
    """`function(arguments)`, or where `method` is set `arguments[0].function(…)`; `at`: the name's place."""

    start: int
    end: int
    function: str
    arguments: tuple[Node, ...]
    method: bool
    at: int

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return self.arguments


@dataclass(frozen=True, slots=True)
class MacroNode:
    """`target.kind(variable, …)`: what is done with each element of a list or each key of a map."""

    start: int
    end: int
    kind: str
    target: Node
    variable: str
    bodies: tuple[Node, ...]
    at: int

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return self.target, *self.bodies


@dataclass(frozen=True, slots=True)
class ListNode:
    """`[items]`."""

    start: int
    end: int
    items: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return self.items


@dataclass(frozen=True, slots=True)
class MapNode:
    """`{key: value}`."""

    start: int
    end: int
    pairs: tuple[tuple[Node, Node], ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return tuple(node for pair in self.pairs for node in pair)


@dataclass(frozen=True, slots=True)
class LogicalNode:
    """Parts joined by `&&`, or by `||`."""

    start: int
    end: int
    operator: str
    parts: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return self.parts


@dataclass(frozen=True, slots=True)
class ChainNode:
    """Numbers, texts or lists joined by `+ - * / %`, from left to right."""

    start: int
    end: int
    first: Node
    rest: tuple[tuple[str, Node], ...]

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return self.first, *(operand for _, operand in self.rest)


@dataclass(frozen=True, slots=True)
class RelationNode:
    """Two values compared: `== != < <= > >= in`."""

    start: int
    end: int
    operator: str
    left: Node
    right: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return self.left, self.right


@dataclass(frozen=True, slots=True)
class SignNode:
    """`!` or `-` before a value."""

    start: int
    end: int
    operator: str
    value: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return (self.value,)


@dataclass(frozen=True, slots=True)
class ConditionalNode:
    """`condition ? first : second`."""

    start: int
    end: int
    condition: Node
    first: Node
    second: Node

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below, in the order of the text."""
        return self.condition, self.first, self.second


Node: TypeAlias = (
    ConstantNode
    | NameNode
    | FieldNode
    | ElementNode
    | CallNode
    | MacroNode
    | ListNode
    | MapNode
    | LogicalNode
    | ChainNode
    | RelationNode
    | SignNode
    | ConditionalNode
)


def walk(node: Node) -> Iterator[Node]:
    """Yield *node* and every node below it."""
    yield node
    for child in node.children:
        yield from walk(child)

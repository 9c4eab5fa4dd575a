"""
YAML text as plain values, with the line of each.

The only home of PyYAML. Scalars are read by the core rules of YAML 1.2, as
Butler's own reader does: `yes`, `12:30` and `2024-01-01` are text. Memory and
time are bounded, whatever the text holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml

from butler_mqtt.config import scalar_places
from butler_mqtt.errors import Problem

#: The path of a value: keys of mappings and positions in lists.
Place: TypeAlias = tuple[str | int, ...]
#: Where a scalar begins and ends in the text, and PyYAML's name of how it is written.
_Span: TypeAlias = tuple[int, int, str | None]

_MAX_DEPTH: Final = 32
_TOO_DEEP: Final = f"nested deeper than {_MAX_DEPTH} levels"
#: Aliases count each time they are used, so that a few of them cannot stand for billions of values.
_MAX_VALUES: Final = 50_000
# libyaml's parser is some ten times faster than the pure one; wheels without it exist.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_UNPRINTABLE: Final = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,30}|0o[0-7]{1,30}|0x[0-9A-Fa-f]{1,30}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,2})?")
_WORDS: Final = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
#: What an error of PyYAML quotes: a character or a kind of token (kept), or text of the file (replaced).
_QUOTED: Final = re.compile(r"('.'|'<[a-z ]+>')|'[^']*'|\"[^\"]*\"")
_PLAIN_TAGS: Final = {
    "scalar": (None, "!", "tag:yaml.org,2002:str"),
    "list": (None, "!", "tag:yaml.org,2002:seq"),
    "mapping": (None, "!", "tag:yaml.org,2002:map"),
}


def dotted(place: Place) -> str:
    """Return *place* as operators write it: `Butler.startTaskFilter.allowTask.tag[0]`."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "file"


class YamlError(Exception):
    """The text is not YAML, or more than is allowed; `problem` has the line."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


@dataclass(slots=True)
class Document:
    """
    One YAML document.

    `value` holds dicts with text keys, lists, str, int, float, bool and None;
    `lines` count from 1, a key's own line where there is one. `written` holds
    the text of each scalar. `problems` are those that did not stop the
    reading, and those added since with `add_problem`, whose places are in
    `invalid`. `names` holds the place in the text of a value that was moved.
    `source` is the text, `spans` tells where each scalar stands in it and how
    it is written.
    """

    value: object = None
    lines: dict[Place, int] = field(default_factory=dict)
    written: dict[Place, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    invalid: set[Place] = field(default_factory=set)
    names: dict[Place, Place] = field(default_factory=dict)
    source: str = ""
    spans: dict[Place, _Span] = field(default_factory=dict)

    def add_problem(self, place: Place, message: str, offset: int | None = None) -> None:
        """Add a problem of the value at *place*, of its character *offset* where one is named."""
        line, column = self.line(place), None
        if offset is not None and place in self.spans:
            index = scalar_places.index_of(self.source, *self.spans[place], offset)
            line, column = scalar_places.line_and_column(self.source, index)
        self.problems.append(Problem(dotted(self.names.get(place, place)), message, line, column))
        self.invalid.add(place)

    def is_valid(self, *places: Place) -> bool:
        """Return whether no problem was added at *places*, inside them or around them."""
        return not any(
            place[: len(invalid)] == invalid or invalid[: len(place)] == place
            for invalid in self.invalid
            for place in places
        )

    def line(self, place: Place) -> int | None:
        """Return the line of *place*, or of the nearest place around it that is in the text."""
        return next(
            (self.lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self.lines), None
        )

    def where(self, place: Place, section: Place) -> str:
        """Say in which line *place* is; below which it belongs, where only its *section* is in the text."""
        line = self.lines.get(place)
        return f"in line {line}" if line else f"below line {self.line(section)}"


@dataclass(slots=True)
class _Scalar:
    line: int
    text: str
    value: object
    span: _Span


@dataclass(slots=True)
class _List:
    line: int
    items: list[_Node] = field(default_factory=list)


@dataclass(slots=True)
class _Mapping:
    line: int
    #: Keys and values alternate.
    items: list[_Node] = field(default_factory=list)


_Node: TypeAlias = _Scalar | _List | _Mapping


def parse(text: str) -> Document:
    """
    Read one YAML document.

    Raises:
        YamlError: The text is not YAML, holds more than one document, tags,
            or more or deeper values than a configuration needs.
    """
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise _refused(f"the character U+{ord(found[0]):04X} is not allowed in YAML; remove it", line)
    tree = _Tree()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            tree.add(event, event.start_mark.line + 1 if event.start_mark else 1)
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (error.problem or "") and error.problem_mark is not None:
            # libyaml has its own limit since 0.2.6, and reads ahead.
            raise _refused(_TOO_DEEP, error.problem_mark.line + 1) from None
        raise YamlError(_syntax(error, text)) from None  # the cause may quote a secret from the file
    document = Document(source=text)
    if tree.root is not None:
        document.value = _Builder(document).build(tree.root, ())
    return document


def scalar(text: str) -> object:
    """Return the value of *text* without quotes by the core rules of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return int(number) if number.is_integer() else number
    return text


class _Tree:
    """Builds nodes from parser events; composing by recursion could exhaust the stack."""

    def __init__(self) -> None:
        self.root: _Node | None = None
        self._documents = 0
        self._anchors: dict[str, _Node | None] = {}
        self._open: list[tuple[_List | _Mapping, str | None]] = []

    def add(self, event: yaml.Event, line: int) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _refused("a second document begins here; only one is allowed", line)
        elif isinstance(event, yaml.AliasEvent):
            node = self._anchors.get(event.anchor or "")
            if node is None:
                raise _refused("an alias (`*name`) needs its anchor (`&name`) before it, not around it", line)
            self._add(node)
        elif isinstance(event, yaml.ScalarEvent):
            _check_tag(event.tag, "scalar", line)
            plain = event.tag is None and event.implicit[0]
            value = scalar(event.value) if plain else event.value
            start, end = event.start_mark, event.end_mark
            span = (start.index if start else 0), (end.index if end else 0), event.style
            self._add(_Scalar(line, event.value, value, span), event.anchor)
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event.tag, "list", line)
            self._begin(_List(line), event.anchor)
        elif isinstance(event, yaml.MappingStartEvent):
            _check_tag(event.tag, "mapping", line)
            self._begin(_Mapping(line), event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._add(*self._open.pop())

    def _begin(self, node: _List | _Mapping, anchor: str | None) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise _refused(_TOO_DEEP, node.line)
        self._open.append((node, anchor))
        if anchor:
            self._anchors[anchor] = None  # from here on, an earlier one of that name is gone

    def _add(self, node: _Node, anchor: str | None = None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if self._open:
            self._open[-1][0].items.append(node)
        else:
            self.root = node


def _check_tag(tag: str | None, kind: str, line: int) -> None:
    if tag not in _PLAIN_TAGS[kind]:
        raise _refused("YAML tags (`!name`) are not allowed; put text with `!` in quotes", line)


def _refused(message: str, line: int) -> YamlError:
    return YamlError(Problem("file", message, line))


class _Builder:
    """Makes values of the tree, aliases included, within the limits."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0
        self._depth = 0

    def build(self, node: _Node, place: Place) -> object:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise _refused(f"more than {_MAX_VALUES} values, aliases counted in full", node.line)
        if self._depth > _MAX_DEPTH:
            raise _refused(_TOO_DEEP, node.line)
        self._document.lines.setdefault(place, node.line)
        if isinstance(node, _Scalar):
            self._document.written[place] = node.text
            self._document.spans[place] = node.span
            return node.value
        self._depth += 1
        value: object
        if isinstance(node, _List):
            value = [self.build(item, (*place, index)) for index, item in enumerate(node.items)]
        else:
            value = self._mapping(node, place)
        self._depth -= 1
        return value

    def _mapping(self, node: _Mapping, place: Place) -> dict[str, object]:
        pairs = list(zip(node.items[::2], node.items[1::2], strict=True))
        sources = [value for key, value in pairs if isinstance(key, _Scalar) and key.text == "<<"]
        values = self._merged(sources, place)
        first: dict[str, int] = {}
        for key, value in pairs:
            if not isinstance(key, _Scalar):
                self._problem(place, "a key must be plain text", key.line)
            elif key.text in first:
                message = f"stands twice, first in line {first[key.text]}; remove one of them"
                self._problem((*place, key.text), message, key.line)
            elif key.text != "<<":
                first[key.text] = key.line
                self._document.lines[*place, key.text] = key.line
                values[key.text] = self.build(value, (*place, key.text))
        return values

    def _merged(self, sources: list[_Node], place: Place) -> dict[str, object]:
        """Return what `<<` adds to the mapping at *place*; of several mappings the first wins."""
        values: dict[str, object] = {}
        for source in sources:
            for mapping in reversed(source.items if isinstance(source, _List) else [source]):
                if isinstance(mapping, _Mapping):
                    built = self.build(mapping, place)
                    values |= built if isinstance(built, dict) else {}
                else:
                    self._problem(place, "`<<` takes a mapping", mapping.line)
        return values

    def _problem(self, place: Place, message: str, line: int) -> None:
        self._document.problems.append(Problem(dotted(place), message, line))


def _syntax(error: yaml.MarkedYAMLError, text: str) -> Problem:
    """Return the place and the reason, without the text that PyYAML quotes from the file."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    reason = _QUOTED.sub(lambda found: found[1] or "'…'", str(error.problem or "no reason given"))
    lines = text.split("\n")
    around = lines[line - 1] if line <= len(lines) else ""
    indentation = around[: len(around) - len(around.lstrip())]
    if "\t" in indentation + around[column - 1 : column]:
        reason = "a tab is used for indentation or as the beginning of a value; use blanks"
    return Problem(f"column {column}", f"not YAML: {reason}", line)


def plain(text: str) -> object:
    """Return the value of *text* alone; raises yaml.YAMLError when it is not YAML."""
    value: object = yaml.safe_load(text)
    return value


def text_of(document: Mapping[str, object]) -> str:
    """Return *document* as YAML text, its keys in their order."""
    written: str = yaml.safe_dump(dict(document), sort_keys=False)
    return written

"""YAML and JSON text as trees that know the line and column of everything in them.

Scalars are read by the YAML 1.2 core schema: only ``true`` and ``false`` are booleans.
Differs from Istio: there ``yes``, ``no``, ``on`` and ``off`` are booleans, here text.

Strict and bounded: a key given twice is an error, and neither deep nesting nor aliases of aliases
can use much memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from mast.galley.core.problem import NOWHERE, Position, Problem

TEXT_LIMIT_BYTES = 4 << 20
DEPTH_LIMIT = 64
# Nodes of one text after aliases are followed.
NODE_LIMIT = 400_000

Scalar = str | int | float | bool | None

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False,
             "FALSE": False}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_OCTAL = re.compile(r"0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_LONG_INTEGER = 40
_TEXT_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Node:
    """A mapping, a list or a scalar with its position.

    ``text`` is what was written for a plain scalar. ``keys`` holds where the keys of a mapping
    stand.
    """

    value: Scalar | list[Node] | dict[str, Node]
    position: Position = NOWHERE
    text: str | None = None
    keys: dict[str, Position] = field(default_factory=dict)


class _Broken(Exception):
    """The text cannot be read further."""

    def __init__(self, rule: str, message: str, position: Position) -> None:
        self.problem = Problem(rule, message, position=position)


def documents(text: str) -> tuple[list[Node], list[Problem]]:
    """The documents of a text, and what is wrong with the text.

    Empty documents are left out. After a syntax error there are only the documents before it.
    """
    if len(text) > TEXT_LIMIT_BYTES or len(text.encode()) > TEXT_LIMIT_BYTES:
        message = f"text is longer than {TEXT_LIMIT_BYTES} bytes; split it"
        return [], [Problem("too-large", message)]
    reader = _Reader(text)
    found: list[Node] = []
    try:
        found.extend(node for node in reader.documents() if node.value is not None)
    except _Broken as broken:
        reader.problems.append(broken.problem)
    except yaml.YAMLError as error:
        reader.problems.append(_syntax(error))
    return found, reader.problems


def _syntax(error: yaml.YAMLError) -> Problem:
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    position = _place(getattr(error, "problem_mark", None))
    message = f"not YAML: {said}" + (f" ({context})" if context else "")
    return Problem("malformed-yaml", message, position=position)


def _place(mark: Any) -> Position:
    return NOWHERE if mark is None else Position(mark.line + 1, mark.column + 1)


class _Reader:
    """Builds trees from parser events, without recursion."""

    def __init__(self, text: str) -> None:
        self.problems: list[Problem] = []
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[int, int] = {}
        self._count = 0

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                self._sizes.clear()
                yield self._tree()

    def _tree(self) -> Node:
        """The document whose start was just read."""
        stack: list[_Open] = []
        while True:
            event = next(self._events)
            position = _place(event.start_mark)
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._grow(1, position)
                if len(stack) >= DEPTH_LIMIT:
                    raise _Broken("too-deep", f"nested deeper than {DEPTH_LIMIT} levels", position)
                self._plain_tag(event.tag, position)
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                stack.append(_Open(is_mapping, position, event.anchor, self._count))
                continue
            if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                opened = stack.pop()
                node = opened.node
                position = node.position
                self._remember(opened.anchor, node, self._count - opened.before + 1)
            elif isinstance(event, yaml.AliasEvent):
                node = self._alias(event.anchor or "", position)
            else:
                node = self._scalar(cast("yaml.ScalarEvent", event), position)
            if not stack:
                return node
            stack[-1].add(node, position, self.problems)

    def _scalar(self, event: yaml.ScalarEvent, position: Position) -> Node:
        self._grow(1, position)
        plain = event.implicit[0]
        if event.tag is not None:
            self._plain_tag(event.tag, position)
        value = _resolved(event.value) if plain else event.value
        node = Node(value, position, event.value if plain else None)
        self._remember(event.anchor, node, 1)
        return node

    def _alias(self, anchor: str, position: Position) -> Node:
        node = self._anchors.get(anchor)
        if node is None:
            raise _Broken("malformed-yaml", f"alias *{anchor} has no anchor before it", position)
        self._grow(self._sizes[id(node)], position)
        return node

    def _remember(self, anchor: str | None, node: Node, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
            self._sizes[id(node)] = size

    def _grow(self, by: int, position: Position) -> None:
        self._count += by
        if self._count > NODE_LIMIT:
            raise _Broken("too-large", f"more than {NODE_LIMIT} values, aliases counted", position)

    def _plain_tag(self, tag: str | None, position: Position) -> None:
        if tag not in {None, "!", _TEXT_TAG}:
            message = f"tag {tag} is not allowed; write plain values"
            self.problems.append(Problem("yaml-tag", message, position=position))


class _Open:
    """A mapping or list whose end was not read yet."""

    def __init__(
        self, is_mapping: bool, position: Position, anchor: str | None, before: int
    ) -> None:
        self.anchor = anchor
        self.before = before
        self._items: list[Node] = []
        self._content: dict[str, Node] | None = {} if is_mapping else None
        self.node = Node(self._items if self._content is None else self._content, position)
        self._key: str | None = None
        self._ignore = False

    def add(self, node: Node, position: Position, problems: list[Problem]) -> None:
        """Take the next item, key or value."""
        if self._content is None:
            self._items.append(node)
        elif self._ignore:
            self._ignore = False
        elif self._key is None:
            self._begin(node, position, problems)
        else:
            self._end(self._key, node, self._content, problems)
            self._key = None

    def _begin(self, key: Node, position: Position, problems: list[Problem]) -> None:
        """A key: text, number or boolean, each key once."""
        name = key.text if key.text is not None else key.value
        if not isinstance(name, str) or key.value is None:
            problems.append(Problem("yaml-key", "a key must be text", position=position))
            self._ignore = True
        elif name in self.node.keys:
            first = self.node.keys[name]
            message = f"key {name!r} is given twice; first in line {first.line}"
            problems.append(Problem("duplicate-key", message, position=position))
            self._ignore = True
        else:
            self.node.keys[name] = position
            self._key = name

    def _end(
        self, key: str, value: Node, content: dict[str, Node], problems: list[Problem]
    ) -> None:
        """The value of a key; ``<<`` takes over the keys of mappings that are not given here."""
        if key != "<<":
            content[key] = value
            return
        for source in value.value if isinstance(value.value, list) else [value]:
            if not isinstance(source.value, dict):
                message = "<< must name a mapping or a list of mappings"
                problems.append(Problem("yaml-merge", message, position=value.position))
                return
            for name, merged in source.value.items():
                content.setdefault(name, merged)


def _resolved(text: str) -> Scalar:
    """The value of a plain scalar by the YAML 1.2 core schema."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text) and len(text) <= _LONG_INTEGER:
        return int(text)
    if _HEXADECIMAL.fullmatch(text) and len(text) <= _LONG_INTEGER:
        return int(text, 16)
    if _OCTAL.fullmatch(text) and len(text) <= _LONG_INTEGER:
        return int(text, 8)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text.lower() in _SPECIAL:
        return float(_SPECIAL[text.lower()])
    return text


def from_json(value: object) -> Node:
    """A tree without positions from decoded JSON (None, bool, int, float, str, list, dict)."""
    if isinstance(value, dict):
        return Node({str(key): from_json(item) for key, item in value.items()})
    if isinstance(value, list):
        return Node([from_json(item) for item in value])
    if isinstance(value, float) and value.is_integer():
        return Node(int(value))
    return Node(cast("Scalar", value))

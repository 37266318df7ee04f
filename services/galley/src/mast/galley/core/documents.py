"""YAML and JSON text as trees that know the line and column of everything in them.

Scalars are read by the YAML 1.2 core schema: only ``true`` and ``false`` are booleans.
Differs from Istio: there ``yes``, ``no``, ``on`` and ``off`` are booleans, here text.

Strict and bounded: a key given twice is an error, and neither deep nesting nor aliases of aliases
can use much memory. A document that cannot be read does not hide the ones after it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from mast.galley.core.problem import NOWHERE, Position, Problem

TEXT_LIMIT_BYTES = 4 << 20
DEPTH_LIMIT = 64
# Nodes of one text after aliases are followed, and its lines.
NODE_LIMIT = 400_000
# Documents of one text, empty ones included, and those that cannot be read, until we give up.
DOCUMENT_LIMIT = 20_000
BROKEN_LIMIT = 100

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
# A line of this kind begins a document wherever it stands (YAML 1.2, "c-forbidden").
_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)
# YAML 1.2, "c-printable", upside down. Bytes that are not UTF-8 are surrogates.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REPLACEMENT = "\ufffd"
_FIRST_FOREIGN_BYTE, _LAST_FOREIGN_BYTE = 0xDC80, 0xDCFF


@dataclass(slots=True)
class Node:
    """A mapping, a list or a scalar with its position; not to be changed.

    ``text`` is what was written for a plain scalar. ``keys`` holds where the keys of a mapping
    stand. Not frozen, as an object has hundreds, and to make them would take seven times as long.
    """

    value: Scalar | list[Node] | dict[str, Node]
    position: Position = NOWHERE
    text: str | None = None
    keys: dict[str, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a text: its tree, None if it cannot be read, and what is wrong with it."""

    node: Node | None
    problems: tuple[Problem, ...] = ()


class _Broken(Exception):
    """A document cannot be read further; ``index`` says where in the text that was parsed.

    ``final``: nothing after it is read either.
    """

    def __init__(self, problem: Problem, index: int, *, final: bool = False) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.index = index
        self.final = final


def utf8(content: bytes) -> str:
    """The text of a file; what is not UTF-8 in it is a problem of the document it stands in."""
    return content.decode("utf-8", errors="surrogateescape")


def documents(text: str) -> tuple[list[Node], list[Problem]]:
    """The documents of a text that can be read, and everything that is wrong with the text.

    Empty documents are left out.
    """
    found = parsed(text)
    nodes = [document.node for document in found if document.node is not None]
    return nodes, [problem for document in found for problem in document.problems]


def parsed(text: str) -> list[Document]:
    """Every document of a text that is not empty, or wrong."""
    size = len(text)
    if size <= TEXT_LIMIT_BYTES:
        size = len(text.encode("utf-8", errors="surrogateescape"))
    if size > TEXT_LIMIT_BYTES:
        message = f"text is longer than {TEXT_LIMIT_BYTES} bytes; split it"
        return [Document(None, (Problem("too-large", message),))]
    if text.count("\n") > NODE_LIMIT:
        message = f"text has more than {NODE_LIMIT} lines; split it"
        return [Document(None, (Problem("too-large", message),))]
    return list(_Reader(text).documents())


def _not_text(text: str, found: re.Match[str]) -> Problem:
    """The complaint about a character that YAML does not have."""
    begin = found.start()
    line_begin = text.rfind("\n", 0, begin) + 1
    position = Position(text.count("\n", 0, begin) + 1, begin - line_begin + 1)
    number = ord(found[0])
    if _FIRST_FOREIGN_BYTE <= number <= _LAST_FOREIGN_BYTE:
        message = f"byte 0x{number - 0xDC00:02x} is not UTF-8"
        return Problem("not-utf-8", message, position=position)
    message = f"not YAML: control character U+{number:04X}"
    return Problem("malformed-yaml", message, position=position)


def _syntax(error: yaml.YAMLError, lines: int) -> _Broken:
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    context = getattr(error, "context", None)
    mark = getattr(error, "problem_mark", None)
    message = f"not YAML: {said}" + (f" ({context})" if context else "")
    problem = Problem("malformed-yaml", message, position=_place(mark, lines))
    return _Broken(problem, _index(mark))


def _place(mark: Any, lines: int) -> Position:
    return NOWHERE if mark is None else Position(lines + mark.line + 1, mark.column + 1)


def _index(mark: Any) -> int:
    return 0 if mark is None else int(mark.index)


class _Reader:
    """Builds trees from parser events, without recursion."""

    def __init__(self, text: str) -> None:
        self._written = text
        self._text = _UNPRINTABLE.sub(_REPLACEMENT, text)
        self._ended_at = 0
        self._problems: list[Problem] = []
        self._events: Iterator[yaml.Event] = iter(())
        self._lines = 0
        self._anchors: dict[str, Node] = {}
        self._sizes: dict[int, int] = {}
        self._count = 0
        self._started = 0

    def documents(self) -> Iterator[Document]:
        """All documents; after one that is broken the next begins at the next separator."""
        begin: int | None = 0
        streams = 0
        while begin is not None and streams < BROKEN_LIMIT:
            begin = yield from self._from(begin)
            streams += 1
        if begin is not None:
            position = Position(self._text.count("\n", 0, begin) + 1, 1)
            message = f"{BROKEN_LIMIT} documents cannot be read; the rest is not even tried"
            self._problems.append(Problem("too-many", message, position=position))
        yield from self._ended(None, len(self._text))

    def _from(self, begin: int) -> Generator[Document, None, int | None]:
        """The documents from a place on; where to go on after a broken one, None at the end."""
        self._lines = self._text.count("\n", 0, begin)
        self._events = yaml.parse(self._text[begin:], Loader=yaml.CSafeLoader)
        started = begin
        node: Node | None = None
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    self._start(_place(event.start_mark, self._lines))
                    started = begin + _index(event.start_mark)
                    node = self._tree()
                elif isinstance(event, yaml.DocumentEndEvent):
                    yield from self._ended(node, begin + _index(event.end_mark))
            return None
        except yaml.YAMLError as error:
            broken = _syntax(error, self._lines)
        except _Broken as error:
            broken = error
        self._problems.append(broken.problem)
        resume = None if broken.final else self._separator(begin + broken.index, started)
        if resume is not None:
            yield from self._ended(None, resume)
        return resume

    def _start(self, position: Position) -> None:
        self._anchors.clear()
        self._sizes.clear()
        self._started += 1
        if self._started > DOCUMENT_LIMIT:
            message = f"more than {DOCUMENT_LIMIT} documents; split the text"
            raise _Broken(Problem("too-large", message, position=position), 0, final=True)

    def _ended(self, node: Node | None, end: int) -> Iterator[Document]:
        """A document with the problems of its text, unless there is nothing to say of it."""
        foul = None
        if self._written is not self._text:
            foul = _UNPRINTABLE.search(self._written, self._ended_at, end)
            self._ended_at = end
        if foul is not None:
            self._problems.append(_not_text(self._written, foul))
        problems, self._problems = tuple(self._problems), []
        if node is not None and node.value is None:
            node = None
        if node is not None or problems:
            yield Document(node, problems)

    def _separator(self, index: int, started: int) -> int | None:
        """The first line of dashes at a place or after it that is not the broken document's own."""
        line = self._text.rfind("\n", 0, index) + 1
        found = _SEPARATOR.search(self._text, max(line, started + 1))
        return None if found is None else found.start()

    def _tree(self) -> Node:
        """The document whose start was just read."""
        stack: list[_Open] = []
        while True:
            event = next(self._events)
            position = _place(event.start_mark, self._lines)
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._grow(1, position)
                if len(stack) >= DEPTH_LIMIT:
                    message = f"nested deeper than {DEPTH_LIMIT} levels"
                    problem = Problem("too-deep", message, position=position)
                    raise _Broken(problem, _index(event.start_mark))
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
                node = self._alias(event.anchor or "", position, _index(event.start_mark))
            else:
                node = self._scalar(cast("yaml.ScalarEvent", event), position)
            if not stack:
                return node
            stack[-1].add(node, position, self._problems)

    def _scalar(self, event: yaml.ScalarEvent, position: Position) -> Node:
        self._grow(1, position)
        plain = event.implicit[0]
        if event.tag is not None:
            self._plain_tag(event.tag, position)
        value = _resolved(event.value) if plain else event.value
        node = Node(value, position, event.value if plain else None)
        self._remember(event.anchor, node, 1)
        return node

    def _alias(self, anchor: str, position: Position, index: int) -> Node:
        node = self._anchors.get(anchor)
        if node is None:
            message = f"alias *{anchor} has no anchor before it"
            raise _Broken(Problem("malformed-yaml", message, position=position), index)
        self._grow(self._sizes[id(node)], position)
        return node

    def _remember(self, anchor: str | None, node: Node, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
            self._sizes[id(node)] = size

    def _grow(self, by: int, position: Position) -> None:
        self._count += by
        if self._count > NODE_LIMIT:
            message = f"more than {NODE_LIMIT} values, aliases counted"
            raise _Broken(Problem("too-large", message, position=position), 0, final=True)

    def _plain_tag(self, tag: str | None, position: Position) -> None:
        if tag not in {None, "!", _TEXT_TAG}:
            message = f"tag {tag} is not allowed; write plain values"
            self._problems.append(Problem("yaml-tag", message, position=position))


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

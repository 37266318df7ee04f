"""What readers of documents get and give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.message import Message

from mast.galley.core.documents import Node
from mast.galley.core.problem import Position, Problem


@dataclass(frozen=True)
class Document:
    """One object of a text."""

    source: str
    node: Node
    content: Mapping[str, Node]

    @property
    def place(self) -> tuple[str, Position]:
        """What tells it from all others."""
        return self.source, self.node.position

    @property
    def type(self) -> tuple[str, str]:
        """``apiVersion`` and ``kind``; empty if they are not given as text."""
        return self._text("apiVersion"), self._text("kind")

    @property
    def kind_position(self) -> Position:
        """Where its kind stands."""
        return self.node.keys.get("kind", self.node.position)

    def metadata(self, key: str) -> Node | None:
        """A value of its metadata."""
        meta = self.content.get("metadata")
        return meta.value.get(key) if meta is not None and isinstance(meta.value, dict) else None

    def problem(self, rule: str, message: str, path: str, at: Position | None = None) -> Problem:
        """Something wrong with it."""
        position = at or self.node.position
        kind, name = self._text("kind"), self.metadata("name")
        named = name.value if name is not None and isinstance(name.value, str) else ""
        return Problem(
            rule, message, path, source=self.source, position=position, kind=kind, name=named
        )

    def _text(self, key: str) -> str:
        node = self.content.get(key)
        return node.value if node is not None and isinstance(node.value, str) else ""


@dataclass(frozen=True)
class Registered:
    """An object of the registry and its key in the store."""

    key: str
    message: Any

    def stored(self, created: datetime) -> Message:
        """The message to store: created at that time, unless it says when or cannot."""
        made: Message = self.message
        if "create_time" in made.DESCRIPTOR.fields_by_name and not made.HasField("create_time"):
            self.message.create_time.FromDatetime(created)
        return made


@dataclass(frozen=True)
class Found:
    """What a document holds."""

    registered: tuple[Registered, ...] = ()
    problems: tuple[Problem, ...] = ()


Ages = Mapping[tuple[str, Position], datetime]
"""When each document was created, by its place."""

Reader = Callable[[Document, str], Found]
"""Reads one document; the text is the namespace of objects that name none."""

"""Reads charts/mast/values.yaml with its comments: every value, what it is for, what it may be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

MARK = "@ "
"""Begins the line of a comment that says what the schema of a value is."""


@dataclass(frozen=True)
class Value:
    """A value by its path; ``schema`` is the name of a definition, JSON, or ""."""

    path: tuple[str, ...]
    default: Any
    text: str
    schema: str
    leaf: bool

    @property
    def name(self) -> str:
        """As it is given to ``--set``."""
        return ".".join(self.path)


def values(text: str) -> list[Value]:
    """All values in their order, maps of values before what is in them."""
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValueError("want a map of values")
    return list(_below((), root, lines, yaml.safe_load(text)))


def _below(
    path: tuple[str, ...], node: yaml.MappingNode, lines: Sequence[str], given: Any
) -> Iterator[Value]:
    for key, each in node.value:
        default = given[key.value]
        text, schema = _comment(lines, key.start_mark.line)
        leaf = bool(schema) or not isinstance(each, yaml.MappingNode)
        yield Value((*path, key.value), default, text, schema, leaf)
        if not leaf and isinstance(each, yaml.MappingNode):
            yield from _below((*path, key.value), each, lines, default)


def _comment(lines: Sequence[str], line: int) -> tuple[str, str]:
    """Text and schema of the comment above a line."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].lstrip().removeprefix("#").removeprefix(" "))
    schema = [each.removeprefix(MARK) for each in found if each.startswith(MARK)]
    text = " ".join(each for each in found if not each.startswith(MARK))
    return text, schema[0] if schema else ""


def shown(default: Any) -> str:
    """A default in a line of Markdown."""
    return f"`{json.dumps(default, ensure_ascii=False)}`" if default is not None else ""

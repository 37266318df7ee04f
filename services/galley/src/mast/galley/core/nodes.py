"""What a document's tree is asked for: its content, its objects, and where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.documents import Node
from mast.galley.core.problem import Path, Position


def plain(node: Node) -> Any:
    """The tree as dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def opened(node: Node) -> Iterator[Node]:
    """The objects of a document: those of a List, and of Lists in it, or itself."""
    content = node.value if isinstance(node.value, dict) else {}
    kind, items = content.get("kind"), content.get("items")
    listed = kind is not None and isinstance(kind.value, str) and kind.value.endswith("List")
    if listed and items is not None and isinstance(items.value, list):
        for item in items.value:
            yield from opened(item)
    else:
        yield node


def place(node: Node, path: Path) -> Position:
    """Where a field stands; of one that is missing, what it would be in."""
    found = node.position
    for part in path:
        if isinstance(node.value, dict) and part in node.value:
            found, node = node.keys.get(str(part), found), node.value[str(part)]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            found = node.position
        else:
            break
    return found

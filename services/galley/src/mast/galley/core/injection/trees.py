"""Text of YAML or JSON as plain objects: strict and bounded, as configuration is read."""

from __future__ import annotations

from typing import Any

from mast.galley.core.documents import Node, documents


def plain(node: Node) -> Any:
    """A tree as dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def parsed(text: str) -> Any:
    """The only document of a text; None if there is none.

    Raises ValueError with what is wrong and in which line.
    """
    nodes, problems = documents(text)
    if problems:
        first = problems[0]
        raise ValueError(f"line {first.position.line or 1}: {first.message}")
    if len(nodes) > 1:
        raise ValueError(f"line {nodes[1].position.line}: want one document, not {len(nodes)}")
    return plain(nodes[0]) if nodes else None

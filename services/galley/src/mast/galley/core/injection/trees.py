"""Text of YAML or JSON as plain objects: strict and bounded, as configuration is read."""

from __future__ import annotations

import json
from typing import Any, Final

from mast.galley.core.documents import DEPTH_LIMIT, documents
from mast.galley.core.nodes import plain

TOO_DEEP: Final = f"nested deeper than {DEPTH_LIMIT} levels"


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


def loaded(text: str) -> Any:
    """What a text of JSON holds; ValueError says what is wrong with it."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    if is_too_deep(found):
        raise ValueError(TOO_DEEP)
    return found


def is_too_deep(value: Any) -> bool:
    """Whether objects and lists are nested deeper than any pod's."""
    level = [value]
    for _ in range(DEPTH_LIMIT + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True

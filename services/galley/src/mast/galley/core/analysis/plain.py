"""Values of plain documents, which may be anything: what is not of the wanted form counts as empty.

Kubernetes judges its own kinds; here they are only looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def at(value: Any, *path: str) -> Any:
    """The value under a path of keys, None if there is none."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """An object."""
    found = at(value, *path)
    return found if isinstance(found, Mapping) else {}


def listing(value: Any, *path: str) -> Sequence[Any]:
    """A list."""
    found = at(value, *path)
    return found if isinstance(found, list) else []


def text(value: Any, *path: str) -> str:
    """A text."""
    found = at(value, *path)
    return found if isinstance(found, str) else ""


def number(value: Any, *path: str) -> int:
    """A whole number; 0 if it is none."""
    found = at(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def texts(value: Any, *path: str) -> Mapping[str, str]:
    """An object of texts; other values in it are left out."""
    return {key: item for key, item in mapping(value, *path).items() if isinstance(item, str)}

"""What functions made of texts that come again and again; long texts take no room."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Final, TypeVar

T = TypeVar("T")

ENTRIES: Final = 4096
LONGEST: Final = 256
"""Characters of a text that is remembered: most values of requests, few of those sent to harm."""


def remembered(function: Callable[[str], T]) -> Callable[[str], T]:
    """The function with a memory of its last results; errors are not remembered."""
    known = lru_cache(maxsize=ENTRIES)(function)

    @wraps(function)
    def remembering(text: str) -> T:
        return known(text) if len(text) <= LONGEST else function(text)

    return remembering

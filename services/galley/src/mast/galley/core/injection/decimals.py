"""Whole numbers as texts hold them."""

from __future__ import annotations

from typing import Final

PORTS: Final = 65535


def decimal(text: str, most: int) -> int | None:
    """The number in ASCII digits, from 0 to ``most``; None for any other text."""
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(most)):
        return None
    number = int(text)
    return number if number <= most else None

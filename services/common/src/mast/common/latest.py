"""A slot that keeps the newest value only: state is conflated, never queued."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """The newest value of something; a slow reader skips versions.

    One writer publishes, any number of readers wait. Values are compared by identity.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        """The value published last."""
        return self._value

    def publish(self, value: T) -> None:
        """Replace the value and wake every waiting reader."""
        self._value = value
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, seen: T | None) -> T:
        """The newest value, as soon as it is another object than ``seen``."""
        while self._value is seen:
            await self._changed.wait()
        return self._value

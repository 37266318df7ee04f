"""Waiting for what gives no event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

SECONDS = 30


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = SECONDS) -> None:
    """Return when it holds; TimeoutError after half a minute, or so many seconds."""
    async with asyncio.timeout(seconds):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)

"""Waiting for what gives no event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

SECONDS = 30


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return when it holds; TimeoutError after half a minute."""
    async with asyncio.timeout(SECONDS):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)

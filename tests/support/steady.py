"""Calls made all the time, at a pace that leaves a small machine room for what is tested."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.until import until


@dataclass
class Steady:
    """How many calls ended well, and what became of the others."""

    made: int = 0
    failures: list[str] = field(default_factory=list)

    async def more(self, calls: int = 5) -> None:
        """Wait until so many more have ended well."""
        enough = self.made + calls
        await until(lambda: self.made >= enough)


@asynccontextmanager
async def steadily(
    call: Callable[[], Awaitable[None]], *, clients: int = 1, pause: float = 0.02
) -> AsyncIterator[Steady]:
    """``call`` again and again in the block, by so many clients, each with a pause in seconds.

    A call fails by raising. The block begins when calls succeed and ends when they still do.
    """
    calls, ending = Steady(), asyncio.Event()

    async def client() -> None:
        while not ending.is_set():
            try:
                await call()
                calls.made += 1
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                calls.failures.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client())
        await calls.more()
        yield calls
        await calls.more()
        ending.set()

"""What waits to be sent to a backend: bounded, in batches, never holding a report up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

import structlog

from mast.mixer.core.adapter import AdapterError

log = structlog.get_logger()

T = TypeVar("T")


class Outbox(Generic[T]):
    """Items on their way. Producers never wait: what does not fit is dropped.

    ``send`` delivers a batch or raises OSError or TimeoutError, then the batch is lost. A batch
    weighs at most ``batch``, by ``weight``, or is a single item; it goes when it is full or its
    first item has waited for ``every``.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[T]], Awaitable[None]],
        *,
        every: timedelta,
        limit: int,
        batch: int,
        weight: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self._name = name
        self._send = send
        self._every = every.total_seconds()
        self._limit = limit
        self._batch = batch
        self._weight = weight
        self._items: deque[T] = deque()
        self._weighs = 0
        self._filled, self._full = asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()

    def put(self, items: Sequence[T]) -> Sequence[str]:
        """Queue items; says how many had to be dropped."""
        taken = items[: max(self._limit - len(self._items), 0)]
        self._items.extend(taken)
        self._weighs += sum(map(self._weight, taken))
        if self._items:
            self._filled.set()
        if self._weighs >= self._batch:
            self._full.set()
        dropped = len(items) - len(taken)
        return (f"{self._name}: {dropped} dropped, the backend is too slow",) if dropped else ()

    async def run(self) -> None:
        """Send what is queued, for ever."""
        while True:
            await self._filled.wait()
            try:
                async with asyncio.timeout(self._every):
                    await self._full.wait()
            except TimeoutError:
                pass
            await self._flush()

    async def close(self) -> None:
        """Send the rest; to be called before :meth:`run` is cancelled."""
        await self._flush()

    async def _flush(self) -> None:
        """Send what is queued; returns when all that was taken from the queue is on its way."""
        async with self._sending:
            self._filled.clear()
            self._full.clear()
            items, self._items, self._weighs = self._items, deque(), 0
            for batch in self._batches(items):
                try:
                    await self._send(batch)
                except (OSError, TimeoutError, AdapterError) as error:
                    log.error(
                        "adapter.send_failed", adapter=self._name, lost=len(batch), error=str(error)
                    )

    def _batches(self, items: deque[T]) -> Iterator[Sequence[T]]:
        batch: list[T] = []
        weighs = 0
        while items:
            weight = self._weight(items[0])
            if batch and weighs + weight > self._batch:
                yield batch
                batch, weighs = [], 0
            batch.append(items.popleft())
            weighs += weight
        if batch:
            yield batch

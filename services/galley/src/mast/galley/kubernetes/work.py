"""Keys with something to do: each once at a time, failures again later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

import structlog

from mast.common.backoff import Backoff

log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)


@dataclass
class Work(Generic[K]):
    """Does ``do(key)`` for every key that was added; one that was added meanwhile, once more.

    What raises one of ``failures`` is tried again after ``first`` to ``last``, sooner if it is
    added again.
    """

    what: str
    do: Callable[[K], Awaitable[None]]
    failures: tuple[type[Exception], ...]
    random: Callable[[], float]
    workers: int = 8
    first: timedelta = timedelta(milliseconds=500)
    last: timedelta = timedelta(seconds=30)
    _ready: dict[K, None] = field(default_factory=dict, init=False)
    _busy: set[K] = field(default_factory=set, init=False)
    _backoffs: dict[K, Backoff] = field(default_factory=dict, init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def add(self, key: K) -> None:
        """There is something to do for this key."""
        self._ready[key] = None
        self._news.set()

    async def run(self) -> None:
        """Do what there is to do, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.workers):
                tasks.create_task(self._work(), name=self.what)

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._busy.add(key)
            try:
                await self.do(key)
            except self.failures as error:
                self._failed(key, error)
            else:
                self._backoffs.pop(key, None)
            finally:
                self._busy.discard(key)
                self._news.set()

    async def _next(self) -> K:
        while True:
            for key in self._ready:
                if key not in self._busy:
                    del self._ready[key]
                    return key
            self._news.clear()
            await self._news.wait()

    def _failed(self, key: K, error: Exception) -> None:
        backoff = self._backoffs.get(key)
        if backoff is None:
            log.warning("kubernetes.failed", what=self.what, key=str(key), error=str(error))
            backoff = self._backoffs[key] = Backoff(self.first, self.last)
        delay = backoff.next(self.random())
        asyncio.get_running_loop().call_later(delay.total_seconds(), self.add, key)

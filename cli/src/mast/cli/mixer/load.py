"""Calls as mixc sends them: so many from each of several workers, no faster than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import grpc
import grpc.aio

from mast.cli.errors import CommandError

_UNREACHABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@dataclass(frozen=True)
class Load:
    """``repeat`` calls of each of ``concurrency`` workers, up to ``rate`` a second of each; 0 or
    less is no limit (mixer.md I2)."""

    repeat: int = 1
    concurrency: int = 1
    rate: float = 0.0

    async def send(self, calls: int, call: Callable[[int], Awaitable[None]]) -> None:
        """Have every worker make so many calls; each is told its number, unlike all others."""
        async with asyncio.TaskGroup() as tasks:
            for worker in range(self.concurrency):
                numbers = range(worker * calls, (worker + 1) * calls)
                tasks.create_task(self._work(numbers, call), name=f"worker {worker}")

    async def _work(self, numbers: range, call: Callable[[int], Awaitable[None]]) -> None:
        now = asyncio.get_running_loop().time
        start = now()
        for done, number in enumerate(numbers):
            if self.rate > 0:
                await asyncio.sleep(start + done / self.rate - now())
            await call(number)


def batches(records: int, size: int) -> Iterator[int]:
    """How many records each call of a report has: ``size``, the last one the rest (C13)."""
    for start in range(0, records, size):
        yield min(size, records - start)


@dataclass
class Tally:
    """How many calls there were and failed; whether one never got an answer."""

    calls: int = 0
    failed: int = 0
    unreachable: bool = False
    seconds: float = field(default=0.0)

    def failure(self, error: grpc.aio.AioRpcError) -> str:
        """Count a failure; ``Code (message)`` with the code's name as Go writes it (I3)."""
        self.failed += 1
        self.unreachable |= error.code() in _UNREACHABLE
        name = _GO_NAMES.get(error.code(), error.code().name.title().replace("_", ""))
        return f"{name} ({error.details()})" if error.details() else name

    def insist(self, address: str) -> None:
        """Raise CommandError if a call failed."""
        if self.failed:
            hint = "name its plaintext address with --mixer HOST:PORT" if self.unreachable else ""
            raise CommandError(
                f"{self.failed} of {self.calls} calls to {address} failed", hint=hint
            )

    def __str__(self) -> str:
        rate = self.calls / self.seconds if self.seconds else 0.0
        return f"{self.calls} calls, {self.failed} failed, {rate:.0f} a second"


_GO_NAMES = {grpc.StatusCode.OK: "OK", grpc.StatusCode.CANCELLED: "Canceled"}

"""HTTP/1.1 requests over kept connections, from a process of its own, for little CPU.

The program that answers must answer with status 200 and an empty body: nothing is parsed.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

_SECONDS: Final = 30
"""After which an answer is missed."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests to a port, that differ in what ``users`` says: the header ``x-user`` goes around.

    ``rate`` is requests a second, evenly over all connections; 0 sends the next one as soon as one
    is answered. ``core`` is where the process runs.
    """

    port: int
    host: str
    seconds: float
    connections: int = 8
    rate: float = 0.0
    users: int = 500
    headers: str = ""
    core: int | None = None


@dataclass
class Taken:
    """What came of a load: seconds of each request in the order of the answers, and of it all."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Milliseconds within which so many of the requests were answered."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1000


def run(load: Load) -> Taken:
    """Put a load on; for a process that does nothing else."""
    if load.core is not None:
        os.sched_setaffinity(0, {load.core})
    return asyncio.run(_run(load))


async def _run(load: Load) -> Taken:
    numbers, taken = count(), Taken()
    requests = [
        f"GET /items HTTP/1.1\r\nhost: {load.host}\r\nuser-agent: bench\r\naccept: */*\r\n"
        f"x-user: user-{number}\r\n{load.headers}\r\n".encode()
        for number in range(load.users)
    ]
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    connections = []
    for number in range(load.connections):
        connection = _Connection(load, requests, numbers, taken)
        await loop.create_connection(lambda each=connection: each, "127.0.0.1", load.port)
        connections.append(connection)
        connection.start(loop.time() + (number / load.rate if load.rate else 0))
    async with asyncio.timeout(load.seconds + _SECONDS):
        for connection in connections:
            await connection.over.wait()
    taken.seconds = time.perf_counter() - begun
    if any(each.failed for each in connections):
        raise SystemExit(next(each.failed for each in connections if each.failed))
    return taken


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(
        self, load: Load, requests: Sequence[bytes], numbers: Iterator[int], taken: Taken
    ) -> None:
        self.over = asyncio.Event()
        self.failed = ""
        self._load = load
        self._requests = requests
        self._numbers = numbers
        self._taken = taken
        self._loop = asyncio.get_running_loop()
        self._end = self._loop.time() + load.seconds
        self._due = 0.0
        self._begun = 0.0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def start(self, due: float) -> None:
        """Send the first request at a time of the loop."""
        self._due = due
        self._loop.call_at(due, self._send)

    def _send(self) -> None:
        self._begun = time.perf_counter()
        self._transport.write(self._requests[next(self._numbers) % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        """Count an answer, and send the next request."""
        data = self._answer + data
        if not data.endswith(b"\r\n\r\n"):
            self._answer = data
            return
        self._answer = b""
        self._taken.latencies.append(time.perf_counter() - self._begun)
        if not data.startswith(b"HTTP/1.1 200"):
            self._finish(f"{self._load.host} answered {data!r}")
        elif self._loop.time() >= self._end:
            self._finish("")
        elif self._load.rate:
            self._due = max(self._due + self._load.connections / self._load.rate, self._loop.time())
            self._loop.call_at(self._due, self._send)
        else:
            self._send()

    def _finish(self, why: str) -> None:
        self.failed = why
        self.over.set()
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side must not close."""
        if not self.over.is_set():
            self.failed = f"{self._load.host} closed a connection: {exc}"
            self.over.set()

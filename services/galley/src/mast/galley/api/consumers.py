"""Streams to consumers of configuration: requests in, responses out, whatever the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from grpc import StatusCode

from mast.common.latest import Latest
from mast.galley.api.access import Access, Use
from mast.galley.api.problems import Context
from mast.galley.core.mcp.catalog import Snapshot
from mast.galley.core.mcp.pace import Pace
from mast.galley.core.mcp.watches import Answer, Push, Watches

log = structlog.get_logger()

STREAMS = 1024
"""As many streams at a time (galley-and-kubernetes.md A4.4)."""
PER_SECOND, BURST = 1.0, 100
"""New streams, and requests of MCP on each stream (A4.4)."""
WATCHES = 256
"""Collections or types that one stream may ask for."""

RequestT = TypeVar("RequestT", contravariant=True)


class BadRequest(Exception):
    """A request that ends its stream with INVALID_ARGUMENT."""


class Face(Protocol[RequestT]):
    """One protocol's messages of one stream."""

    @property
    def watches(self) -> Watches: ...

    @property
    def pace(self) -> Pace:
        """How often its requests may come."""

    def ask(self, request: RequestT) -> tuple[Answer, str]:
        """Take in a request; what it means, and the error it tells. Raises BadRequest."""

    def response(self, push: Push) -> Any:
        """The message of a response."""


@dataclass
class Consumers:
    """What all streams share."""

    snapshots: Latest[Snapshot | None]
    pace: Pace
    streams: int = 0

    async def serve(
        self,
        requests: AsyncIterator[RequestT],
        context: Context,
        access: Access,
        face: Face[RequestT],
    ) -> None:
        """Converse until the consumer ends the stream or says something that makes no sense."""
        await access.insist(context, Use.READ)
        if self.streams >= STREAMS:
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, f"{STREAMS} streams are open")
        self.streams += 1
        peer = access.caller(context)
        try:
            await asyncio.sleep(self.pace.delay(asyncio.get_running_loop().time()))
            log.info("consumer.connected", peer=peer)
            refusal = await self.converse(requests, context.write, face, peer)
        finally:
            self.streams -= 1
            log.info("consumer.gone", peer=peer)
        if refusal:
            await context.abort(StatusCode.INVALID_ARGUMENT, refusal)

    async def converse(
        self,
        requests: AsyncIterable[RequestT],
        write: Callable[[Any], Awaitable[None]],
        face: Face[RequestT],
        peer: str,
    ) -> str:
        """Answer requests on a stream, whoever opened it, until it ends.

        Returns why it is refused; nothing if the consumer ended it. What reading and writing raise
        comes in a group.
        """
        news = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            telling = [
                tasks.create_task(self._wake(news), name="mcp snapshots"),
                tasks.create_task(self._tell(news, write, face), name="mcp responses"),
            ]
            try:
                return await _listen(requests, news, face, peer)
            finally:
                for task in telling:
                    task.cancel()

    async def _wake(self, news: asyncio.Event) -> None:
        seen: Snapshot | None = None
        while True:
            seen = await self.snapshots.after(seen)
            news.set()

    async def _tell(
        self,
        news: asyncio.Event,
        write: Callable[[Any], Awaitable[None]],
        face: Face[RequestT],
    ) -> None:
        """Write what is due. While a write waits for a slow consumer, snapshots come and go."""
        while True:
            news.clear()
            snapshot = self.snapshots.value
            push = None if snapshot is None else face.watches.next(snapshot)
            if push is None:
                await news.wait()
            else:
                await write(await asyncio.to_thread(face.response, push))


async def _listen(
    requests: AsyncIterable[RequestT], news: asyncio.Event, face: Face[RequestT], peer: str
) -> str:
    now = asyncio.get_running_loop().time
    async for request in requests:
        await asyncio.sleep(face.pace.delay(now()))
        try:
            answer, error = face.ask(request)
        except BadRequest as refusal:
            return str(refusal)
        if answer is Answer.NACK:
            log.warning("consumer.rejected", peer=peer, error=error)
        news.set()
    return ""

"""The xDS source: another control plane that tells its configuration by MCP over xDS (A5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from grpc import aio

from mast.common.backoff import Backoff
from mast.galley.core.mcp.subscriber import Subscriber
from mast.galley.store.trees import TreeKeeper

log = structlog.get_logger()

_OPTIONS: Final = (
    # A type is one message, however many objects it has.
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

Dial = Callable[[tuple[tuple[str, int], ...]], aio.Channel]
"""A channel with these options, by the certificates of now."""


class XdsSource:
    """Asks for everything, by every replica, and has it kept in the store.

    A stream that ends is opened again after 1 to 30 seconds; what was told stays meanwhile.
    """

    def __init__(
        self, keeper: TreeKeeper, subscriber: Subscriber, dial: Dial, random: Callable[[], float]
    ) -> None:
        self.keeper = keeper
        self._subscriber = subscriber
        self._dial = dial
        self._random = random

    async def run(self) -> None:
        """Ask and store for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ask(), name=f"ask source {self.keeper.name}")
            tasks.create_task(self.keeper.run(), name=f"store source {self.keeper.name}")

    async def _ask(self) -> None:
        backoff = Backoff(timedelta(seconds=1), timedelta(seconds=30))
        lost = False
        while True:
            told, reason = await self._converse()
            if told:
                backoff.reset()
            if told or not lost:
                missing = sorted(self._subscriber.missing)
                name = self.keeper.name
                log.warning("source.lost", source_name=name, reason=reason, missing=missing)
            lost = True
            await asyncio.sleep(backoff.next(self._random()).total_seconds())

    async def _converse(self) -> tuple[bool, str]:
        """Whether anything was told, and why the stream ended."""
        told = False
        async with self._dial(_OPTIONS) as channel:
            call = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
            try:
                for request in self._subscriber.requests():
                    await call.write(request)
                async for response in call:
                    answer: DiscoveryRequest = await asyncio.to_thread(
                        self._subscriber.receive, response
                    )
                    await call.write(answer)
                    told = True
                    if self._subscriber.synced:
                        self.keeper.take(self._subscriber.tree)
            except aio.AioRpcError as error:
                return told, f"{error.code().name}: {error.details()}"
            except asyncio.InvalidStateError as error:
                return told, str(error)
            finally:
                call.cancel()
        return told, "the server ended the stream"

"""Asks Pilot, before Envoy starts, what users want in the bootstrap (pilot.md B, K1)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import grpc.aio
import structlog
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.base_pb2 import Node

from mast.agent.core import bootstrap_patches
from mast.agent.store.pilot import Call, Unreachable
from mast.common.backoff import Backoff

log = structlog.get_logger()

METHOD = "DeltaAggregatedResources"
PATIENCE = timedelta(seconds=20)
"""Envoy waits no longer for an answer: traffic is worth more than a patch."""


async def fetch(
    dial: Callable[[str], AbstractAsyncContextManager[Call]],
    node: Node,
    random: Callable[[], float],
    patience: timedelta = PATIENCE,
) -> Bootstrap | None:
    """What Pilot wants merged into the bootstrap; None if nothing, or if Pilot does not answer."""
    backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=5))
    error: Exception | None = None
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while True:
                try:
                    return bootstrap_patches.patch_in(await _ask(dial, node))
                except (Unreachable, grpc.aio.AioRpcError, ValueError) as problem:
                    error = problem
                await asyncio.sleep(backoff.next(random()).total_seconds())
    except TimeoutError:
        reason = str(error) if error else "no answer"
        log.warning("bootstrap.unpatched", waited=patience.total_seconds(), error=reason)
        return None


async def _ask(dial: Callable[[str], AbstractAsyncContextManager[Call]], node: Node) -> bytes:
    async with dial(METHOD) as call:
        await call.write(bootstrap_patches.request(node))
        answer = await call.read()
        if not isinstance(answer, bytes):  # the end of the stream
            raise Unreachable(f"Pilot closed the stream: {await call.details()}")
        return answer

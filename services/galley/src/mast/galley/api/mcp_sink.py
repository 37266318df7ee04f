"""ResourceSink: Galley calls consumers that wait for configuration (A4.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import structlog
from grpc import aio

from istio.mcp.v1alpha1 import mcp_pb2_grpc
from mast.galley.api.consumers import Consumers
from mast.galley.api.mcp_source import VERSION, SinkStream

log = structlog.get_logger()

RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class SinkCaller:
    """Calls one sink at ``host:port`` and, when the call ends, calls it again after a second.

    ``credentials`` gives those of now for each call; without it the sink is on this machine.
    ``meta`` is sent ahead, after our version.
    """

    consumers: Consumers
    address: str
    credentials: Callable[[], grpc.ChannelCredentials] | None = None
    meta: tuple[tuple[str, str], ...] = ()

    async def run(self) -> None:
        """Serve the sink for ever."""
        lost = False
        while True:
            stream = SinkStream()
            reason = await self._call(stream)
            if len(stream.watches) or not lost:
                log.warning("sink.lost", address=self.address, reason=reason)
            lost = True
            await asyncio.sleep(RETRY_SECONDS)

    async def _call(self, stream: SinkStream) -> str:
        """Why the call ended."""
        reason = ""
        async with self._channel() as channel:
            call = mcp_pb2_grpc.ResourceSinkStub(channel).EstablishResourceStream(
                metadata=(*VERSION, *self.meta)
            )
            try:
                reason = await self.consumers.converse(call, call.write, stream, self.address)
            except* (aio.AioRpcError, asyncio.InvalidStateError) as errors:
                reason = _told(errors.exceptions[0])
            finally:
                call.cancel()
        _insist_on_cancellation()
        return reason or "the sink ended the call"

    def _channel(self) -> aio.Channel:
        if self.credentials is None:
            return aio.insecure_channel(self.address)
        return aio.secure_channel(self.address, self.credentials())


def _insist_on_cancellation() -> None:
    """A task group that is cancelled while a call fails in it tells of the failure only."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _told(error: BaseException) -> str:
    if isinstance(error, aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)

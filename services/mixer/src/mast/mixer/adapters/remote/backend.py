"""The connection to one adapter: dialled when it is first called, and again when it has to be."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import Message

from mast.mixer.adapters.remote.security import Metadata, Security
from mast.mixer.core.adapter import AdapterError

_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),
)


class Backend:
    """Calls of an adapter; one that is dead harms nobody else."""

    def __init__(self, address: str, security: Security, timeout: timedelta | None = None) -> None:
        """``timeout`` limits each call, beside the limit that all adapters have."""
        self._address = address
        self._security = security
        self._timeout = timeout.total_seconds() if timeout else None
        self._resources = AsyncExitStack()
        self._channel: grpc.aio.Channel | None = None
        self._dialling = asyncio.Lock()

    async def call(
        self, path: str, request: Message, response: type[Message], metadata: Metadata = ()
    ) -> Message:
        """One answer; AdapterError if there is none."""
        channel = self._channel or await self._dial()
        tokens = await self._security.tokens.metadata()
        method = channel.unary_unary(
            path,
            request_serializer=_bytes,
            response_deserializer=response.FromString,
        )
        try:
            answer: Message = await method(
                request, timeout=self._timeout, metadata=(*tokens, *metadata)
            )
        except grpc.aio.AioRpcError as error:
            raise AdapterError(f"{error.code().name}: {error.details()}") from error
        return answer

    async def _dial(self) -> grpc.aio.Channel:
        async with self._dialling:
            if self._channel is None:
                self._channel = await self._opened()
            return self._channel

    async def _opened(self) -> grpc.aio.Channel:
        if self._security.tunnel is None:
            return grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        path = await self._resources.enter_async_context(self._security.tunnel.open())
        named = (*_OPTIONS, ("grpc.default_authority", self._address))
        return grpc.aio.insecure_channel(f"unix:{path}", options=named)

    async def close(self) -> None:
        """Hang up."""
        if self._channel is not None:
            await self._channel.close()
        await self._resources.aclose()


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()

"""Channels from mastctl to the services of a mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from mast.cli.errors import CommandError
from mast.cli.local.home import Mesh
from mastapi.citadel.v1 import citadel_pb2_grpc, issued_pb2_grpc
from mastapi.galley.v1 import config_pb2_grpc, history_pb2_grpc

_UNREACHABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@asynccontextmanager
async def galley(address: str) -> AsyncIterator[config_pb2_grpc.ConfigServiceStub]:
    """Galley's configuration API; transport failures become CommandErrors."""
    async with _channel("galley", address) as channel:
        yield config_pb2_grpc.ConfigServiceStub(channel)


@asynccontextmanager
async def galley_history(address: str) -> AsyncIterator[history_pb2_grpc.HistoryServiceStub]:
    """What Galley keeps of the past; failures as of ``galley``."""
    async with _channel("galley", address) as channel:
        yield history_pb2_grpc.HistoryServiceStub(channel)


@asynccontextmanager
async def citadel_admin(mesh: Mesh) -> AsyncIterator[citadel_pb2_grpc.CitadelAdminStub]:
    """Citadel's administration API of a laptop mesh."""
    async with citadel_at(mesh.addresses["citadel-admin"]) as stub:
        yield stub


@asynccontextmanager
async def citadel_at(address: str) -> AsyncIterator[citadel_pb2_grpc.CitadelAdminStub]:
    """Citadel's administration API at its socket."""
    async with _channel("citadel", address) as channel:
        yield citadel_pb2_grpc.CitadelAdminStub(channel)


@asynccontextmanager
async def ledger_at(address: str) -> AsyncIterator[issued_pb2_grpc.CitadelLedgerStub]:
    """What Citadel has on record, at its administration socket."""
    async with _channel("citadel", address) as channel:
        yield issued_pb2_grpc.CitadelLedgerStub(channel)


@asynccontextmanager
async def _channel(service: str, address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            yield channel
        except grpc.aio.AioRpcError as error:
            if error.code() not in _UNREACHABLE:
                raise
            raise CommandError(
                f"{service} at {address} does not answer: {error.details()}",
                hint="check with: mastctl status",
            ) from error

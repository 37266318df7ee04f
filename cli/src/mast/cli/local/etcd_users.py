"""Users of the laptop's etcd, made once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from mast.cli.etcd_users import keep_users
from mast.cli.local.etcd import certificate
from mast.common.etcd.roles import ADMINISTRATOR
from mast.common.etcd.stubs import rpc_pb2_grpc


async def enable_users(endpoint: str, pki: Path) -> None:
    """Make users and roles, and have etcd ask for them from now on; only the first time.

    The administrator's key is thrown away in the end, so that roles stay what they are. Raises
    grpc.aio.AioRpcError if etcd does not answer.
    """
    _, key = certificate(pki, ADMINISTRATOR)
    if not key.exists():
        return
    async with _auth(endpoint, pki) as auth:
        await keep_users(auth)
    key.unlink()


@asynccontextmanager
async def _auth(endpoint: str, pki: Path) -> AsyncIterator[rpc_pb2_grpc.AuthStub]:
    chain, key = certificate(pki, ADMINISTRATOR)
    credentials = grpc.ssl_channel_credentials(
        (pki / "ca.pem").read_bytes(), key.read_bytes(), chain.read_bytes()
    )
    async with grpc.aio.secure_channel(endpoint, credentials) as channel:
        yield rpc_pb2_grpc.AuthStub(channel)

"""Leases on a real etcd."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import grpc.aio
import pytest
from etcd.api.etcdserverpb import rpc_pb2, rpc_pb2_grpc

from mast.common.etcd import EtcdConfig, Rejected, Store, Unavailable, connect
from tests.support.etcd_server import EtcdServer, free_port
from tests.support.following import SECONDS
from tests.support.tcp_proxy import TcpProxy

SHORT = timedelta(seconds=2)


async def gone(store: Store, key: str) -> None:
    """Return when a key does not exist."""
    async with aclosing(store.follow_key(key)) as batches, asyncio.timeout(SECONDS):
        held = False
        async for batch in batches:
            for change in batch.changes:
                held = change.value is not None
            if batch.synced and not held:
                return


async def test_a_key_ends_with_the_block_of_its_lease(store: Store, direct: Store) -> None:
    async with store.lease(timedelta(seconds=60)) as lease:
        await store.put("a", b"", lease=lease.id)
        entry = await direct.get("a")
        assert entry is not None
        assert entry.lease == lease.id
        assert lease.ttl == timedelta(seconds=60)
    assert await direct.get("a") is None
    assert not lease.lost.is_set()


async def test_keys_can_outlive_the_block_of_their_lease(store: Store, direct: Store) -> None:
    async with store.lease(SHORT, revoked=False) as lease:
        await store.put("a", b"", lease=lease.id)
    assert await direct.get("a") is not None
    await gone(direct, "a")


async def test_a_renewed_lease_outlives_its_ttl(store: Store, direct: Store) -> None:
    async with store.lease(SHORT) as lease, asyncio.timeout(SECONDS):
        await store.put("a", b"", lease=lease.id)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * SHORT.total_seconds()):
                await lease.lost.wait()
        assert await direct.get("a") is not None


async def test_a_lease_that_is_not_renewed_expires_and_is_lost(
    store: Store, direct: Store, proxy: TcpProxy
) -> None:
    async with store.lease(SHORT) as lease:
        await store.put("a", b"", lease=lease.id)
        proxy.cut()
        async with asyncio.timeout(SECONDS):
            await lease.lost.wait()
        await gone(direct, "a")
        proxy.heal()
        with pytest.raises(Rejected, match="lease not found"):
            await store.put("b", b"", lease=lease.id)


async def test_a_revoked_lease_is_lost(store: Store, direct: Store, server: EtcdServer) -> None:

    async with store.lease(SHORT) as lease:
        async with grpc.aio.insecure_channel(server.endpoint) as channel:
            request = rpc_pb2.LeaseRevokeRequest(ID=lease.id)
            await rpc_pb2_grpc.LeaseStub(channel).LeaseRevoke(request, timeout=5)
        async with asyncio.timeout(SECONDS):
            await lease.lost.wait()


async def test_a_lease_survives_a_restart_of_etcd(
    store: Store, direct: Store, server: EtcdServer
) -> None:
    ttl = timedelta(seconds=6)
    async with store.lease(ttl) as lease:
        await store.put("a", b"", lease=lease.id)
        await server.restart()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5 * ttl.total_seconds()):
                await lease.lost.wait()
        assert await direct.get("a") is not None


async def test_a_lease_is_not_granted_without_etcd() -> None:
    config = EtcdConfig(endpoints=(f"127.0.0.1:{free_port()}",), timeout=timedelta(seconds=0.3))
    async with connect(config) as store:
        with pytest.raises(Unavailable, match="lease grant"):
            async with store.lease(SHORT):
                pytest.fail("entered without a lease")

"""Leases: keys that disappear when their holder stops renewing them."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd.model import EtcdError, Rejected, Unavailable
from mast.common.etcd.stubs import rpc_pb2
from mast.common.etcd.transport import Transport

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease being renewed; ``lost`` is set once it may have expired, and never cleared.

    ``ttl`` is what etcd granted, whole seconds.
    """

    id: int
    ttl: timedelta
    lost: asyncio.Event = field(default_factory=asyncio.Event)


async def grant(transport: Transport, ttl: timedelta) -> tuple[Lease, float]:
    """A new lease (seconds are rounded up) and the loop time until which it surely lives."""
    asked = asyncio.get_running_loop().time()
    request = rpc_pb2.LeaseGrantRequest(TTL=max(1, math.ceil(ttl.total_seconds())))
    response = await transport.call("lease grant", lambda e: e.lease.LeaseGrant, request)
    return Lease(response.ID, timedelta(seconds=response.TTL)), asked + response.TTL


async def revoke(transport: Transport, lease: Lease) -> None:
    """Delete the lease with all its keys; if etcd is away they go when it expires."""
    request = rpc_pb2.LeaseRevokeRequest(ID=lease.id)
    try:
        await transport.call("lease revoke", lambda e: e.lease.LeaseRevoke, request)
    except EtcdError as error:
        log.info("lease.left", lease=lease.id, ttl=lease.ttl.total_seconds(), detail=str(error))


async def keep(transport: Transport, lease: Lease, alive_until: float) -> None:
    """Renew a lease three times per TTL until it is lost.

    It counts as lost when etcd says so, or when nothing was heard from etcd for a whole TTL since
    the last renewal was asked for (loop time ``alive_until``): then it may have expired.
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff(timedelta(milliseconds=100), lease.ttl / 3)
    try:
        async with asyncio.timeout_at(alive_until) as limit:
            pause = lease.ttl / 3
            while True:
                await asyncio.sleep(pause.total_seconds())
                asked = loop.time()
                try:
                    seconds = await _renew(transport, lease)
                except Unavailable:
                    pause = backoff.next(random.random())  # noqa: S311
                    continue
                if seconds <= 0:
                    break
                limit.reschedule(asked + seconds)
                backoff.reset()
                pause = lease.ttl / 3
    except (TimeoutError, Rejected) as error:
        log.warning("lease.lost", lease=lease.id, detail=str(error) or "not renewed in time")
    else:
        log.warning("lease.lost", lease=lease.id, detail="expired")
    lease.lost.set()


async def _renew(transport: Transport, lease: Lease) -> int:
    """Seconds that the lease has left after this renewal; 0 or less: it is gone."""
    endpoint = await transport.connected("lease keepalive")
    with transport.streaming("lease keepalive", endpoint):
        async with asyncio.timeout(transport.timeout.total_seconds()):
            metadata = await transport.metadata(endpoint)
            call = endpoint.lease.LeaseKeepAlive(metadata=metadata)
            try:
                await call.write(rpc_pb2.LeaseKeepAliveRequest(ID=lease.id))
                response = await call.read()
            finally:
                call.cancel()
    if not isinstance(response, rpc_pb2.LeaseKeepAliveResponse):
        raise Unavailable("lease keepalive", endpoint.address, "stream ended")
    transport.succeeded(endpoint)
    return response.TTL

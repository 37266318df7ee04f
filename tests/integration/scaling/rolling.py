"""A rolling update, as a Deployment with ``maxUnavailable: 0`` and ``maxSurge: 1`` does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tests.support.ready_service import ReadyService
from tests.support.service_process import ServiceProcess

DELAY, DRAIN = ("--shutdown-delay", "1s"), ("--drain", "2s")
"""Of all replicas. The Service of these tests asks whether a replica is ready for every connection,
so the delay only has to outlast connections that are being made."""

Start = Callable[[], Awaitable[ServiceProcess]]


async def replace_all(services: list[ReadyService], start: Start) -> list[ServiceProcess]:
    """Replace each replica by a new one, one after the other; returns the new ones.

    A new one is ready before an old one is asked to end, which it does with status 0.
    """
    old, new = list(services[0].replicas), []
    for each in old:
        replica = await start()
        for service in services:
            await service.add(replica)
        new.append(replica)
        assert await each.stop() == 0, "".join(each.output[-20:])
        for service in services:
            service.replicas.remove(each)
    return new

"""What is wrong now: looked for after every change, counted, published and kept for the pages."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

from google.protobuf.message import Message

from mast.common import keys
from mast.pilot.api.connections import Connections
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.review.statuses import config_statuses
from mast.pilot.core.world.snapshot import MeshSnapshot

CHUNK: Final = 200
"""Proxies that are looked at in one step."""


class Findings:
    """Follows what is found; `unreadable` tells why stored values are kept out, by key."""

    def __init__(
        self,
        connections: Connections,
        snapshot: Callable[[], MeshSnapshot | None],
        unreadable: Callable[[], Mapping[str, str]],
        publish: Callable[[Mapping[str, Message]], None],
        replica: str,
    ) -> None:
        self._connections = connections
        self._snapshot = snapshot
        self._unreadable = unreadable
        self._publish = publish
        self._replica = replica
        self._seen: object = None
        self.current: frozenset[Finding] = frozenset()

    async def follow(self, every: timedelta) -> None:
        """Look again and again, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(every.total_seconds())

    async def look(self) -> None:
        """Look once; without any change since the last time that costs nothing."""
        snapshot = self._snapshot()
        if snapshot is None:
            return
        seen = (snapshot.index, snapshot.results.discoveries, self._connections.changes)
        if seen == self._seen:
            return
        facilities = self._connections.facilities
        for step in snapshot.review():
            await facilities.work(step)
            if self._snapshot() is not snapshot:
                return
        found = await self._found(snapshot)
        self._seen = (snapshot.index, snapshot.results.discoveries, self._connections.changes)
        if found != self.current:
            self.current = found
            facilities.instruments.found(found)
            made = partial(config_statuses, found, snapshot.index, self._replica)
            self._publish(await asyncio.to_thread(made))

    async def _found(self, snapshot: MeshSnapshot) -> frozenset[Finding]:
        """What is wrong with objects, with what proxies have, and with their workloads."""
        work = self._connections.facilities.work
        proxies = [each.proxy for each in self._connections.open.values()]
        found = {_unreadable(key, why) for key, why in (await work(self._unreadable)).items()}
        idle: set[Proxy] = set()
        for start in range(0, len(proxies), CHUNK):
            some = proxies[start : start + CHUNK]
            idle |= await work(partial(_idle, snapshot, some))
        found |= set(map(_without_service, idle))
        found |= await work(partial(snapshot.findings, proxies))
        return frozenset(found)


def _idle(snapshot: MeshSnapshot, proxies: Iterable[Proxy]) -> set[Proxy]:
    return {each for each in proxies if _serves_nothing(snapshot, each)}


def _serves_nothing(snapshot: MeshSnapshot, proxy: Proxy) -> bool:
    sidecar = proxy.type is ProxyType.SIDECAR and not proxy.generator
    return sidecar and not snapshot.view(proxy).audience.served


def _without_service(proxy: Proxy) -> Finding:
    addresses = ", ".join(proxy.ip_addresses)
    return Finding(
        fault=Fault.NO_SERVICE,
        key=proxy.id,
        message=f"The workload of proxy {proxy.id} ({addresses}) is behind no service.",
    )


def _unreadable(key: str, why: str) -> Finding:
    subject = None
    with suppress(ValueError):
        where = keys.parse_config_key(key)
        subject = ObjectName(where.collection, where.namespace, where.name)
    return Finding(
        fault=Fault.UNREADABLE,
        key=key,
        message=f"The value stored under {key} is kept out: {why}.",
        subject=subject,
    )

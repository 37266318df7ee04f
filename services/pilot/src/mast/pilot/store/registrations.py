"""Keeps self-registered workloads in the registry for as long as their proxies are connected.

What should be there is kept here; etcd is made to agree, again and again while it is away. The
lease is not revoked when this replica stops: its proxies connect to another replica, or to this
one again, before it expires, and so their workloads are adopted and never missing (pilot.md D9).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup
from mast.common.backoff import Backoff
from mast.common.etcd import Conflict, Entry, EtcdError, Lease, Store
from mast.common.etcd.on_lease import lost_or
from mast.common.identity.spiffe import SpiffeId
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds import registration
from mast.pilot.core.xds.access import NotAllowed
from mast.pilot.core.xds.registration import GRACE, GROUP, UnknownGroup
from mast.pilot.core.xds.watch import Instant
from mast.pilot.core.xds.work import Clock
from mastapi.registry.v1.registry_pb2 import Workload

log = structlog.get_logger()

_FIRST_WRITE_SECONDS: Final = 2.0
"""A proxy is served after this time even if etcd does not take its registration."""


@dataclass(eq=False)
class Held:
    """A workload that this replica holds; `revision` at which it was written, 0 if it was not.

    `leave_at` is when it is to be removed, None while its proxy is connected, on so many `streams`.
    `heard` once the agent has said on this connection how the application is.
    """

    workload: Workload
    told: Callable[["Held"], None]
    revision: int = 0
    leave_at: Instant | None = None
    heard: bool = False
    streams: int = 0

    def found(self, healthy: bool, /) -> None:
        """What the agent found out about the application (pilot.md B26)."""
        workload = registration.with_health(self.workload, healthy=healthy)
        if workload != self.workload or not self.heard:
            self.workload, self.heard = workload, True
            self.told(self)


class Unregistered:
    """A proxy that does not register itself."""

    revision: Final = 0

    def found(self, healthy: bool, /) -> None:
        """Of no interest: the platform knows the health of its workloads."""


@dataclass
class Registrations:
    """`groups` finds a WorkloadGroup by namespace and name; `controller` names this replica."""

    store: Store
    groups: Callable[[str, str], WorkloadGroup | None]
    controller: str
    clock: Clock
    random: Callable[[], float]
    ttl: timedelta = timedelta(seconds=60)
    grace: timedelta = GRACE
    _held: dict[str, Held] = field(default_factory=dict)
    _dirty: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _lease: Lease | None = None

    @property
    def leased(self) -> bool:
        """There is a lease to write workloads under."""
        return self._lease is not None

    @property
    def workloads(self) -> Sequence[Workload]:
        """Those that this replica holds, by their keys."""
        return [self._held[key].workload for key in sorted(self._held)]

    @asynccontextmanager
    async def registered(
        self, proxy: Proxy, identity: SpiffeId | None
    ) -> AsyncIterator[Held | Unregistered]:
        """Register a proxy that wants it, as long as the block lasts and `grace` longer.

        Raises `NotAllowed` if its identity is not the group's, `UnknownGroup` if there is none.
        """
        if not proxy.text(GROUP):
            yield Unregistered()
            return
        held = self._holding(proxy, self._workload(proxy, identity))
        key = registration.key(held.workload)
        self._held[key] = held
        self._dirty.add(key)
        held.streams += 1
        try:
            await self._write_first(key)
            yield held
        finally:
            held.streams -= 1
            if not held.streams:
                held.leave_at = self.clock.instant() + self.grace
                held.workload = registration.left(held.workload, self.clock.now())
                self._told(held)

    def _holding(self, proxy: Proxy, workload: Workload) -> Held:
        """A new connection takes over, but gRPC libraries have many that stand side by side."""
        known = self._held.get(registration.key(workload))
        if proxy.proxyless and known is not None and known.streams:
            return known
        return Held(workload, self._told)

    def _workload(self, proxy: Proxy, identity: SpiffeId | None) -> Workload:
        name = proxy.text(GROUP)
        if identity is None:
            raise NotAllowed(
                f"proxy {proxy.id!r} cannot register with WorkloadGroup {name!r}:"
                " it needs a client certificate"
            )
        group = self.groups(proxy.namespace, name)
        if group is None:
            raise UnknownGroup(
                f"proxy {proxy.id!r}: there is no WorkloadGroup {name!r} in namespace"
                f" {proxy.namespace!r} ({GROUP})"
            )
        return registration.workload(proxy, identity, group, self.controller, self.clock.now())

    def _told(self, held: Held) -> None:
        """Something about a workload changed that etcd should know."""
        self._dirty.add(registration.key(held.workload))
        self._wake.set()

    async def _write_first(self, key: str) -> None:
        """Write at once, so that the proxy is answered with its registration in effect."""
        if self._lease is None:
            self._wake.set()
            return
        try:
            async with asyncio.timeout(_FIRST_WRITE_SECONDS):
                await self._settle(key, self._lease)
        except (EtcdError, TimeoutError) as error:
            log.warning("registration.delayed", key=key, detail=str(error))
            self._wake.set()

    async def run(self) -> None:
        """Make etcd agree for ever."""
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        while True:
            try:
                async with self.store.lease(self.ttl, revoked=False) as lease:
                    self._lease = lease
                    self._dirty.update(self._held)
                    backoff.reset()
                    await self._keep(lease)
            except EtcdError as error:
                log.warning("registration.interrupted", detail=str(error))
                await asyncio.sleep(backoff.next(self.random()).total_seconds())
            finally:
                self._lease = None

    async def _keep(self, lease: Lease) -> None:
        """Until the lease is lost."""
        while not lease.lost.is_set():
            self._wake.clear()
            for key in tuple(self._dirty):
                await self._settle(key, lease)
            await self._sleep(lease)

    async def _sleep(self, lease: Lease) -> None:
        """Until something changes, a grace ends or the lease is lost."""
        ends = [each.leave_at for each in self._held.values() if each.leave_at is not None]
        left = (min(ends) - self.clock.instant()).total_seconds() if ends else None
        await lost_or(lease, self._wake.wait(), left)
        now = self.clock.instant()
        for key, held in self._held.items():
            if held.leave_at is not None and held.leave_at <= now:
                self._dirty.add(key)

    async def _settle(self, key: str, lease: Lease) -> None:
        """Write or remove one workload; it stays dirty if that fails."""
        held = self._held.get(key)
        if held is not None:
            left = held.leave_at is not None and held.leave_at <= self.clock.instant()
            while not await (self._removed(key, held) if left else self._written(key, held, lease)):
                log.debug("registration.contended", key=key)
        if self._held.get(key) is held:
            self._dirty.discard(key)

    async def _written(self, key: str, held: Held, lease: Lease) -> bool:
        """Whether the record is as this replica wants it, or belongs to a newer connection."""
        mine = held.workload
        entry = await self.store.get(key)
        stored = _workload(entry)
        if not registration.supersedes(mine, stored):
            log.info("registration.superseded", key=key)
            self._forget(key, held)
            return True
        record = registration.adopted(mine, stored, heard=held.heard)
        value = record.SerializeToString(deterministic=True)
        expected = 0 if entry is None else entry.mod_revision
        try:
            held.revision = await self.store.compare_and_swap(key, value, expected, lease.id)
        except Conflict:
            return False
        log.info("workload.registered", key=key, revision=held.revision, health=record.health)
        return held.workload is mine

    async def _removed(self, key: str, held: Held) -> bool:
        """Whether this replica's record is gone."""
        entry = await self.store.get(key)
        if entry is not None and registration.held_by(held.workload, _workload(entry)):
            try:
                await self.store.delete(key, expected=entry.mod_revision)
            except Conflict:
                return False
            log.info("workload.removed", key=key)
        self._forget(key, held)
        return True

    def _forget(self, key: str, held: Held) -> None:
        if self._held.get(key) is held:
            del self._held[key]


def _workload(entry: Entry | None) -> Workload | None:
    """The workload on record; None if there is none that can be read."""
    if entry is None:
        return None
    try:
        return Workload.FromString(entry.value)
    except DecodeError as error:
        log.warning("workload.unreadable", key=entry.key, error=str(error))
        return None

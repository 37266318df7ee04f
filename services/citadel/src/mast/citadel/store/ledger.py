"""The ledger of issued certificates in etcd, which prunes itself (citadel-and-agent.md A12).

Records are written behind the answer, many at a time: the audit line is the proof, the ledger is
for looking things up, and a mesh renews its certificates while etcd is away.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from google.protobuf.message import DecodeError

from mast.citadel.core.issued import PREFIX, issued_key
from mast.common.backoff import Backoff
from mast.common.etcd import EtcdError, Put, Store
from mastapi.citadel.v1 import issued_pb2

log = structlog.get_logger()

_AT_ONCE = 100
_COLLECTED_FOR = timedelta(milliseconds=100)
_KEPT_BACK = 50_000
# Certificates that end within the same time share a lease.
_GRAIN = timedelta(hours=1)


@dataclass
class Ledger:
    """``dropped`` counts records that were lost because etcd was away too long."""

    store: Store
    now: Callable[[], datetime]
    random: Callable[[], float]
    dropped: int = 0
    _queue: asyncio.Queue[issued_pb2.IssuedCertificate] = field(
        default_factory=lambda: asyncio.Queue(_KEPT_BACK), init=False
    )
    _leases: dict[int, int] = field(default_factory=dict, init=False)

    def record(self, certificate: issued_pb2.IssuedCertificate) -> None:
        """Have a record written soon; it is dropped if too many wait."""
        try:
            self._queue.put_nowait(certificate)
        except asyncio.QueueFull:
            self.dropped += 1
            if self.dropped == 1:
                log.error("ledger.full", waiting=_KEPT_BACK)

    async def run(self) -> None:
        """Write what comes, for ever; what cannot be written is tried again."""
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        failing = False
        while True:
            batch = await self._batch()
            while batch:
                try:
                    await self._write(batch)
                except EtcdError as error:
                    if not failing:
                        log.warning("ledger.unavailable", error=str(error))
                    failing = True
                    self._leases.clear()  # one of them may be gone
                    await asyncio.sleep(backoff.next(self.random()).total_seconds())
                else:
                    batch, failing = [], False
                    backoff.reset()

    async def records(self) -> Sequence[issued_pb2.IssuedCertificate]:
        """Every record; raises EtcdError if etcd does not answer."""
        found = []
        for entry in (await self.store.list(PREFIX)).entries:
            try:
                found.append(issued_pb2.IssuedCertificate.FromString(entry.value))
            except DecodeError:
                log.error("ledger.damaged", key=entry.key)
        return found

    async def _batch(self) -> list[issued_pb2.IssuedCertificate]:
        batch = [await self._queue.get()]
        if self._queue.qsize() < _AT_ONCE:
            await asyncio.sleep(_COLLECTED_FOR.total_seconds())  # many writes are one
        while len(batch) < _AT_ONCE and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    async def _write(self, batch: Sequence[issued_pb2.IssuedCertificate]) -> None:
        puts = [
            Put(issued_key(each), each.SerializeToString(), await self._lease(each))
            for each in batch
        ]
        await self.store.txn([], puts)

    async def _lease(self, certificate: issued_pb2.IssuedCertificate) -> int:
        """A lease that ends up to an hour after the certificate."""
        end = certificate.not_after.ToDatetime(tzinfo=UTC)
        hour = math.ceil(end.timestamp() / _GRAIN.total_seconds())
        if hour not in self._leases:
            now = self.now()
            self._leases = {h: lease for h, lease in self._leases.items() if _end(h) > now}
            self._leases[hour] = await self.store.expiring(max(_end(hour) - now, _GRAIN))
        return self._leases[hour]


def _end(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * _GRAIN.total_seconds(), tz=UTC)

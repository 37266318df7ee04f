"""Adapter ``etcdquota``: memquota's quotas, counted in etcd by all replicas together.

Beyond Istio: what is granted within any window is exact however many replicas, or restarts, there
are. Each change of a cell is one compare-and-swap; what waits for a cell meanwhile goes into the
next one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Final

from google.protobuf.duration_pb2 import Duration

from istio.mixer.adapter.memquota.config.config_pb2 import Params
from mast.common.etcd import Conflict, EtcdError, Rejected, Store
from mast.common.keys import quota_key
from mast.mixer.adapters.memquota import (
    TICKS_PER_SECOND,
    Cell,
    Limits,
    cell_key,
    validate,
    window_ticks,
)
from mast.mixer.core.adapter import (
    Adapter,
    AdapterError,
    HandlerConfig,
    Instance,
    QuotaArguments,
    QuotaResult,
)
from mastapi.quota.v1 import quota_pb2

_MAX_CELLS: Final = 65_536
_STEPS: Final = 600
_LEASE_SHARED: Final = timedelta(minutes=1)
"""How long one lease serves new writes; cells outlive their windows by as much."""


@dataclass(eq=False)
class Ask:
    """One call that waits for its answer."""

    arguments: QuotaArguments
    granted: int | None = None


@dataclass(eq=False)
class _Shared:
    """What this replica knows of a cell: who waits for it, and the last record it has seen."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asks: list[Ask] = field(default_factory=list)
    known: tuple[int, quota_pb2.Cell] | None = None


def allocated(
    before: quota_pb2.Cell, asks: Iterable[Ask], *, limit: int, ticks: int, kept: int, tick: int
) -> tuple[quota_pb2.Cell, Sequence[int]]:
    """The cell after some calls, in their order, and what each is granted.

    ``ticks`` is the window, 0 for none; answers are given again to equal ids for ``kept`` ticks.
    Time is that of the replica whose clock is ahead.
    """
    now = max(tick, before.tick)
    cell = Cell(ticks, spent=deque(_gathered(before.grants, now, ticks)))
    cell.used = sum(amount for _, amount in cell.spent) if ticks else before.in_use
    cell.expire(now)
    answers = {each.id: each for each in before.answers if each.tick > now - kept}
    granted = []
    for ask in asks:
        asked = ask.arguments
        if asked.deduplication_id in answers:
            granted.append(answers[asked.deduplication_id].amount)
            continue
        granted.append(_granted(cell, asked, limit, now))
        if asked.deduplication_id:
            answer = quota_pb2.Answer(id=asked.deduplication_id, tick=now, amount=granted[-1])
            answers[asked.deduplication_id] = answer
    after = quota_pb2.Cell(
        name=before.name,
        grants=[quota_pb2.Grant(tick=at, amount=amount) for at, amount in cell.spent],
        in_use=0 if ticks else cell.used,
        answers=answers.values(),
        tick=now,
    )
    return after, granted


def _gathered(grants: Sequence[quota_pb2.Grant], now: int, ticks: int) -> Iterator[tuple[int, int]]:
    """Grants of the past in at most some hundred steps of the window, however many there were.

    They count as of the end of their step, so none comes free early.
    """
    step = max(ticks // _STEPS, 1)
    present = [(each.tick, each.amount) for each in grants if each.tick == now]
    past = (each for each in grants if each.tick < now)
    for at, together in groupby(past, lambda each: min(-(-each.tick // step) * step, now)):
        yield at, sum(each.amount for each in together)
    yield from present


def _granted(cell: Cell, asked: QuotaArguments, limit: int, now: int) -> int:
    if asked.amount < 0:
        cell.release(-asked.amount, now)
        return 0
    return cell.allocate(asked, limit, now)


class Etcdquota:
    """All quotas of one handler."""

    def __init__(self, config: HandlerConfig, store: Store, now: Callable[[], datetime]) -> None:
        """``now`` is the time of day; windows are as exact as replicas agree on it."""
        self._handler = config.name
        self._limits = Limits(config.params)
        period = config.params.min_deduplication_duration.ToTimedelta()
        self._kept = max(int(period.total_seconds() * TICKS_PER_SECOND), 1)
        self._store = store
        self._now = now
        self._cells: dict[str, _Shared] = {}
        self._leases: dict[timedelta, tuple[int, datetime]] = {}

    async def quota(self, instance: Instance, arguments: QuotaArguments) -> QuotaResult:
        """Allocate, or with a negative amount give back; equal ids get equal answers.

        Raises AdapterError if etcd does not answer.
        """
        if not arguments.amount:
            return QuotaResult()
        dimensions = instance.fields["dimensions"]
        limit, duration = self._limits.of(instance.name, dimensions)
        name = cell_key(instance.name, dimensions)
        cell = self._cell(name)
        ask = Ask(arguments)
        cell.asks.append(ask)
        try:
            async with cell.lock:
                if ask.granted is None:
                    await self._serve(name, cell, limit, duration)
        except EtcdError as error:
            raise AdapterError(f"etcdquota: {error}") from error
        finally:
            if ask in cell.asks:
                cell.asks.remove(ask)
        if arguments.amount < 0:
            return QuotaResult()
        return QuotaResult(ask.granted or 0, duration)

    def _cell(self, name: str) -> _Shared:
        cell = self._cells.get(name)
        if cell is None:
            if len(self._cells) >= _MAX_CELLS:
                self._cells = {name: each for name, each in self._cells.items() if each.asks}
            cell = self._cells[name] = _Shared()
        return cell

    async def _serve(self, name: str, cell: _Shared, limit: int, duration: timedelta) -> None:
        """Answer everybody who waits for the cell now, in one write."""
        asks = tuple(cell.asks)
        key = quota_key(self._handler, sha256(name.encode()).hexdigest())
        while True:
            seen = cell.known is not None
            revision, before = cell.known or await self._read(key, name)
            tick = int(self._now().timestamp() * TICKS_PER_SECOND)
            after, granted = allocated(
                before,
                asks,
                limit=limit,
                ticks=window_ticks(duration),
                kept=self._kept,
                tick=tick,
            )
            if seen and _refused(asks, granted):
                cell.known = None  # somebody may have given back meanwhile
                continue
            try:
                revision = await self._write(key, after, revision, duration)
            except Conflict:
                cell.known = None
                continue
            except EtcdError:
                cell.known = None
                raise
            cell.known = revision, after
            for ask, amount in zip(asks, granted, strict=True):
                ask.granted = amount
                cell.asks.remove(ask)
            return

    async def _read(self, key: str, name: str) -> tuple[int, quota_pb2.Cell]:
        entry = await self._store.get(key)
        if entry is None:
            return 0, quota_pb2.Cell(name=name)
        return entry.mod_revision, quota_pb2.Cell.FromString(entry.value)

    async def _write(
        self, key: str, cell: quota_pb2.Cell, expected: int, duration: timedelta
    ) -> int:
        lease = await self._lease(duration) if duration else 0
        try:
            return await self._store.compare_and_swap(
                key, cell.SerializeToString(), expected, lease
            )
        except Rejected:
            self._leases.clear()  # etcd does not know the lease any more
            raise

    async def _lease(self, duration: timedelta) -> int:
        """A lease that outlives the window, the same one for a minute."""
        now = self._now()
        lease, until = self._leases.get(duration, (0, now))
        if until <= now:
            lease = await self._store.expiring(duration + 2 * _LEASE_SHARED)
            self._leases[duration] = lease, now + _LEASE_SHARED
        return lease


def _refused(asks: Sequence[Ask], granted: Sequence[int]) -> bool:
    return any(amount < ask.arguments.amount for ask, amount in zip(asks, granted, strict=True))


def adapter(store: Store, now: Callable[[], datetime]) -> Adapter:
    """The adapter with the state that replicas share; params are memquota's."""

    def build(config: HandlerConfig) -> Etcdquota:
        return Etcdquota(config, store, now)

    return Adapter(
        name="etcdquota",
        templates=frozenset({"quota"}),
        defaults=Params(min_deduplication_duration=Duration(seconds=1)),
        build=build,
        validate=validate,
    )

"""When Pilot's snapshots have what, as a process: a world that follows the store as Pilot's does.

    python -m tests.bench.load.snapshots ETCD

It writes a line when it has a first snapshot. Then, when its standard input ends, a JSON list of
what changed since: address of an endpoint, whether it is healthy, and when that was read from the
store and when it was in a snapshot, by the clock that all processes of a machine have in common.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mast.common.etcd import Change, EtcdConfig, connect
from mast.common.keys import REGISTRY_ENDPOINTS
from mast.common.process.telemetry import configure_logging
from mast.pilot.api.worker import Worker
from mast.pilot.clock import SystemClock
from mast.pilot.core.model.model import Endpoint, Health, ServiceKey
from mast.pilot.core.world.world import World
from mast.pilot.store.follow import Mirror, News


class Watch:
    """What was read and is not in a snapshot yet, and what arrived when."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self._read_at: dict[ServiceKey, float] = {}
        self._known: Mapping[ServiceKey, Sequence[Endpoint]] = {}
        self._arrived: list[tuple[str, bool, float, float]] = []

    def received(self, kind: str, changes: Sequence[Change]) -> None:
        """Note whose endpoints are others than before."""
        if kind == "eds" and self.first.is_set():
            now = time.monotonic()
            for change in changes:
                namespace, host = change.key.removeprefix(REGISTRY_ENDPOINTS).split("/")[:2]
                self._read_at.setdefault(ServiceKey(namespace, host), now)

    async def publish(self, news: News) -> None:
        """Look which of them a snapshot has."""
        now = time.monotonic()
        self.first.set()
        endpoints = news.snapshot.index.endpoints
        for key, read_at in list(self._read_at.items()):
            if fresh := _states(endpoints.get(key, ())) - _states(self._known.get(key, ())):
                self._arrived += ((*each, read_at, now) for each in sorted(fresh))
                del self._read_at[key]
        self._known = endpoints

    def report(self) -> str:
        """What arrived, in JSON."""
        return json.dumps(self._arrived)


def _states(endpoints: Sequence[Endpoint]) -> set[tuple[str, bool]]:
    return {(each.address, each.health is Health.HEALTHY) for each in endpoints}


async def main(etcd: str) -> None:
    """Follow until the standard input ends."""
    gc.set_threshold(50_000, 20, 50)  # as Pilot does
    configure_logging("snapshots", "error", "json")
    watch, clock = Watch(), SystemClock()
    with ThreadPoolExecutor(1) as thread:
        work = Worker(thread, clock)
        async with (
            connect(EtcdConfig(endpoints=(etcd,))) as store,
            asyncio.TaskGroup() as tasks,
        ):
            mirror = Mirror(store, World(), work, clock, watch.publish, watch.received)
            running = tasks.create_task(mirror.run())
            await watch.first.wait()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.read)
            sys.stdout.write(watch.report() + "\n")
            sys.stdout.flush()
            running.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

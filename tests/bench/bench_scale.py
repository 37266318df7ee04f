"""Pilot under a whole mesh: many services, hundreds of proxies, each a class of its own.

    python -m tests.bench.bench_scale [SERVICESxPROXIES[s][/PHASE...] ...]

`s` scopes the mesh by Sidecars. Real Pilot, etcd and gRPC; simulated Envoys on the same machine
(see `load`). Times are from the write to etcd until the last proxy that is concerned has
acknowledged, less the debounce. Processor time and memory are those of the Pilot process alone.
"""

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.etcd import Put as Write
from mast.common.process.telemetry import configure_logging
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS
from tests.bench.load.meshes import Mesh
from tests.bench.load.proxies import Proxy, Shape, Tally
from tests.support.etcd_server import etcd_server
from tests.support.mesh_yaml import Put
from tests.support.pilot_process import PilotProcess, pilot_process

MESHES: Final = ("100x100", "1000x500", "1000x500s", "5000x500s", "5000x500")
PHASES: Final = ("start", "endpoint", "route", "service", "reconnect")
DEBOUNCE_MS: Final = 100
LIMIT_SECONDS: Final = 600
BATCH: Final = 50


@dataclass
class Bench:
    """One mesh, its store, and the proxies as far as they are connected."""

    mesh: Mesh
    label: str
    etcd: str
    directory: Path
    store: Store
    phases: Sequence[str]
    tally: Tally = field(default_factory=Tally)
    proxies: list[Proxy] = field(default_factory=list)

    async def run(self) -> None:
        """Everything that was asked for."""
        await self.write(list(self.mesh.objects()))
        shapes: dict[str, Shape] = {}
        for number in range(self.mesh.proxies):
            node = self.mesh.node(number)
            shape = shapes.setdefault(node.metadata["NAMESPACE"], Shape())
            remembers = "reconnect" in self.phases
            self.proxies.append(Proxy(number, node, self.tally, shape, remembers=remembers))
        async with self.pilot() as pilot:
            idle = pilot.resident_bytes
            async with self.connected(pilot):
                await self.start(pilot, idle)
                for name in self.phases:
                    if name in CHANGES:
                        await self.change(pilot, name)
        if "reconnect" in self.phases:
            await self.write([self.mesh.virtual_service(1, 0)])
            async with self.pilot() as pilot, self.connected(pilot):
                await self.come_back(pilot)

    @asynccontextmanager
    async def pilot(self) -> AsyncIterator[PilotProcess]:
        """A Pilot that admits everybody at once: its own pace is to be measured."""
        flags = ("--stream-rate", "10000", "--drain", "100ms")
        async with pilot_process(self.etcd, self.directory, *flags) as running:
            yield running

    @asynccontextmanager
    async def connected(self, pilot: PilotProcess) -> AsyncIterator[None]:
        """All proxies, which begin to connect when the block begins."""
        self.tally.clear()
        self.tally.ready = 0
        async with asyncio.TaskGroup() as tasks:
            staying = [
                tasks.create_task(each.stay(pilot.ads, random.random)) for each in self.proxies
            ]
            yield
            for task in staying:
                task.cancel()
            for proxy in self.proxies:
                proxy.close()

    async def start(self, pilot: PilotProcess, idle: int) -> None:
        """All proxies connect and have nothing."""
        cpu, began = pilot.cpu_seconds, time.monotonic()
        await self.tally.until(lambda: self.tally.ready >= self.mesh.proxies, LIMIT_SECONDS)
        seconds = time.monotonic() - began
        resident = pilot.resident_bytes
        self.report(
            "start",
            seconds,
            "s until all proxies are configured",
            cpu_seconds=round(pilot.cpu_seconds - cpu, 2),
            bytes_per_proxy=self.tally.bytes // self.mesh.proxies,
            idle_mib=_mib(idle),
            resident_mib=_mib(resident),
            kib_per_proxy=round((resident - idle) / self.mesh.proxies / 1024, 1),
            kib_per_service=round(resident / self.mesh.services / 1024, 1),
        )

    async def come_back(self, pilot: PilotProcess) -> None:
        """All proxies reconnect to a new Pilot; one route has changed meanwhile."""
        cpu, began = pilot.cpu_seconds, time.monotonic()
        await self.tally.until(lambda: self.tally.ready >= self.mesh.proxies, LIMIT_SECONDS)
        self.report(
            "reconnect",
            time.monotonic() - began,
            "s until all proxies have what changed",
            cpu_seconds=round(pilot.cpu_seconds - cpu, 2),
            bytes_per_proxy=self.tally.bytes // self.mesh.proxies,
            messages=dict(_short(self.tally.messages)),
            resident_mib=_mib(pilot.resident_bytes),
        )

    async def change(self, pilot: PilotProcess, name: str) -> None:
        """Change something again and again; each time all that are concerned must acknowledge."""
        type_url, objects, rounds = CHANGES[name]
        last, each, cpu, received = [], [], pilot.cpu_seconds, 0
        for number in range(rounds + 1):
            if number == 1:  # the first one is for warming up
                last, each, cpu, received = [], [], pilot.cpu_seconds, 0
            self.tally.clear()
            began = time.monotonic()
            await self.write(objects(self.mesh, number))
            await self.tally.until(
                lambda: len(self.tally.times(type_url)) >= self.mesh.concerned, LIMIT_SECONDS
            )
            times = [(at - began) * 1000 - DEBOUNCE_MS for at in self.tally.times(type_url)]
            last.append(times[-1])
            each += times
            received += self.tally.bytes
        self.report(
            name,
            median(last),
            "ms after debounce to the last acknowledgement, median",
            p99_ms=round(_quantile(last, 99), 1),
            proxy_p50_ms=round(median(each), 1),
            proxy_p99_ms=round(_quantile(each, 99), 1),
            cpu_seconds_per_push=round((pilot.cpu_seconds - cpu) / rounds, 3),
            bytes_per_proxy=received // rounds // self.mesh.concerned,
            resident_mib=_mib(pilot.resident_bytes),
            rounds=rounds,
        )

    async def write(self, objects: Sequence[Put]) -> None:
        """Write objects as Galley would: many in a transaction."""
        for at in range(0, len(objects), BATCH):
            part = objects[at : at + BATCH]
            writes = [Write(each.key, each.value) for each in part if each.value is not None]
            await self.store.txn([], writes)

    def report(self, name: str, value: float, unit: str, **more: Any) -> None:
        """One result."""
        made = {
            "name": f"scale_{self.label}_{name}",
            "value": round(value, 2 if unit.startswith("s ") else 1),
            "unit": unit,
            **more,
            "services": self.mesh.services,
            "proxies": self.mesh.proxies,
            "seen": self.mesh.seen,
            "concerned": self.mesh.concerned,
        }
        sys.stdout.write(dumps(made) + "\n")
        sys.stdout.flush()


CHANGES: Final[dict[str, tuple[str, Callable[[Mesh, int], Sequence[Put]], int]]] = {
    "endpoint": (EDS, lambda mesh, number: [mesh.shard(0, number + 1)], 20),
    "route": (RDS, lambda mesh, number: [mesh.virtual_service(0, number)], 20),
    "service": (
        CDS,
        lambda mesh, number: [
            mesh.service(mesh.services + number * mesh.namespaces),
            mesh.shard(mesh.services + number * mesh.namespaces),
        ],
        3,
    ),
}
"""Kinds of changes: the type that all who are concerned acknowledge, what is written, how often."""


def _short(messages: dict[str, int]) -> Sequence[tuple[str, int]]:
    names = {CDS: "cds", EDS: "eds", LDS: "lds", RDS: "rds"}
    return [(names.get(url, url), number) for url, number in messages.items()]


def _quantile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _mib(size: int) -> float:
    return round(size / 2**20, 1)


async def main(wanted: Sequence[str]) -> None:
    """Print one JSON object for each measurement."""
    configure_logging("bench", "error")
    for text in wanted or MESHES:
        label, _, phases = text.partition("/")
        services, _, proxies = label.removesuffix("s").partition("x")
        mesh = Mesh(int(services), int(proxies), scoped=label.endswith("s"))
        with tempfile.TemporaryDirectory() as directory:
            async with (
                etcd_server(Path(directory)) as etcd,
                connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
            ):
                chosen = phases.split("/") if phases else PHASES
                await Bench(mesh, label, etcd.endpoint, Path(directory), store, chosen).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
